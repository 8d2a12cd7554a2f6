"""Bulk import and export: CSV, streamed, each refused row with its line and reason.

Holdings that repeat, replace and cross nothing, and refusals that repeat and replace nothing, are
taken together; the rows that do, and those that something is wrong with, go one by one through the
registry's rules. Neither kind bears on
the other, so both are taken and refused as if all went through the rules.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from operator import lt
from typing import Final, NamedTuple, TextIO

from zhenxian.core.collection import uncollected
from zhenxian.core.errors import ConfigError, ParseError, ZhenxianError
from zhenxian.core.reading import Reading
from zhenxian.registry.cells import cell
from zhenxian.registry.forms import AS_WRITTEN, record_of, row_of
from zhenxian.registry.imports import NO_FILE, Mode, Origin, Report
from zhenxian.registry.journal import (
    Commit,
    Nested,
    RegistryConflictError,
    VersionConflictError,
    put,
)
from zhenxian.registry.members import COLUMNS
from zhenxian.registry.meta import MAX_TEXT
from zhenxian.registry.model import (
    CalleeRefusal,
    Holding,
    Kind,
    Record,
    State,
    Subject,
    SubjectKind,
    Who,
)
from zhenxian.registry.rules import check, taken_out_of
from zhenxian.stores.bulk.columns import WIDE, Columns, Layout
from zhenxian.stores.bulk.csv_rows import Chunk, Rows
from zhenxian.stores.bulk.staging import Row, Title, much, register, tangled, within_others
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.numbers import number_key

CHUNK: Final = 200_000  # lines of one commit, which holds off other writers for some 2 seconds
_PART: Final = 25_000  # lines looked at together
_AHEAD: Final = 8  # parts that are read and taken apart while SQLite works
_MAX_KNOWN: Final = 1_000_000  # subjects, and titles, remembered while importing
_MAX_SECONDS: Final = 12  # digits of a time in seconds; what is no time fails in the rules

_REFUSALS: Final = (ConfigError, RegistryConflictError, VersionConflictError)
_TITLE: Final = ("verification", "use", "spcs", "reseller")


class _Part(NamedTuple):
    """Lines that are looked at together, and what their text says."""

    chunk: Chunk
    columns: Columns


class _UndoError(ZhenxianError):
    """Ends a transaction that is not to be kept."""


class Import:
    """One import into a registry file."""

    def __init__(
        self,
        file: RegistryFile,
        kind: Kind,
        *,
        author: str,
        reason: str,
        now: int,
        mode: Mode = Mode.BEST_EFFORT,
        dry_run: bool = False,
        identity_key: bytes = b"",
        reading: Reading = AS_WRITTEN,
        take_out: bool = False,
        origin: Origin = NO_FILE,
        resume: str = "",
    ) -> None:
        """Take what does not change from row to row.

        Args:
            reading: how numbers are read that have no country code.
            take_out: whether a row may take numbers out of a range of another subject.
            resume: name under which the progress is kept, in the transaction of its rows; an
                import of the same name goes on after the last line committed. Best effort only.
        """
        self._file = file
        self._kind = kind
        self._author = author
        self._reason = reason
        self._now = now
        self._mode = mode
        self._dry_run = dry_run
        self._identity_key = identity_key
        self._reading = reading
        self._take_out = take_out
        self._origin = origin
        self._resume = resume if mode is Mode.BEST_EFFORT and not dry_run else ""
        self._layout = Layout(())
        self._own: set[int] = set()  # commits of this import
        self._known = -1  # the file's version that the following were read from
        self._persons: dict[str, bool] = {}  # those without numbers so far: whether one came
        self._owners: dict[str, int] = {}  # subject -> its number; 0 leaves it to the rules
        self._tails: dict[tuple[str, ...], int] = {}  # other columns -> place in _titles, or 0
        self._titles: list[Title] = []
        self._names: dict[tuple[str, ...], int] = {}  # columns of _TITLE -> number, or 0
        self.report = Report()
        # What a process that does other things meanwhile sets otherwise.
        self.lines = CHUNK  # of one commit; memory holds as many
        self.collecting = False  # leave the collector of reference cycles at work

    def run(self, lines: Iterable[str], progress: Callable[[int], object] | None = None) -> Report:
        """Import all rows.

        Args:
            progress: called with the number of rows read after each chunk.

        Raises:
            ConfigError: the first line does not name the columns.
            StoreUnavailableError: the disk does not take it; what was committed stays.
        """
        with nullcontext() if self.collecting else uncollected(), much(self._file.connection):
            return self._run(lines, progress)

    def _run(self, lines: Iterable[str], progress: Callable[[int], object] | None) -> Report:
        rows = Rows(lines, self._kind, self._identity_key, self._reading)
        if self._kind is Kind.HOLDING:
            self._layout = Layout(rows.header, self._reading)
        report = self.report
        if self._mode is Mode.BEST_EFFORT and not self._dry_run:
            if self._resume:
                rows.skip(self._file.import_line(self._resume))
            with closing(_ahead(lambda: self._part(rows))) as parts:
                while some := _of_one_commit(parts, self.lines):
                    self._commit(rows, some)
                    if progress is not None:
                        progress(report.rows)
            if self._resume:
                self._file.set_import_line(self._resume, 0)  # done: again is from the start
            return report
        try:
            with closing(_ahead(lambda: self._part(rows))) as parts, self._file.transaction():
                seq, run = self._begin(), -1
                for part in parts:
                    run = run if run >= 0 else _run_of(part, seq)
                    self._take(rows, part, seq, run)
                    if progress is not None:
                        progress(report.rows)
                if self._dry_run or (report.rejections and self._mode is Mode.ALL_OR_NOTHING):
                    raise _UndoError  # noqa: TRY301, the way out of the transaction
                if report.changed:
                    self._enter(seq, report.changed)
        except _UndoError:
            report.written = False
        return report

    def _part(self, rows: Rows) -> _Part | None:
        chunk = rows.chunk(_part())
        if not chunk.texts:
            return None
        holdings = self._kind is Kind.HOLDING
        return _Part(chunk, self._layout.columns(chunk) if holdings else Columns(good=[], other=[]))

    def _commit(self, rows: Rows, parts: Sequence[_Part]) -> None:
        with self._file.transaction():
            seq = self._begin()
            before = self.report.changed
            run = _run_of(parts[0], seq)
            for part in parts:
                self._take(rows, part, seq, run)
            if self.report.changed > before:
                self._enter(seq, self.report.changed - before)
            if self._resume:
                self._file.set_import_line(self._resume, parts[-1].chunk.lines[-1])

    def _begin(self) -> int:
        version = self._file.data_version()
        if version != self._known:  # somebody else may have stopped a subject
            self._known = version
            self._forget()
        return self._file.last()[0] + 1

    def _forget(self) -> None:
        self._owners.clear()
        self._persons.clear()
        self._tails.clear()
        self._names.clear()
        self._titles = [Title(0, None, None)]

    def _enter(self, seq: int, count: int) -> None:
        self._own.add(seq)
        _, time = self._file.next_commit(self._now)
        reason = self._origin.reason(self._reason, self._kind, count)
        self._file.record(
            Commit(seq=seq, time=time, author=self._author, reason=reason, changes=()), many=True
        )

    def _take(self, rows: Rows, part: _Part, seq: int, run: int) -> None:
        chunk = part.chunk
        self.report.rows += len(chunk.texts)
        refused: dict[int, str] = {}
        if self._kind is Kind.HOLDING:
            plain, places = self._read(part.columns)
            records = _records(rows, chunk, places, refused)
            plain, knotted = _separate(plain, records)
            plain, inside, for_rules = self._outside(plain)
            knotted |= for_rules
            taken, unchanged, left = register(self._file.connection, plain, self._titles, seq, run)
            self.report.taken_out += len(inside - left)
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
            self.report.reject(chunk.lines[place], refused[place], chunk.values(place))

    def _outside(self, plain: list[Row]) -> tuple[list[Row], set[int], set[int]]:
        """Tell apart what takes numbers out of somebody's range.

        Where rows lie in each other, too, the rules find out whose range is meant.

        Returns:
            The rows that are not for the rules; the places of those among them that take numbers
            out, as they may; the places of the rows that are for the rules.
        """
        inside = within_others(self._file.connection, plain)
        if not inside:
            return plain, inside, set()
        if self._take_out and _apart(plain):
            return plain, inside, set()
        return [row for row in plain if row[4] not in inside], set(), inside

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
        taken, unchanged, other = self._file.tables.refusals.register(plain, seq)
        self.report.changed += taken
        self.report.unchanged += unchanged
        return {p: record for p, record in records.items() if p not in plain or p in other}

    def _take_one(self, record: Record, seq: int) -> None:
        found = self._file.get(self._kind, record.key)
        if found is not None and found[1] == record:
            self.report.unchanged += 1
            return
        if found is not None and (found[0] == seq or found[0] in self._own):
            raise RegistryConflictError(f"{record.key} appears twice in this import")
        nested = Nested.COUNTED if self._take_out else Nested.REFUSED
        change = check(put(record), self._file, self._now, nested)
        if self._take_out and taken_out_of(change, self._file) is not None:
            self.report.taken_out += 1
        self._file.apply_change(change, seq)
        self.report.changed += 1

    def _read(self, columns: Columns) -> tuple[list[Row], list[int]]:
        """A chunk's holdings as they are stored, and the rows that the rules must look at."""
        good, other, subjects, tails = columns.good, columns.other, columns.subjects, columns.tails
        if not good:
            return [], other
        owners = list(map(self._owners_of(subjects).__getitem__, subjects))
        if self._persons:
            owners = self._first_rows(subjects, owners, columns.sizes)
        titles = list(map(self._titles_of(tails).__getitem__, tails))
        found = list(zip(columns.los, columns.sizes, owners, titles, good, strict=True))
        if all(owners) and all(titles) and columns.straight:
            return found, other
        plain = [row for row in found if 0 <= row[1] < WIDE and row[2] and row[3]]
        return plain, [*other, *set(good).difference([row[4] for row in plain])]

    def _owners_of(self, subjects: Sequence[str]) -> dict[str, int]:
        known = self._owners
        if len(known) > _MAX_KNOWN:
            known.clear()
            self._persons.clear()
        for subject in set(subjects).difference(known):
            known[subject] = self._owner(subject)
        return known

    def _owner(self, subject: str) -> int:
        """The subject's number, when it may be given numbers; 0 leaves it to the rules."""
        found = self._file.get(Kind.SUBJECT, subject)
        holder = found[1] if found is not None else None
        if (
            not isinstance(holder, Subject)
            or holder.state is not State.ACTIVE
            or self._file.stopped(Who(subjects=(subject,))) is not None
        ):
            return 0
        if holder.kind is SubjectKind.PERSON:
            if self._file.tables.holdings.first_of(subject) is not None:
                return 0  # the rules count what a person holds
            self._persons[subject] = False
        return self._file.tables.holdings.owner_id(subject)

    def _first_rows(
        self, subjects: Sequence[str], owners: Sequence[int], sizes: Sequence[int]
    ) -> list[int]:
        """The owners, with 0 for rows of persons that are not their first number."""
        persons, kept = self._persons, []
        for subject, owner, size in zip(subjects, owners, sizes, strict=True):
            before = persons.get(subject)
            if before is not None:
                persons[subject] = True
            kept.append(0 if before or (before is not None and size) else owner)
        return kept

    def _titles_of(self, tails: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
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
            or (when and not (when.isascii() and when.isdecimal() and len(when) <= _MAX_SECONDS))
            or any(value.startswith("'") for value in values.values())
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
            sample.reseller and self._file.get(Kind.RESELLER, sample.reseller) is None
        ):
            return 0
        return self._file.tables.holdings.title_id(sample)


