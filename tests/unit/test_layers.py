"""Imports point down: the layers of the package, read from its syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "rpqueue").rglob("*.py"))

VALUES, PROTOCOL, SERVER, HELD, ENGINE, FACES = range(6)

# The level of everything directly under rpqueue/. A new file gets its line here.
LEVELS = {
    "clock": VALUES,
    "durability": VALUES,
    "errors": VALUES,
    "fates": VALUES,
    "health": VALUES,
    "instants": VALUES,
    "keys": VALUES,
    "legacy": VALUES,
    "logs": VALUES,
    "loops": VALUES,
    "messages": VALUES,
    "periods": VALUES,
    "redaction": VALUES,
    "retry": VALUES,
    "running": VALUES,
    "schedule": VALUES,
    "signing": VALUES,
    "states": VALUES,
    "version": VALUES,
    "acl": PROTOCOL,
    "protocol": PROTOCOL,
    "attempts": PROTOCOL,
    "puts": PROTOCOL,
    "addresses": SERVER,
    "broker": SERVER,
    "broker_aio": SERVER,
    "connections": SERVER,
    "embedded": SERVER,
    "lines": SERVER,
    "nodes": SERVER,
    "listeners": SERVER,
    "masters": SERVER,
    "sentinels": SERVER,
    "together": SERVER,
    "twins": SERVER,
    "waiting_aio": SERVER,
    "__init__": HELD,
    "aio": HELD,
    "bulk": HELD,
    "awaited": HELD,
    "app": HELD,
    "calling": HELD,
    "current": HELD,
    "data": HELD,
    "eager": HELD,
    "enqueued": HELD,
    "declared": HELD,
    "declaring": HELD,
    "flushing": HELD,
    "hiding": HELD,
    "locks": HELD,
    "mending": HELD,
    "middleware": HELD,
    "modules": HELD,
    "options": HELD,
    "pipelines": HELD,
    "queues": HELD,
    "recurring": VALUES,
    "result_store": HELD,
    "seen": HELD,
    "selecting": PROTOCOL,
    "snapshots": HELD,
    "settings": HELD,
    "system": HELD,
    "tasks": HELD,
    "doctor": ENGINE,
    "inspection": ENGINE,
    "migration": ENGINE,
    "worker": ENGINE,
    "__main__": FACES,
    "cli": FACES,
    "contrib": FACES,
    "demo": FACES,
    "django": FACES,
    "run": FACES,
    "testing": FACES,
    "web": FACES,
}

# Neither may know the other, though they stand side by side.
STRANGERS = {("worker", "inspection"), ("inspection", "worker")}

# Upward on purpose: (file under rpqueue/, name of the module). Each with its reason.
UPWARD: dict[tuple[str, str], str] = {
    ("app.py", "worker"): "App.execute_tasks() loads the worker when it is called, not on import",
    ("eager.py", "worker"): "only who has calls run when they are made needs the worker for that",
}

# The embedded server can be lifted out of the package: nothing but the errors comes with it.
EMBEDDED_MAY_IMPORT = {"errors"}

MAY_IMPORT_REDIS = {"addresses", "broker", "connections", "embedded", "masters", "sentinels", "twins"}


def part_of(file: Path) -> str:
    """Name the entry of LEVELS that a file belongs to: its first step below rpqueue/."""
    return file.relative_to(ROOT / "rpqueue").parts[0].removesuffix(".py")


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of what a file imports while it runs."""
    package = file.relative_to(ROOT).parts[:-1]
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if node in skipped:
            skipped.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(node.body)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def part_imported(name: str) -> str:
    """Name the entry of LEVELS that an imported `rpqueue...` name lives in."""
    steps = name.split(".")
    # `from rpqueue import task`, a function of the package itself, is no file.
    return steps[1] if len(steps) > 1 and steps[1] in LEVELS else "__init__"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    part = part_of(file)
    assert part in LEVELS, f"{part} has no level: give it a line in {Path(__file__).name}"
    for line, name in imported_modules(file):
        where = f"{file.relative_to(ROOT)}:{line} imports {name}"
        top = name.split(".")[0]
        if top == "redis":
            assert part in MAY_IMPORT_REDIS, f"{where}; only {sorted(MAY_IMPORT_REDIS)} may"
        if top != "rpqueue":
            continue
        target = part_imported(name)
        if (file.name, target) in UPWARD:
            continue
        assert LEVELS[target] <= LEVELS[part], f"{where}, which stands above it"
        assert (part, target) not in STRANGERS, f"{where}, which it must not know"
        if part == "embedded":
            assert target in EMBEDDED_MAY_IMPORT, f"{where}; {sorted(EMBEDDED_MAY_IMPORT)} alone"


def test_every_allowed_upward_import_is_still_made() -> None:
    present = {str(file.relative_to(ROOT / "rpqueue")) for file in FILES}
    for path, target in UPWARD:
        if path not in present:
            continue
        names = [name for _, name in imported_modules(ROOT / "rpqueue" / path)]
        made = [name for name in names if name.split(".")[0] == "rpqueue"]
        assert target in map(part_imported, made), f"{path} no longer imports {target}: remove it"
