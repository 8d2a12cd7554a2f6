"""`zhenxian replay`: call records of the past through the detector, before it is switched on."""

from __future__ import annotations

import csv
import gc
import io
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Final, TextIO

import msgspec
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from zhenxian.calls.records import Replay, Row
from zhenxian.cli.common import console, errors
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TN
from zhenxian.service.huge_pages import into_huge_pages
from zhenxian.service.past import replay_of

NEEDED: Final = ("at", "orig", "dest")
KNOWN: Final = (
    *NEEDED, "access", "customer", "spc", "origid", "caller", "answered", "seconds", "complaint",
)  # fmt: skip
_COLLECTED_AT: Final = 200_000  # objects
_CACHED: Final = 65_536
_LATEST: Final = 1e11  # seconds since the epoch; what is more is in milliseconds
_STEP: Final = 2_000  # rows between two looks at the progress bar
_FOUND_FIRST: Final = 50  # keys of the table
# Rows after which memory is put into huge pages: what is counted lies scattered over it, and to
# find its small pages takes a fifth of the time. It grows the slower, the more rows there were.
_GATHERED_FIRST: Final = 5 * _STEP
_GATHERED_AGAIN: Final = 50 * _STEP


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    calls: Annotated[
        Path, typer.Argument(help="CSV with a header line, rows in order of time; - reads them in.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="A data folder, whose registry tells whose an access is."),
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="As `displays.thresholds`: a TOML file.")
    ] = None,
    cap: Annotated[
        int, typer.Option(min=0, help="As `displays.cap`: calls over it count as refused.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON for each key.")
    ] = False,
    as_table: Annotated[
        bool, typer.Option("--table", help="Print a table of those found (the default).")
    ] = False,
    country: Annotated[
        str | None, typer.Option(help="Of numbers written as dialled there, such as CN.")
    ] = None,
) -> None:
    """Tell who would be labelled, lowered or refused, from call records.

    Columns, in any order: at (seconds since the epoch, fractions allowed), orig, dest; and any of
    access, customer (of those who share the access), spc, origid, caller (behind a privacy
    number), answered (1 or 0), seconds (of talk), complaint (1; the callee complained of the
    call). Rows with access are judged as signing, rows with spc as verifying. Nothing is written
    anywhere. Numbers may be tel or SIP URIs. Calls whose orig, dest or caller is no telephone
    number (anonymous, sip:alice@example.com, a short number in a SIP URI, an empty orig or dest)
    are left out, and it is said how many.

    Each key is told with the number of its own call at which it would first have been labelled,
    lowered to B, and refused.

    Exit status 0, whatever is found. For example:

      zhenxian replay calls.csv --table

      zhenxian replay calls.csv --data /var/lib/zhenxian --json > keys.jsonl

      zcat calls.csv.gz | zhenxian replay -
    """
    told = replay_of(data, thresholds, cap)
    gc.set_threshold(_COLLECTED_AT)  # nearly all that is made lives on, or is no part of a cycle
    gc.enable()
    left_out = LeftOut()
    try:
        if str(calls) == "-":
            _fed(told, _input(), 0, country, left_out)
        else:
            with calls.open(encoding="utf-8-sig", newline="") as file:
                _fed(told, file, calls.stat().st_size, country, left_out)
    except OSError as error:
        raise ConfigError(f"{calls}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{calls}: not UTF-8") from None
    told.finish()
    if told.late:
        errors.print(f"{told.late:,} rows were earlier than the row before them")
    if left_out.rows and not told.tallies:
        raise ConfigError(
            f"no row has telephone numbers alone: in line {left_out.line}, the first without,"
            f" {left_out.column} is none"
        )
    if left_out.rows:
        errors.print(
            f"{left_out.rows:,} rows were left out, whose {left_out.column} is no telephone number:"
            f" line {left_out.line} is the first"
        )
    if told.beyond:
        errors.print(f"{told.beyond:,} calls were of keys beyond the number that is kept")
    if as_json:
        for line in told.lines():
            print(msgspec.json.encode(line).decode())
    if as_table or not as_json:
        _table(told)


class LeftOut:
    """Rows that tell nothing of displays.

    Attributes:
        rows: how many. line, column: of the first of them.
    """

    def __init__(self) -> None:
        self.rows = self.line = 0
        self.column = ""

    def add(self, line: int, column: str) -> None:
        """One more."""
        if not self.rows:
            self.line, self.column = line, column
        elif column != self.column:
            self.column = "orig, dest or caller"
        self.rows += 1


def _input() -> TextIO:
    if sys.stdin is None:
        raise ConfigError("there is no standard input")
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")


