"""What a run found, as text, JSON, reStructuredText and pictures."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.goals import Verdict, verdicts
from benchmarks.measures import middle
from benchmarks.peers import OWN, PEERS
from benchmarks.rounds import Run

Row = list[str]


def figure(value: float) -> str:
    """A number with as many digits as mean something."""
    if math.isnan(value):
        return "-"
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def title(run: Run, name: str) -> str:
    """What a figure is called."""
    part = name.partition(", ")[2]
    line = run.lines[name]
    return f"{line.title}, {part}" if part else line.title


def tables(run: Run) -> Iterator[tuple[str, str, list[Row]]]:
    """For every figure: its name, its heading, and a row for each peer with min, median, max and rpqueue's ratio."""
    for name, peers in run.samples.items():
        own = [value for value in peers.get(OWN, []) if not math.isnan(value)]
        rows = []
        for peer, values in peers.items():
            known = [value for value in values if not math.isnan(value)]
            if not known:
                continue
            ratio = ""
            if own and peer != OWN and middle(known):
                ratio = f"{figure(middle(own) / middle(known))}x"
            rows.append([PEERS[peer].title, *map(figure, (min(known), middle(known), max(known))), ratio])
        if rows:
            yield name, f"{title(run, name)} ({run.lines[name].unit})", rows


HEAD = ["peer", "min", "median", "max", "rpqueue is"]
GOALS_HEAD = ["goal", "figure", "against", "bound", "min", "median", "max", ""]


def goal_rows(run: Run, found: list[Verdict]) -> Iterator[Row]:
    """A row for every goal."""
    for verdict in found:
        goal, ratios = verdict.goal, verdict.ratios
        against = ""
        if goal.against:
            other, peer = goal.against
            against = PEERS[peer].title
            if other != goal.figure:
                against += f": {title(run, other) if other in run.lines else other}"
        spread = [figure(value) for value in (min(ratios), middle(ratios), max(ratios))] if ratios else ["-"] * 3
        name = title(run, goal.figure) if goal.figure in run.lines else goal.figure
        yield [str(goal.number), name, against, goal.bound, *spread, verdict.outcome]


def text(run: Run) -> str:
    """Everything, for a terminal."""
    parts = []
    for _, heading, rows in tables(run):
        parts.append(f"{heading}\n{aligned([HEAD, *rows])}")
    rows = list(goal_rows(run, verdicts(run.samples)))
    parts.append(f"Goals\n{aligned([GOALS_HEAD, *rows])}")
    if run.failures:
        parts.append("Failures\n" + "\n".join(f"  {failure.strip().splitlines()[-1]}" for failure in run.failures))
    return "\n\n".join(parts)


def aligned(rows: list[Row]) -> str:
    """Columns under each other."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def machine() -> dict[str, Any]:
    """What it ran on, without its name."""
    model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def write(run: Run, folder: Path, command: str) -> Path:
    """Write JSON, page and pictures into a folder. Returns the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    found = verdicts(run.samples)
    record = {
        "date": date,
        "command": command,
        "machine": machine(),
        "server": run.server,
        "versions": run.versions,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "units": {name: line.unit for name, line in run.lines.items()},
        "samples": {
            name: {peer: [None if math.isnan(value) else value for value in values] for peer, values in peers.items()}
            for name, peers in run.samples.items()
        },
        "goals": [
            {
                "number": verdict.goal.number,
                "figure": verdict.goal.figure,
                "against": verdict.goal.against,
                "bound": verdict.goal.bound,
                "ratios": list(verdict.ratios),
                "outcome": verdict.outcome,
            }
            for verdict in found
        ],
        "failures": run.failures,
    }
    path = folder / f"{date}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    pictures = _draw(run, folder)
    (folder / "results.rst").write_text("\n".join(_page(run, record, found, pictures)))
    return path


def _draw(run: Run, folder: Path) -> dict[str, str]:
    """A picture of every figure that more than one peer has. Returns their file names."""
    for old in folder.glob("figure-*.svg"):
        old.unlink()
    drawn = {}
    for name, peers in run.samples.items():
        bars = [
            plots.Bar(PEERS[peer].title, *_spread(values), peer == OWN)
            for peer, values in peers.items()
            if any(not math.isnan(value) for value in values)
        ]
        if len(bars) > 1:
            line = run.lines[name]
            better = "more is better" if line.is_more_better else "less is better"
            drawn[name] = "figure-" + "".join(c if c.isalnum() else "-" for c in name) + ".svg"
            (folder / drawn[name]).write_text(plots.bars(title(run, name), f"{line.unit}; {better}", bars, figure))
    return drawn


def _spread(values: list[float]) -> tuple[float, float, float]:
    known = [value for value in values if not math.isnan(value)]
    return min(known), middle(known), max(known)


def _page(run: Run, record: dict[str, Any], found: list[Verdict], pictures: dict[str, str]) -> Iterator[str]:
    yield ".. Written by `make bench`; what is changed here is lost with the next run."
    yield ""
    yield from ("Benchmarks", "==========", "")
    about = record["machine"]
    yield (
        f"{record['date']}, {about['cpu']}, {about['cores']} cores, {about['memory']}, {about['system']}, {run.server} "
        f"on loopback. {run.rounds} rounds of about {run.seconds:g} s for each figure, the peers in turns; "
        "``make bench`` repeats it. Only ratios within one run mean much."
    )
    yield ""
    versions = [
        [PEERS[name].title, said.get(PEERS[name].package, "?"), said["python"], said.get("redis", "")]
        for name, said in run.versions.items()
    ]
    yield from _csv([["peer", "version", "Python", "redis-py"], *versions])
    yield from ("Goals", "-----", "")
    yield (
        "rpqueue's figure, or its ratio to another one, round by round. A goal holds when the median reaches the "
        "bound; it is missed when no round does, and within noise in between."
    )
    yield ""
    yield from _csv([GOALS_HEAD, *goal_rows(run, found)])
    yield from ("Figures", "-------", "")
    for name, heading, rows in tables(run):
        yield from (heading, "~" * len(heading), "")
        if name in pictures:
            yield from (f".. image:: {pictures[name]}", f"   :alt: {heading}", "")
        yield from _csv([HEAD, *rows])
    if run.failures:
        yield from ("Failures", "--------", "")
        yield from (f"* {' '.join(failure.split())[-300:]}" for failure in run.failures)
        yield ""


def _csv(rows: list[Row]) -> Iterator[str]:
    yield ".. csv-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in rows:
        yield "   " + ", ".join('"' + cell.replace('"', '""') + '"' for cell in row)
    yield ""
