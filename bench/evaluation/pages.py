"""Tables of the evaluation in a page, whole or some kinds' rows anew."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from bench.evaluation.kinds import HONEST_KINDS, SIGNING, VERIFYING, Outcome
from bench.evaluation.report import Sheet

SIDES: Final = [(side, told) for side in (SIGNING, VERIFYING) for told in (True, False)]
_NAMES: Final = ("days", "goal", "kind", "without", "side", "talk told")  # columns that name a row
_CELL: Final = re.compile(r"(\d+): (\d+), (\d+), (\d+)\b")


def put(page: Path, sheets: Iterable[Sheet], kinds: Collection[str] = ()) -> None:
    """Write tables into a page, each between `<!-- NAME -->` and `<!-- NAME ends -->`.

    Args:
        kinds: that were evaluated anew; rows of others stay as they are. Empty for all.
    """
    text = page.read_text()
    for one in sheets:
        before, begins, rest = text.partition(f"<!-- {one.name} -->\n")
        old, ends, after = rest.partition(f"<!-- {one.name} ends -->")
        if begins and ends:
            if kinds:
                one.rows = list(_with_others(one, _rows(old), kinds))
            text = f"{before}{begins}\n{one.markdown()}\n{ends}{after}"
    page.write_text(text)


def _rows(table: str) -> list[tuple[str, ...]]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [tuple(line[2:-2].split(" | ")) for line in lines[2:]]


def _with_others(
    made: Sheet, old: list[tuple[str, ...]], kinds: Collection[str]
) -> Iterator[tuple[str, ...]]:
    places = [place for place, column in enumerate(made.columns) if column in _NAMES]
    kind = made.columns.index("kind")

    def name(row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(row[place] for place in places)

    new = {name(row): row for row in made.rows}
    for row in old:
        if name(row) in new:
            yield new.pop(name(row))
        elif row[kind] not in kinds:
            yield row
    yield from new.values()


def honest_others(page: Path, kinds: Collection[str]) -> Iterator[Outcome]:
    """What a page tells of honest callers of other kinds: of each whether, and not when.

    Raises:
        ValueError: a row of the table does not have what is written there.
    """
    _, _, rest = page.read_text().partition("<!-- page-honest -->\n")
    for phase, kind, *cells in _rows(rest.partition("<!-- page-honest ends -->")[0]):
        if kind in kinds or kind not in HONEST_KINDS:
            continue
        for (side, told), cell in zip(SIDES, cells, strict=True):
            if cell == "-":
                continue
            found = _CELL.match(cell)
            if found is None:
                raise ValueError(f"{page}: {kind}: {cell!r} does not tell how many")
            callers, *counts = map(int, found.groups())
            for turn in range(callers):
                firsts = (1 if turn < count else None for count in counts)
                yield Outcome(f"{kind}|{turn}|{phase}|page", side, told, "", 0, *firsts, 0.0, 0.0)