def _fed(told: Replay, file: TextIO, size: int, country: str | None, left_out: LeftOut) -> None:
    columns = (
        TextColumn("{task.completed:,.0f} rows"), BarColumn(), TaskProgressColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    rows = _rows(file, country, left_out)
    with Progress(*columns, console=errors, transient=True) as bar:
        task, gathered = bar.add_task("", total=None), _GATHERED_FIRST
        for number, row in enumerate(rows, 1):
            told.add(row)
            if number % _STEP == 0:
                if number == _STEP and size:
                    each = file.buffer.tell() / number if hasattr(file, "buffer") else 0
                    bar.update(task, total=size / each if each else None)
                bar.update(task, completed=number)
                if number == gathered:
                    into_huge_pages(rest=0)
                    gathered += min(number, _GATHERED_AGAIN)


def _rows(file: TextIO, country: str | None, left_out: LeftOut) -> Iterator[Row]:
    reader = csv.reader(file)
    header = [name.strip().lower() for name in next(reader, [])]
    for name in NEEDED:
        if name not in header:
            raise ConfigError(f"the header line lacks the column {name}")
    for name in header:
        if name not in KNOWN:
            raise ConfigError(f"there is no column {name!r}; there are {', '.join(KNOWN)}")
        if header.count(name) > 1:
            raise ConfigError(f"the column {name} is there twice")
    # A column that is not there is an empty cell behind the last one.
    width, places = len(header), [header.index(name) if name in header else -1 for name in KNOWN]
    cells, number, called = itemgetter(*places), _numbers(country), _callees(country)
    last, second = None, 0.0
    for line, row in enumerate(reader, 2):
        if not row:
            continue
        if len(row) < width:
            raise ConfigError(f"line {line}: {len(row)} cells, of {width} in the header line")
        row.append("")
        try:
            at, orig, dest, access, customer, spc, origid, caller, told, talked, complaint = cells(
                row
            )
            if at != last:  # rows of one second follow one another
                last, second = at, _at(at)
            display, callee = number(orig), called(dest)
            hidden = number(caller) if caller else None
            if display is None or callee is None or (caller and hidden is None):
                unread = "orig" if display is None else "dest" if callee is None else "caller"
                left_out.add(line, unread)
                continue
            yield Row(
                second, display, callee, access, customer, spc, origid,
                hidden,
                (None if not told else True if told == "1" else _flag(told)),
                None if not talked else _seconds(talked), complaint == "1",
            )  # fmt: skip
        except (ValueError, ParseError, OverflowError) as error:
            raise ConfigError(f"line {line}: {error}") from None


def _numbers(country: str | None) -> Callable[[str], TN | None]:
    return lru_cache(_CACHED)(_callees(country))


def _callees(country: str | None) -> Callable[[str], TN | None]:
    """Of numbers that seldom come again, which are not kept."""
    reading = Reading(country=country)

    def number(text: str) -> TN | None:
        try:
            return TN.parse(text, country, "number")
        except ParseError:
            bare = text.strip()
            if not bare or bare.isalpha():  # withheld: "anonymous", "restricted", 未知
                return None
            if ":" not in bare and "@" not in bare:
                raise
            identity = reading.identity(bare, "number")
            return identity if isinstance(identity, TN) else None

    return number


def _at(text: str) -> float:
    try:
        at = float(text)
    except ValueError:
        at = -1
    if not 0 <= at < _LATEST:
        raise ValueError(f"at: seconds since the epoch expected, not {text!r}")
    return at


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"answered: 1 or 0 expected, not {text!r}")
    return text == "1"


@lru_cache(_CACHED)
def _seconds(text: str) -> int:
    try:
        seconds = int(float(text))
    except (ValueError, OverflowError):
        seconds = -1
    if seconds < 0:
        raise ValueError(f"seconds: a number from 0 on expected, not {text!r}")
    return seconds


def _table(told: Replay) -> None:
    table = Table("key", "side", "calls", "labelled", "lowered", "refused", "calls refused", "why")
    found = [line for line in told.lines() if line["first_labelled"] is not None]
    found.sort(key=lambda line: -line["refused"])
    for line in found[:_FOUND_FIRST]:
        at = (line[f"first_{name}"] for name in ("labelled", "lowered", "refused"))
        table.add_row(
            line["key"], line["side"], f"{line['calls']:,}",
            *("never" if one is None else f"call {one:,}" for one in at),
            f"{line['refused']:,}", line["sentence"],
        )  # fmt: skip
    if found:
        console.print(table)
    if len(found) > _FOUND_FIRST:
        console.print(f"and {len(found) - _FOUND_FIRST:,} more; --json has all of them")
    keys = len(told.tallies)
    refused = sum(line["first_refused"] is not None for line in found)
    console.print(
        f"{keys:,} keys: {len(found):,} would be labelled, lowered or refused at some time, of whom"
        f" {refused:,} refused"
    )
