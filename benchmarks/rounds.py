"""Takes the samples: measure by measure, and of each measure the lines and peers in turns, A B A B."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from benchmarks import environments
from benchmarks.goals import Samples
from benchmarks.measures import Line
from benchmarks.peers import PEERS
from benchmarks.server import Server
from benchmarks.sides import PeerFailed, Side, Skipped


@dataclass
class Run:
    """What a run found."""

    rounds: int
    seconds: float
    samples: Samples = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)  #: of each figure
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    server: str = ""

    def take(self, line: Line, peer: str, round_: int, figures: float | dict[str, float]) -> None:
        """Keep the figures of one sample."""
        parts = figures if isinstance(figures, dict) else {"": figures}
        for part, value in parts.items():
            name = f"{line.name}, {part}" if part else line.name
            self.lines[name] = line
            kept = self.samples.setdefault(name, {}).setdefault(peer, [])
            kept += [math.nan] * (round_ - len(kept))
            kept.append(value)


def run(names: Sequence[str], lines: Sequence[Line], rounds: int, seconds: float) -> Run:
    """Measure peers by their names."""
    result = Run(rounds, seconds)
    pythons = _prepare(names, result)
    with Server() as server:
        result.server = server.version
        for name in list(pythons):
            side = Side(name, PEERS[name], pythons[name], server, seconds)
            try:
                result.versions[name] = side.call("versions", package=PEERS[name].package)
            except PeerFailed as error:
                result.failures.append(str(error))
                _say(str(error))
                del pythons[name]
            finally:
                side.close()
        skipped: set[tuple[str, str]] = set()
        # Goals compare lines of one measure, too, so these stand near each other in every round.
        for _, measure in groupby(lines, lambda line: line.name.partition(".")[0]):
            turns = [(line, name) for line in measure for name in pythons if line.asks(name)]
            for round_ in range(rounds):
                for line, name in turns:
                    if (line.name, name) not in skipped:
                        side = Side(name, PEERS[name], pythons[name], server, seconds)
                        _sample(result, line, name, round_, side, skipped)
    return result


def _prepare(names: Sequence[str], result: Run) -> dict[str, Path]:
    pythons = {}
    for name in names:
        try:
            pythons[name] = environments.prepare(name, PEERS[name])
        except environments.CannotPrepare as error:
            result.failures.append(str(error))
            _say(str(error))
    return pythons


def _sample(result: Run, line: Line, name: str, round_: int, side: Side, skipped: set[tuple[str, str]]) -> None:
    try:
        figures = line.run(side)
    except Skipped:
        skipped.add((line.name, name))
        return
    except (PeerFailed, OSError) as error:
        result.failures.append(f"{line.name}, round {round_ + 1}: {error}")
        _say(f"{line.name:24} {name:12} failed: {error}")
        return
    finally:
        side.close()
    result.take(line, name, round_, figures)
    parts = figures if isinstance(figures, dict) else {"": figures}
    told = ", ".join(
        f"{part} {value:,.3g}".strip() if value < 100 else f"{part} {value:,.0f}".strip()
        for part, value in parts.items()
    )
    _say(f"{line.name:24} {name:12} round {round_ + 1}: {told} {line.unit}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