def _part() -> int:
    return min(_PART, CHUNK)


def _ahead(read: Callable[[], _Part | None]) -> Generator[_Part, None, None]:
    """What `read` gives until it gives None; read in a thread of its own, some parts ahead."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="import")
    waiting: deque[Future[_Part | None]] = deque()
    try:
        try:
            waiting.extend(thread.submit(read) for _ in range(_AHEAD))
        except RuntimeError:  # no more threads may be started: one thing after the other
            yield from iter(read, None)
            return
        while (part := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(read))
            yield part
    finally:
        thread.shutdown(cancel_futures=True)


def _of_one_commit(parts: Iterator[_Part], lines: int) -> list[_Part]:
    """The next parts, which are committed together; none at the end."""
    return list(itertools.islice(parts, max(1, lines // _part())))


def _run_of(first: _Part, seq: int) -> int:
    """The run of a commit's new holdings, by its first part: few rows do not make one."""
    return seq if len(first.chunk.texts) == _part() else 0


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
    file: RegistryFile,
    kind: Kind,
    out: TextIO,
    progress: Callable[[int], object] | None = None,
    *,
    after: str = "",
) -> int:
    """Write records of a kind as CSV that an import reads back; how many.

    Args:
        after: `following` of a page; only the records after it are written, and no header.
    """
    writer = csv.writer(out, lineterminator="\n")
    columns = COLUMNS[kind]
    if not after:
        writer.writerow(columns)
    count = 0
    while True:
        page = file.page(kind, after=after, limit=10_000)
        for _, record in page.rows:
            row = row_of(record)
            writer.writerow([cell(row[column]) for column in columns])
        count += len(page.rows)
        if progress is not None:
            progress(count)
        if page.following is None:
            return count
        after = page.following
