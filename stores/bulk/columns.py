"""The text of holdings' rows taken apart column by column, as they are stored.

Pure work on text: an import does it in one thread while SQLite works in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from zhenxian.core.reading import Reading
from zhenxian.core.tn import MAX_TN_LENGTH
from zhenxian.registry.forms import AS_WRITTEN
from zhenxian.stores.bulk.csv_rows import Chunk, value_of
from zhenxian.stores.sqlite.numbers import LENGTH

WIDE: Final = LENGTH // 2  # more numbers than a range has whose ends are of one length
_KEYS: Final = ("first", "last", "subject")


class Columns(Struct, frozen=True, kw_only=True):
    """A chunk's rows whose text is sound, column by column.

    Attributes:
        good, other: places in the chunk of these rows, and of the others.
        los, sizes: as stored; a size may be negative, or beyond WIDE, when a range is none.
        straight: every size is one of a range.
        subjects: their text. tails: the text of the other columns.
    """

    good: Sequence[int]
    other: list[int]
    los: Sequence[int] = ()
    sizes: Sequence[int] = ()
    straight: bool = True
    subjects: Sequence[str] = ()
    tails: Sequence[tuple[str, ...]] = ()


class Layout:
    """Where the columns of holdings are in the text of a row.

    Attributes:
        first, last, subject: the piece of each; None when there is none.
        tails: the pieces of the other columns. All those after the three above are one piece,
            which few rows have to themselves.
    """

    def __init__(self, header: Sequence[str], reading: Reading = AS_WRITTEN) -> None:
        self._national_form, self._max_coded = reading.national_form, reading.max_coded
        self.first, self.last, self.subject = (
            header.index(name) if name in header else None for name in _KEYS
        )
        own = [at for at in (self.first, self.last, self.subject) if at is not None]
        self._cut = max(own, default=0) + 1
        self._pieces = min(self._cut + 1, len(header))
        self.tails = [at for at in range(self._pieces) if at not in own]
        self._names = [name for name in header if name not in _KEYS]

    def columns(self, chunk: Chunk) -> Columns:
        """Take a chunk apart."""
        rows = self._split(chunk.texts)
        good: Sequence[int] = range(len(rows))
        other: list[int] = []
        if not self._sound(rows):
            good = [place for place, row in enumerate(rows) if self._sound([row])]
            rows = [rows[place] for place in good]
            other = sorted(set(range(len(chunk.texts))).difference(good))
            if not rows:
                return Columns(good=[], other=other)
        pieces = list(zip(*rows, strict=True))
        blank = ("",) * len(good)
        firsts, lasts, subjects = (
            pieces[at] if at is not None else blank for at in (self.first, self.last, self.subject)
        )
        los = _keys(firsts)
        sizes = [end - lo if end else 0 for lo, end in zip(los, _keys(lasts), strict=True)]
        return Columns(
            good=good,
            other=other,
            los=los,
            sizes=sizes,
            straight=min(sizes) >= 0 and max(sizes) < WIDE,
            subjects=subjects,
            tails=list(zip(*[pieces[at] for at in self.tails], strict=True)) or [()] * len(good),
        )

    def _split(self, texts: Sequence[str]) -> list[list[str]]:
        """Take rows apart."""
        if self._pieces > self._cut:
            return [text.split(",", self._cut) for text in texts]
        return [_without_end(text).split(",") for text in texts]

    def _sound(self, rows: Sequence[Sequence[str]]) -> bool:
        """True when all have their pieces, and digits where numbers are."""
        if set(map(len, rows)) != {self._pieces}:
            return False
        for at in (self.first, self.last):
            if at is None:
                continue
            numbers = [row[at] for row in rows]
            lengths = set(map(len, numbers))
            digits = "".join(numbers)
            if (
                max(lengths) > MAX_TN_LENGTH
                or min(filter(None, numbers), default="1") < "1"  # national, or no number
                or (min(lengths) <= self._max_coded and self._reread(numbers))
                or (at == self.first and 0 in lengths)
                or not (digits.isascii() and (digits.isdecimal() or not digits))
            ):
                return False
        return True

    def _reread(self, numbers: Iterable[str]) -> bool:
        """True when some have a country code that their plan does not give them."""
        return any(
            len(number) <= self._max_coded and self._national_form(number) is not None
            for number in numbers
        )

    def values(self, tails: tuple[str, ...]) -> dict[str, str] | None:
        """The columns that the pieces of `tails` are of; None when they are not as many."""
        values = [part for tail in tails for part in _without_end(tail).split(",")]
        if len(values) != len(self._names):
            return None
        return dict(zip(self._names, map(value_of, values), strict=True))


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _keys(texts: Sequence[str]) -> list[int]:
    """See stores.sqlite.numbers.number_key; 0 for an empty text."""
    lengths = set(map(len, texts))
    if len(lengths) == 1 and 0 not in lengths:
        base = lengths.pop() * LENGTH
        return [base + number for number in map(int, texts)]
    return [len(text) * LENGTH + int(text) if text else 0 for text in texts]
