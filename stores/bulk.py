"""Bulk import and export: CSV, streamed, each refused row with its line and reason.

Holdings that repeat, replace and cross nothing, and refusals that repeat and replace nothing, are
taken together; the rows that do, and those that something is wrong with, go one by one through the
registry's rules. Neither kind bears on
the other, so both are taken and refused as if all went through the rules.
"""

from __future__ import annotations

import csv
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import lt
from typing import Any, Final, TextIO

from passport.errors import ConfigError, ParseError, ZhenxianError
from passport.tn import MAX_TN_LENGTH
from registry.forms import COLUMNS, MAX_TEXT, record_of, row_of
from registry.journal import Commit, RegistryConflictError, VersionConflictError, put
from registry.model import CalleeRefusal, Holding, Kind, Record, State, Subject, Who
from registry.rules import check
from stores import refusals
from stores.book import Book
from stores.numbers import LENGTH, number_key
from stores.rows import Chunk, Mode, Report, Rows, value_of
from stores.staging import Row, Title, much, register, tangled

CHUNK: Final = 200_000  # lines of one commit, which holds off other writers for some 2 seconds
_PART: Final = 25_000  # lines looked at together
_MAX_KNOWN: Final = 1_000_000  # subjects, and titles, remembered while importing
_WIDE: Final = LENGTH // 2  # more numbers than a range has whose ends are of one length
_MAX_SECONDS: Final = 12  # digits of a time in seconds; what is no time fails in the rules

_REFUSALS: Final = (ConfigError, RegistryConflictError, VersionConflictError)
_TITLE: Final = ("verification", "use", "spcs", "reseller")
_KEYS: Final = ("first", "last", "subject")


class _UndoError(ZhenxianError):
    """Ends a transaction that is not to be kept."""


