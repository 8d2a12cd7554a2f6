"""Bulk import and export: CSV, streamed, each refused row with its line and reason.

Holdings that repeat, replace and cross nothing are taken a chunk at a time, checked by SQL over
the whole chunk; a chunk with anything else in it goes row by row through the registry's rules, so
both ways refuse the same rows in the same words.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, TextIO, TypeAlias

from msgspec import Struct, field

from passport.errors import ConfigError, ParseError, ZhenxianError
from passport.tn import MAX_TN_LENGTH
from registry.forms import COLUMNS, MAX_TEXT, record_of, row_of
from registry.identity import document_hash
from registry.journal import Commit, RegistryConflictError, VersionConflictError, put
from registry.model import Holding, Kind, State, Subject, Who
from registry.rules import check
from stores.book import LENGTH, Book, Staged

CHUNK: Final = 50_000  # rows looked at together
MAX_SECONDS: Final = 12  # digits of a time in seconds
MAX_TOLD: Final = 1_000  # refused rows a report lists; all are counted
_MAX_KNOWN: Final = 1_000_000  # subjects remembered while importing

_REFUSALS: Final = (ConfigError, RegistryConflictError, VersionConflictError)


class Mode(str, Enum):
    """What one refused row means for the others."""

    ALL_OR_NOTHING = "all-or-nothing"
    BEST_EFFORT = "best-effort"


class Rejected(Struct, frozen=True):
    """A row that was refused; lines count from 1, the header's."""

    line: int
    reason: str


class Report(Struct):
    """What became of an import.

    Attributes:
        changed: rows registered. unchanged: rows that were registered so already.
        rejected: the first refused rows; rejections counts them all.
        written: False for a dry run, and for all-or-nothing with a refused row.
    """

    rows: int = 0
    changed: int = 0
    unchanged: int = 0
    rejections: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    written: bool = True

    def reject(self, line: int, reason: str) -> None:
        """Count a refused row."""
        self.rejections += 1
        if len(self.rejected) < MAX_TOLD:
            self.rejected.append(Rejected(line, reason))


