"""``python -m benchmarks``: measure, print the table, write it down."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from benchmarks import goals, measures, report, rounds
from benchmarks.measures import Line
from benchmarks.peers import OWN, PEERS

#: Seconds of work in a sample, and rounds: of a run that is published, and of a quick look.
FULL, QUICK = (3.0, 3), (0.7, 3)


@click.command()
@click.option("--peers", default=None, help="Names, comma-separated, or 'all'. Default: those that `make bench` shows.")
@click.option(
    "--measures", "wanted", default=None, help="Measures or lines, comma-separated: drain,latency.start. Default: all."
)
@click.option("--rounds", "number", type=click.IntRange(1, 100), default=None, help="Samples of every figure; 3.")
@click.option(
    "--seconds", type=click.FloatRange(0.01, 60), default=None, help="Work in a sample; 3, or 0.7 when quick."
)
@click.option("--quick", is_flag=True, help="Small samples, and not the lines that need a million messages.")
@click.option(
    "--check", is_flag=True, help="Only the peers that goals name; exit 1 when a goal is missed by more than the noise."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for JSON, page and pictures."
)
@click.option("--list", "only_list", is_flag=True, help="Say which peers and lines there are.")
def main(
    peers: str | None,
    wanted: str | None,
    number: int | None,
    seconds: float | None,
    quick: bool,
    check: bool,
    out: Path | None,
    only_list: bool,
) -> None:
    """Measure rpqueue beside its peers, in turns, on a Redis started for it."""
    lines = measures.load()
    if only_list:
        click.echo(
            "\n".join(
                [
                    *(f"peer {name}: {facts.title}" for name, facts in PEERS.items()),
                    *(f"{line.name}: {line.title}" for line in lines.values()),
                ]
            )
        )
        return
    usual_seconds, usual_rounds = QUICK if quick else FULL
    chosen = _lines(lines, wanted, quick)
    found = rounds.run(_peers(peers, check), chosen, number or usual_rounds, seconds or usual_seconds)
    click.echo(report.text(found))
    if out is not None:
        path = report.write(found, out, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
        click.echo(f"\nWritten: {path} and {out / 'results.rst'}")
    if check and _is_missed(found):
        sys.exit(1)


def _peers(said: str | None, check: bool) -> list[str]:
    if said == "all":
        return list(PEERS)
    if said is None:
        return goals.rivals() if check else [name for name, facts in PEERS.items() if facts.is_default]
    names = [name.strip() for name in said.split(",")]
    for name in names:
        if name not in PEERS:
            raise click.BadParameter(f"expected some of {', '.join(PEERS)}, got {name!r}", param_hint="--peers")
    return names if OWN in names else [OWN, *names]


def _lines(lines: dict[str, Line], said: str | None, quick: bool) -> list[Line]:
    if said is None:
        return [line for line in lines.values() if line.is_quick or not quick]
    chosen: list[Line] = []
    for name in said.split(","):
        found = [line for line in lines.values() if name.strip() in (line.name, line.name.partition(".")[0])]
        if not found:
            raise click.BadParameter(f"expected measures or lines of --list, got {name!r}", param_hint="--measures")
        chosen += found
    return chosen


def _is_missed(found: rounds.Run) -> bool:
    missed = [verdict.goal for verdict in goals.verdicts(found.samples) if verdict.outcome == "missed"]
    broken = [failure for failure in found.failures if f": {OWN}:" in failure]
    for goal in missed:
        against = f" of {goal.against[0]} of {goal.against[1]}" if goal.against else ""
        click.echo(f"missed: goal {goal.number}, {goal.figure}: expected {goal.bound}{against}", err=True)
    return bool(missed or broken)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
