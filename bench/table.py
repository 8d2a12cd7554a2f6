"""A measurement's table: goal, measured, reached or short.

On a screen, in build/bench-NAME.json, and in docs/performance.md between the marks of `bench.NAME`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table as Shown

from bench.machine import BenchError, processor

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
NO_MEASUREMENT: Final = 3  # exit status
_COLUMNS: Final = ("figure", "measured (from to)", "goal", "", "beside it")
_DIGITS: Final = ((10, 2), (100, 1))  # up to there so many digits follow the point


class Line(Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes:
        found: one value a round; the figure is their median.
        goal: None for no promise. least: whether it is the least that is to be, else the most.
        beside: what else a reader should know of it.
    """

    figure: str
    found: tuple[float, ...]
    goal: float | None = None
    least: bool = False
    beside: str = ""

    @property
    def reached(self) -> bool | None:
        """None without goal."""
        if self.goal is None:
            return None
        value = median(self.found)
        return value >= self.goal if self.least else value <= self.goal

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        measured = _text(median(self.found))
        if len(self.found) > 1:
            measured += f" ({_text(min(self.found))} {_text(max(self.found))})"
        goal = "" if self.goal is None else f"{'≥' if self.least else '≤'} {_text(self.goal)}"
        said = {None: "", True: "reached", False: "short"}[self.reached]
        return self.figure, measured, goal, said, self.beside


def _text(value: float) -> str:
    digits = next((digits for below, digits in _DIGITS if value < below), 0)
    return f"{value:,.{digits}f}"


class Result(Struct, frozen=True, kw_only=True):
    """What was measured, and where.

    Attributes:
        load: load averages of the last minute before it and at its end.
        how: lengths, rounds, connections.
        each: what each side does.
        details: every run.
    """

    began: str
    machine: str
    load: tuple[float, float]
    how: str
    lines: tuple[Line, ...]
    each: tuple[str, ...]
    details: Any = None

    def said(self) -> list[str]:
        """Where, when and how it was measured, and what each side does."""
        return [
            f"Measured {self.began[:10]} on {self.machine}, load average {self.load[0]:.1f} before"
            f" and {self.load[1]:.1f} at the end; {self.how}.",
            "",
            *(f"- {line}" for line in self.each),
        ]


class Measurement(Struct, frozen=True, kw_only=True):
    """A command `python -m bench.NAME` with a table of its own.

    Attributes:
        measure: figures, how they were measured, and every run. May raise BenchError.
    """

    name: str
    title: str
    each: tuple[str, ...]
    measure: Callable[[argparse.Namespace], tuple[Sequence[Line], str, Any]]

    @property
    def result(self) -> Path:
        """Where the last result is."""
        return ROOT / "build" / f"bench-{self.name}.json"

    def run(self, parser: argparse.ArgumentParser) -> int:
        """Measure, write and show; or put the last result into the page. The exit status."""
        parser.add_argument(
            "--update-docs",
            action="store_true",
            help="measure nothing: put the last result into docs/performance.md",
        )
        given = parser.parse_args()
        try:
            if given.update_docs:
                self.update_docs()
            else:
                self.show(Console(), self.made(given))
        except BenchError as error:
            sys.stderr.write(f"No measurement: {error}\n")
            return NO_MEASUREMENT
        return 0

    def made(self, given: argparse.Namespace) -> Result:
        """Measure, and write what was found. Raises BenchError."""
        began, before = datetime.now(UTC), os.getloadavg()[0]
        lines, how, details = self.measure(given)
        found = Result(
            began=began.isoformat(timespec="seconds"),
            machine=f"{processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            load=(before, os.getloadavg()[0]),
            how=how,
            lines=tuple(lines),
            each=self.each,
            details=details,
        )
        self.result.parent.mkdir(exist_ok=True)
        self.result.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return found

    def show(self, console: Console, found: Result) -> None:
        """Print it."""
        table = Shown(title=self.title)
        for name in _COLUMNS:
            table.add_column(name, justify="right" if name in _COLUMNS[1:3] else "left")
        for line in found.lines:
            colour = "red" if line.reached is False else "green"
            figure, measured, goal, said, beside = line.cells()
            table.add_row(figure, measured, goal, f"[{colour}]{said}", beside)
        console.print(table)
        for text in found.said():
            console.print(text, highlight=False, markup=False)
        console.print(f"written to {self.result.relative_to(ROOT)}", highlight=False)

    def update_docs(self) -> None:
        """Put the last result into the page. Raises BenchError when there is none."""
        if not self.result.is_file():
            raise BenchError(f"there is no {self.result.relative_to(ROOT)} yet: measure first")
        try:
            found = msgspec.json.decode(self.result.read_bytes(), type=Result)
        except msgspec.MsgspecError as error:
            raise BenchError(f"{self.result.relative_to(ROOT)}: {error}") from None
        put(
            f"<!-- table: python -m bench.{self.name} --update-docs -->",
            f"<!-- end of table of bench.{self.name} -->",
            [
                f"| {' | '.join(_COLUMNS)} |",
                "|---|--:|--:|---|---|",
                *(f"| {' | '.join(line.cells())} |" for line in found.lines),
                "",
                *found.said(),
            ],
        )


def put(begin: str, end: str, lines: Sequence[str]) -> None:
    """Replace what is between two marks of docs/performance.md. Raises BenchError without them."""
    page = PAGE.read_text("utf-8")
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise BenchError(f"{PAGE.relative_to(ROOT)} has lost the marks of a table: {begin}")
    text = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")
