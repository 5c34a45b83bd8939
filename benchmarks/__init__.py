"""
rpqueue beside other task queues on Redis, on one machine, in turns: ``python -m benchmarks``, or ``make bench``.

`measures` say what is measured, one file each. `peers` say how each library is asked to do it, one file each; they run
in environments of their own (`environments`), under an `agent` that the runner talks to. `goals` are what is to be
reached. Nothing here is part of the package.
"""
