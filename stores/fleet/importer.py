"""Bulk import into a fleet that runs: rows become commits of the journal, like any other write.

A registry that no fleet has yet is imported into its file (stores.bulk.importer), and then seeded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.registry.forms import AS_WRITTEN
from zhenxian.registry.imports import NO_FILE, Mode, Origin, Report
from zhenxian.registry.journal import (
    Commit,
    Nested,
    RegistryConflictError,
    VersionConflictError,
    put,
)
from zhenxian.registry.model import Kind, Record
from zhenxian.stores.bulk.csv_rows import Rows
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile

MAX_TOGETHER: Final = 10_000  # rows of one commit: about 2 MB of the journal
_BATCH: Final = 1_000  # rows of a commit where rows stand for themselves
_IN_A_TURN: Final = 50  # rows read before calls are answered

_REFUSED: Final = (ConfigError, RegistryConflictError, VersionConflictError)


class _Row(NamedTuple):
    line: int
    record: Record
    values: list[str]


class FleetImport:
    """One import into a running fleet."""

    def __init__(
        self,
        registry: FleetRegistry,
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
        """Take what does not change from row to row; `registry` was started.

        Args:
            reading: how numbers are read that have no country code.
            take_out: whether a row may take numbers out of a range of another subject.
            resume: name under which this node keeps the progress; an import of the same name goes
                on after the last line whose rows are committed. Best effort only.
        """
        self._registry = registry
        self._kind = kind
        self._author = author
        self._reason = reason
        self._now = now
        self._together = dry_run or mode is Mode.ALL_OR_NOTHING
        self._dry_run = dry_run
        self._identity_key = identity_key
        self._reading = reading
        self._nested = Nested.COUNTED if take_out else Nested.REFUSED
        self._origin = origin
        self._resume = "" if self._together else resume
        self._own: set[int] = set()  # commits of this import
        self.report = Report()

    async def run(
        self, lines: Iterable[str], progress: Callable[[int], object] | None = None
    ) -> Report:
        """Import all rows.

        Raises:
            ConfigError: the first line does not name the columns; or all-or-nothing, or a dry
                run, of more than MAX_TOGETHER rows.
            StoreUnavailableError: Redis does not take it; what was committed stays.
        """
        rows = Rows(lines, self._kind, self._identity_key, self._reading)
        report = self.report
        waiting: list[_Row] = []
        later: list[_Row] = []  # that repeat another
        seen: dict[str, Record] = {}  # of this commit; those before are known by their version
        if self._resume:
            name = self._resume
            rows.skip(await self._registry.read(lambda file: file.import_line(name)))
        while (chunk := rows.chunk(_BATCH)).texts:
            report.rows += len(chunk.texts)
            for place, line in enumerate(chunk.lines):
                if not place % _IN_A_TURN:
                    await asyncio.sleep(0)
                values = chunk.values(place)
                try:
                    row = _Row(line, rows.record(chunk, place), values)
                except ConfigError as error:
                    report.reject(line, str(error), values)
                    continue
                before = seen.get(row.record.key)
                if before is None:
                    seen[row.record.key] = row.record
                    waiting.append(row)
                elif before == row.record:
                    report.unchanged += 1
                elif self._together:
                    later.append(row)
                else:  # whether the one before it is registered shows when it was committed
                    await self._commit(await self._new(waiting))
                    waiting, seen = [row], {row.record.key: row.record}
            if not self._together:
                await self._commit(await self._new(waiting))
                waiting = []
                seen.clear()
                await self._reached(chunk.lines[-1])
            elif len(waiting) > MAX_TOGETHER:
                raise ConfigError(
                    f"a running fleet takes at most {MAX_TOGETHER} rows all or nothing, or dry"
                )
            if progress is not None:
                progress(report.rows)
        if self._together:
            await self._all_or_nothing(await self._new(waiting), later)
        await self._reached(0)  # done: again is from the start
        report.rejected.sort(key=lambda rejected: rejected.line)
        return report

    async def _reached(self, line: int) -> None:
        """Note how far it came. What was committed and not noted is met again, unchanged."""
        if self._resume:
            name = self._resume
            await self._registry.with_writer(lambda file: file.set_import_line(name, line))

    async def _new(self, rows: list[_Row]) -> list[_Row]:
        """Those that are not registered already as they are."""

        def registered(file: RegistryFile) -> list[tuple[int, Record] | None]:
            return [file.get(self._kind, row.record.key) for row in rows]

        fresh: list[_Row] = []
        for row, entry in zip(rows, await self._registry.read(registered), strict=True):
            if entry is not None and entry[1] == row.record:
                self.report.unchanged += 1
            elif entry is not None and entry[0] in self._own:
                self._repeated(row)
            else:
                fresh.append(row)
        return fresh

    def _repeated(self, row: _Row) -> None:
        self.report.reject(row.line, f"{row.record.key} appears twice in this import", row.values)

    async def _commit(self, rows: list[_Row]) -> None:
        """Write rows; halves of what is refused are tried by themselves."""
        if not rows:
            return
        try:
            commit = await self._write(rows, dry_run=False)
        except _REFUSED as error:
            if len(rows) == 1:
                self.report.reject(rows[0].line, str(error), rows[0].values)
                return
            middle = len(rows) // 2
            await self._commit(rows[:middle])
            await self._commit(rows[middle:])
        else:
            self.report.changed += len(rows)
            self.report.taken_out += commit.taken_out

    async def _all_or_nothing(self, rows: list[_Row], later: list[_Row]) -> None:
        good = await self._good([], rows)
        taken = {row.record.key: row.record for row in good}
        for row in later:
            before = taken.get(row.record.key)
            if before is None:
                good = await self._good(good, await self._new([row]))
                taken |= {row.record.key: row.record for row in good[len(taken) :]}
            elif before == row.record:
                self.report.unchanged += 1
            else:
                self._repeated(row)
        self.report.changed = len(good)
        self.report.written = not self._dry_run and not self.report.rejections
        if good and (self.report.written or self._nested is Nested.COUNTED):
            commit = await self._write(good, dry_run=not self.report.written)
            self.report.taken_out = commit.taken_out

    async def _good(self, before: list[_Row], rows: list[_Row]) -> list[_Row]:
        """`before` and those of the rows that are not refused after them."""
        if not rows:
            return before
        try:
            await self._write([*before, *rows], dry_run=True)
        except _REFUSED as error:
            if len(rows) == 1:
                self.report.reject(rows[0].line, str(error), rows[0].values)
                return before
            middle = len(rows) // 2
            return await self._good(await self._good(before, rows[:middle]), rows[middle:])
        return [*before, *rows]

    async def _write(self, rows: Sequence[_Row], *, dry_run: bool) -> Commit:
        commit = await self._registry.write(
            [put(row.record) for row in rows],
            author=self._author,
            reason=self._origin.reason(self._reason, self._kind, len(rows)),
            now=self._now,
            nested=self._nested,
            dry_run=dry_run,
        )
        if not dry_run:
            self._own.add(commit.seq)
        return commit