class Import:
    """One import into a registry file."""

    def __init__(
        self,
        book: Book,
        kind: Kind,
        *,
        author: str,
        reason: str,
        now: int,
        mode: Mode = Mode.BEST_EFFORT,
        dry_run: bool = False,
        identity_key: bytes = b"",
        resume: str = "",
    ) -> None:
        """Take what does not change from row to row.

        Args:
            resume: name under which the progress is kept, in the transaction of its rows; an
                import of the same name goes on after the last line committed. Best effort only.
        """
        self._book = book
        self._kind = kind
        self._author = author
        self._reason = reason
        self._now = now
        self._mode = mode
        self._dry_run = dry_run
        self._identity_key = identity_key
        self._resume = resume if mode is Mode.BEST_EFFORT and not dry_run else ""
        self._layout = _Layout(())
        self._known = -1  # the file's version that the following were read from
        self._owners: dict[str, int] = {}  # subject -> its number; 0 leaves it to the rules
        self._tails: dict[tuple[str, ...], int] = {}  # other columns -> place in _titles, or 0
        self._titles: list[Title] = []
        self._names: dict[tuple[str, ...], int] = {}  # columns of _TITLE -> number, or 0
        self.report = Report()

    def run(self, lines: Iterable[str], progress: Callable[[int], object] | None = None) -> Report:
        """Import all rows.

        Args:
            progress: called with the number of rows read after each chunk.

        Raises:
            ConfigError: the first line does not name the columns.
            StoreUnavailableError: the disk does not take it; what was committed stays.
        """
        with _no_collection(), much(self._book):
            return self._run(lines, progress)

    def _run(self, lines: Iterable[str], progress: Callable[[int], object] | None) -> Report:
        rows = Rows(lines, self._kind, self._identity_key)
        if self._kind is Kind.HOLDING:
            self._layout = _Layout(rows.header)
        report = self.report
        if self._mode is Mode.BEST_EFFORT and not self._dry_run:
            if self._resume:
                rows.skip(self._book.import_line(self._resume))
            while parts := _parts(rows):
                with self._book.transaction():
                    seq = self._begin()
                    before = report.changed
                    for part in parts:
                        self._take(rows, part, seq)
                    if report.changed > before:
                        self._enter(seq)
                    if self._resume:
                        self._book.set_import_line(self._resume, parts[-1].lines[-1])
                if progress is not None:
                    progress(report.rows)
            if self._resume:
                self._book.set_import_line(self._resume, 0)  # done: again is from the start
            return report
        try:
            with self._book.transaction():
                seq = self._begin()
                while (part := rows.chunk(_PART)).texts:
                    self._take(rows, part, seq)
                    if progress is not None:
                        progress(report.rows)
                if self._dry_run or (report.rejections and self._mode is Mode.ALL_OR_NOTHING):
                    raise _UndoError  # noqa: TRY301, the way out of the transaction
                if report.changed:
                    self._enter(seq)
        except _UndoError:
            report.written = False
        return report

    def _begin(self) -> int:
        version = self._book.data_version()
        if version != self._known:  # somebody else may have stopped a subject
            self._known = version
            self._forget()
        return self._book.last()[0] + 1

    def _forget(self) -> None:
        self._owners.clear()
        self._tails.clear()
        self._names.clear()
        self._titles = [Title(0, None, None)]

    def _enter(self, seq: int) -> None:
        time = max(self._now, self._book.last()[1])
        self._book.record(Commit(seq, time, self._author, self._reason, ()), many=True)

    def _take(self, rows: Rows, chunk: Chunk, seq: int) -> None:
        self.report.rows += len(chunk.texts)
        refused: dict[int, str] = {}
        if self._kind is Kind.HOLDING:
            plain, places = self._read(chunk)
            records = _records(rows, chunk, places, refused)
            plain, knotted = _separate(plain, records)
            taken, unchanged, left = register(self._book, plain, self._titles, seq)
            self.report.changed += taken
            self.report.unchanged += unchanged
            records |= _records(rows, chunk, knotted | left, refused)
        else:
            records = _records(rows, chunk, range(len(chunk.texts)), refused)
            if self._kind is Kind.REFUSAL:
                records = self._take_refusals(records, seq)
        for place in sorted(records):
            try:
                self._take_one(records[place], seq)
            except _REFUSALS as error:
                refused[place] = str(error)
        for place in sorted(refused):
            self.report.reject(chunk.lines[place], refused[place])

    def _take_refusals(self, records: dict[int, Record], seq: int) -> dict[int, Record]:
        """Register those that keep the rules and stand alone; the others are for the rules."""
        seen = Counter(record.key for record in records.values())
        plain = {
            place: record
            for place, record in records.items()
            if isinstance(record, CalleeRefusal)
            and seen[record.key] == 1
            and (record.until is None or record.until > max(record.since, self._now))
        }
        taken, unchanged, other = refusals.register(self._book, plain, seq)
        self.report.changed += taken
        self.report.unchanged += unchanged
        return {p: record for p, record in records.items() if p not in plain or p in other}

    def _take_one(self, record: Record, seq: int) -> None:
        found = self._book.get(self._kind, record.key)
        if found is not None and found[1] == record:
            self.report.unchanged += 1
            return
        if found is not None and found[0] == seq:
            raise RegistryConflictError(f"{record.key} is in this import before")
        self._book.apply_change(check(put(record), self._book, self._now), seq)
        self.report.changed += 1

    def _read(self, chunk: Chunk) -> tuple[list[Row], list[int]]:
        """A chunk's holdings as they are stored, and the rows that the rules must look at."""
        layout = self._layout
        rows = layout.split(chunk.texts)
        good: Sequence[int] = range(len(rows))
        other: list[int] = []
        if not layout.sound(rows):
            good = [place for place, row in enumerate(rows) if layout.sound([row])]
            rows = [rows[place] for place in good]
            other = sorted(set(range(len(chunk.texts))).difference(good))
            if not rows:
                return [], other
        columns = list(zip(*rows, strict=True))
        blank = ("",) * len(good)
        firsts, lasts, subjects = (
            columns[at] if at is not None else blank
            for at in (layout.first, layout.last, layout.subject)
        )
        los = _keys(firsts)
        sizes = [end - lo if end else 0 for lo, end in zip(los, _keys(lasts), strict=True)]
        owners = list(map(self._owners_of(subjects).__getitem__, subjects))
        tails = list(zip(*[columns[at] for at in layout.tails], strict=True)) or [()] * len(good)
        titles = list(map(self._titles_of(tails).__getitem__, tails))
        found = list(zip(los, sizes, owners, titles, good, strict=True))
        if all(owners) and all(titles) and min(sizes) >= 0 and max(sizes) < _WIDE:
            return found, other
        plain = [row for row in found if 0 <= row[1] < _WIDE and row[2] and row[3]]
        other += set(good).difference([row[4] for row in plain])
        return plain, other

    def _owners_of(self, subjects: tuple[str, ...]) -> dict[str, int]:
        known = self._owners
        if len(known) > _MAX_KNOWN:
            known.clear()
        for subject in set(subjects).difference(known):
            known[subject] = self._owner(subject)
        return known

    def _owner(self, subject: str) -> int:
        """The subject's number, when it may be given numbers; 0 leaves it to the rules."""
        found = self._book.get(Kind.SUBJECT, subject)
        holder = found[1] if found is not None else None
        if (
            not isinstance(holder, Subject)
            or holder.state is not State.ACTIVE
            or self._book.stopped(Who(subjects=(subject,))) is not None
        ):
            return 0
        return self._book.owner_id(subject)

    def _titles_of(self, tails: list[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        known = self._tails
        if len(known) > _MAX_KNOWN:
            known.clear()
            del self._titles[1:]
        for tail in set(tails).difference(known):
            values = self._layout.values(tail)
            title = self._title(values) if values is not None else None
            known[tail] = len(self._titles) if title is not None else 0
            if title is not None:
                self._titles.append(title)
        return known

    def _title(self, values: dict[str, str]) -> Title | None:
        names = tuple(values.get(name, "") for name in _TITLE)
        number = self._names.get(names)
        if number is None:
            number = self._names[names] = self._number_of(names)
        evidence, when = values.get("evidence", ""), values.get("verified_on", "")
        if (
            not number
            or len(evidence) > MAX_TEXT
            or not evidence.isprintable()
            or (when and not (when.isdecimal() and len(when) <= _MAX_SECONDS))
        ):
            return None
        return Title(number, evidence or None, int(when or 0) or None)

    def _number_of(self, names: tuple[str, ...]) -> int:
        row = {"first": "1", "subject": "-", **dict(zip(_TITLE, names, strict=True))}
        try:
            sample = record_of(Kind.HOLDING, row)
        except (ConfigError, ParseError):
            return 0
        if not isinstance(sample, Holding) or (
            sample.reseller and self._book.get(Kind.RESELLER, sample.reseller) is None
        ):
            return 0
        return self._book.title_id(sample)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector of reference cycles from looking at rows, which have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Layout:
    """Where the columns of holdings are in the text of a row.

    Attributes:
        first, last, subject: the piece of each; None when there is none.
        tails: the pieces of the other columns. All those after the three above are one piece,
            which few rows have to themselves.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self.first, self.last, self.subject = (
            header.index(name) if name in header else None for name in _KEYS
        )
        own = [at for at in (self.first, self.last, self.subject) if at is not None]
        self._cut = max(own, default=0) + 1
        self._pieces = min(self._cut + 1, len(header))
        self.tails = [at for at in range(self._pieces) if at not in own]
        self._names = [name for name in header if name not in _KEYS]

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Take rows apart."""
        if self._pieces > self._cut:
            return [text.split(",", self._cut) for text in texts]
        return [_without_end(text).split(",") for text in texts]

    def sound(self, rows: Sequence[Sequence[str]]) -> bool:
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
                or (at == self.first and 0 in lengths)
                or not (digits.isascii() and (digits.isdecimal() or not digits))
            ):
                return False
        return True

    def values(self, tails: tuple[str, ...]) -> dict[str, str] | None:
        """The columns that the pieces of `tails` are of; None when they are not as many."""
        values = [part for tail in tails for part in _without_end(tail).split(",")]
        if len(values) != len(self._names):
            return None
        return dict(zip(self._names, map(value_of, values), strict=True))


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _parts(rows: Rows) -> list[Chunk]:
    """The rows of one commit; none at the end."""
    parts: list[Chunk] = []
    left = CHUNK
    while left > 0 and (part := rows.chunk(min(left, _PART))).texts:
        parts.append(part)
        left -= len(part.texts)
    return parts


def _keys(texts: Sequence[str]) -> list[int]:
    """See stores.numbers.number_key; 0 for an empty text."""
    lengths = set(map(len, texts))
    if len(lengths) == 1 and 0 not in lengths:
        base = lengths.pop() * LENGTH
        return [base + number for number in map(int, texts)]
    return [len(text) * LENGTH + int(text) if text else 0 for text in texts]


def _records(
    rows: Rows, chunk: Chunk, places: Iterable[int], refused: dict[int, str]
) -> dict[int, Record]:
    """The records of some rows; `refused` gains those that are none."""
    records: dict[int, Record] = {}
    for place in places:
        try:
            records[place] = rows.record(chunk, place)
        except ConfigError as error:
            refused[place] = str(error)
    return records


def _separate(plain: list[Row], others: dict[int, Record]) -> tuple[list[Row], set[int]]:
    """Rows that bear on no other row, by number, and the places of the other ones.

    Args:
        others: rows not among the plain, by place.
    """
    if not others and _apart(plain):
        return plain, set()
    spans = [
        (number_key(record.numbers.first), record.numbers.size - 1, 0, 0, place)
        for place, record in others.items()
        if isinstance(record, Holding)
    ]
    rows = sorted([*plain, *spans], key=_order)
    knotted = tangled(rows)
    return [row for row in rows if row[4] not in knotted and row[4] not in others], knotted


def _order(row: Row) -> tuple[int, int]:
    return row[0], -row[1]


def _apart(rows: list[Row]) -> bool:
    """True when the rows are in order and share no number."""
    los = [row[0] for row in rows]
    ends = [row[0] + row[1] for row in rows]
    return all(map(lt, ends, los[1:]))


def export_rows(
    book: Book, kind: Kind, out: TextIO, progress: Callable[[int], object] | None = None
) -> int:
    """Write all records of a kind as CSV that an import reads back; how many."""
    writer = csv.writer(out, lineterminator="\n")
    columns = COLUMNS[kind]
    writer.writerow(columns)
    count, after = 0, ""
    while True:
        page = book.page(kind, after=after, limit=10_000)
        for _, record in page.rows:
            row = row_of(record)
            writer.writerow([_text(row[column]) for column in columns])
        count += len(page.rows)
        if progress is not None:
            progress(count)
        if page.following is None:
            return count
        after = page.following


def _text(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value