_Row: TypeAlias = tuple[int, list[str]]  # line, values in the order of the header, and ""


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
        self._header: list[str] = []
        self._owners: dict[str, int] = {}
        self._titles: dict[tuple[str, str, str, str], int | str] = {}
        self.report = Report()

    def run(self, lines: Iterable[str], progress: Callable[[int], object] | None = None) -> Report:
        """Import all rows.

        Args:
            progress: called with the number of rows read after each chunk.

        Raises:
            ConfigError: the first line does not name the columns.
            StoreUnavailableError: the disk does not take it; what was committed stays.
        """
        rows = self._rows(lines)
        done = self._book.import_line(self._resume) if self._resume else 0
        rows = (row for row in rows if row[0] > done)
        report = self.report
        if self._mode is Mode.BEST_EFFORT and not self._dry_run:
            while chunk := list(itertools.islice(rows, CHUNK)):
                with self._book.transaction():
                    seq = self._begin()
                    before = report.changed
                    self._take(chunk, seq)
                    if report.changed > before:
                        self._enter(seq)
                    if self._resume:
                        self._book.set_import_line(self._resume, chunk[-1][0])
                if progress is not None:
                    progress(report.rows)
            if self._resume:
                self._book.set_import_line(self._resume, 0)  # done: again is from the start
            return report
        try:
            with self._book.transaction():
                seq = self._begin()
                while chunk := list(itertools.islice(rows, CHUNK)):
                    self._take(chunk, seq)
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
        return self._book.last()[0] + 1

    def _enter(self, seq: int) -> None:
        time = max(self._now, self._book.last()[1])
        self._book.record(Commit(seq, time, self._author, self._reason, ()), many=True)

    def _rows(self, lines: Iterable[str]) -> Iterator[_Row]:
        reader = csv.reader(lines, strict=True)
        try:
            header = self._header = next(reader, [])
            allowed = {*COLUMNS[self._kind], *(["document_number"] if self._with_numbers else [])}
            needed = COLUMNS[self._kind][:1]
            if (
                set(header) - allowed
                or len(set(header)) != len(header)
                or not (set(needed) <= set(header))
            ):
                raise ConfigError(
                    f"line 1: columns of {', '.join(COLUMNS[self._kind])} expected, got"
                    f" {', '.join(header)}"
                )
            width, report = len(header), self.report
            for values in reader:
                report.rows += 1
                if len(values) == width:
                    values.append("")  # what a column that is not given reads
                    yield reader.line_num, values
                else:
                    report.reject(reader.line_num, f"{width} columns expected")
        except csv.Error as error:
            raise ConfigError(f"line {reader.line_num}: {error}") from None

    @property
    def _with_numbers(self) -> bool:
        return self._kind is Kind.SUBJECT and bool(self._identity_key)

    def _take(self, rows: list[_Row], seq: int) -> None:
        if self._kind is Kind.HOLDING and self._take_plain(rows, seq):
            return
        for row in rows:
            self._take_one(row, seq)

    def _take_one(self, row: _Row, seq: int) -> None:
        line, values = row
        try:
            record = record_of(
                self._kind, self._hashed(dict(zip(self._header, values, strict=False)))
            )
            found = self._book.get(self._kind, record.key)
            if found is not None and found[1] == record:
                self.report.unchanged += 1
                return
            if found is not None and found[0] == seq:
                raise RegistryConflictError(f"{record.key} is in this import before")
            self._book.apply_change(check(put(record), self._book, self._now), seq)
            self.report.changed += 1
        except _REFUSALS as error:
            self.report.reject(line, str(error))

    def _hashed(self, values: Mapping[str, str]) -> dict[str, Any]:
        number = values.get("document_number", "")
        row = {name: value for name, value in values.items() if name != "document_number"}
        if number:
            row["document"] = document_hash(self._identity_key, row["document_kind"], number)
        return row

    def _take_plain(self, rows: list[_Row], seq: int) -> bool:
        """Take a chunk of holdings at once; False when some row needs a closer look."""
        staged = self._staged(rows)
        if staged is None:
            return False
        if _crossing(staged):
            return False
        book = self._book
        unchanged = book.stage(staged)
        if not book.staged_is_plain():
            return False
        self.report.unchanged += unchanged
        self.report.changed += book.take_staged(seq)
        return True

    def _staged(self, rows: list[_Row]) -> list[Staged] | None:
        """Rows as they are stored; None when the rules must look at one."""
        place = {name: self._header.index(name) for name in self._header}
        empty = len(self._header)  # a value past the end, for columns that are not given
        first_at = place["first"]
        last_at, subject_at = place.get("last", empty), place.get("subject", empty)
        evidence_at, when_at = place.get("evidence", empty), place.get("verified_on", empty)
        title_at = [place.get(name, empty) for name in ("verification", "use", "spcs", "reseller")]
        a, b, c, d = title_at
        owners, titles = self._owners, self._titles
        staged: list[Staged] = []
        for line, values in rows:
            first, last = values[first_at], values[last_at]
            digits = first + last
            length = len(first)
            if not (digits.isdecimal() and digits.isascii() and 0 < length <= MAX_TN_LENGTH):
                return None
            number = int(first)
            size = int(last) - number if last else 0
            if size < 0 or (last and len(last) != length):
                return None
            subject = values[subject_at]
            owner = owners.get(subject)
            if owner is None:
                owner = self._owner(subject)
            key = (values[a], values[b], values[c], values[d])
            title = titles.get(key)
            if title is None:
                title = titles[key] = self._read_title(key)
            if owner is None or not isinstance(title, int):
                return None
            evidence, when = values[evidence_at] or None, values[when_at]
            if (when and not (when.isdecimal() and len(when) <= MAX_SECONDS)) or (
                evidence is not None and (len(evidence) > MAX_TEXT or not evidence.isprintable())
            ):
                return None
            staged.append(
                (
                    line,
                    size.bit_length(),
                    length * LENGTH + number,
                    size,
                    owner,
                    title,
                    evidence,
                    int(when) if when else None,
                )
            )
        return staged

    def _owner(self, subject: str) -> int | None:
        """The subject's number, when it may be given numbers; None leaves it to the rules."""
        if len(self._owners) >= _MAX_KNOWN:
            self._owners.clear()
        found = self._book.get(Kind.SUBJECT, subject)
        holder = found[1] if found is not None else None
        if (
            not isinstance(holder, Subject)
            or holder.state is not State.ACTIVE
            or self._book.stopped(Who(subjects=(subject,))) is not None
        ):
            return None
        known = self._owners[subject] = self._book.owner_id(subject)
        return known

    def _read_title(self, key: tuple[str, str, str, str]) -> int | str:
        names = ("verification", "use", "spcs", "reseller")
        row = {"first": "1", "subject": "-", **dict(zip(names, key, strict=True))}
        try:
            sample = record_of(Kind.HOLDING, row)
        except (ConfigError, ParseError):
            return ""
        if not isinstance(sample, Holding) or (
            sample.reseller and self._book.get(Kind.RESELLER, sample.reseller) is None
        ):
            return ""
        return self._book.title_id(sample)


def _crossing(rows: list[Staged]) -> bool:
    """True when two rows are the same number or range, or overlap without nesting."""
    spans = sorted((row[2], -row[3]) for row in rows)
    ends: list[int] = []
    before: tuple[int, int] | None = None
    for span in spans:
        if span == before:
            return True
        before = span
        lo, hi = span[0], span[0] - span[1]
        while ends and ends[-1] < lo:
            ends.pop()
        if ends and hi > ends[-1]:
            return True
        ends.append(hi)
    return False


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
