"""
The program ``rpqueue``.

It stands beside the package, and not in it, since Python imports the whole package before any part of it. Containers
ask ``rpqueue health --file`` every few seconds: that is answered by one small file of the package alone.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["health"]:
        code = _health(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from rpqueue.cli import main as command_line

    command_line()


def _health(words: list[str]) -> int | None:
    """What ``rpqueue.health.answer`` says, of a file that is loaded alone."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("rpqueue_health", f"{__file__.rpartition('rpqueue_entry')[0]}rpqueue/health.py")
    if spec is None or spec.loader is None:
        return None
    health = module_from_spec(spec)
    try:
        spec.loader.exec_module(health)
    except FileNotFoundError:  # the package is elsewhere, as in a zip file
        return None
    code: int | None = health.answer(words)
    return code
