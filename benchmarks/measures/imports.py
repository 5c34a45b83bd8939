"""What ``import`` of a library takes, in an interpreter of its own."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, line, middle
from benchmarks.sides import Side


@line("import of the library", "ms", more_is_better=False)
def library(side: Side) -> float:
    side.imported()  # bytecode and page cache
    return middle([side.imported()[0] for _ in range(3)]) * 1000


@line("modules that a producer does not need", "modules", peers=ONLY_OWN, more_is_better=False)
def unneeded(side: Side) -> float:
    unneeded = {"click", "rich", "http.server", "wsgiref", "flask", "django", "jinja2"}
    return float(len(unneeded & set(side.imported()[1])))
