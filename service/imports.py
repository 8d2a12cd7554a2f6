"""Imports into the registry of a running service, whichever engine keeps it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

from zhenxian.core.reading import Reading
from zhenxian.registry.cells import lines_of
from zhenxian.registry.imports import NO_FILE, Mode, Report
from zhenxian.registry.model import Kind
from zhenxian.service.apart import ExportOrders, ImportOrders, export_apart, import_apart, opened
from zhenxian.service.settings import Settings
from zhenxian.stores.bulk.importer import Import
from zhenxian.stores.fleet.importer import FleetImport
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.stores.sqlite.requests import reached

LINES: Final = 25_000  # of one commit: memory holds a few times as many, and writers wait for it
SMALL: Final = 131_072  # octets of a file for which no process is started


class RunningImports:
    """A registry.imports.Imports: one at a time, as the registry is written by one anyway."""

    def __init__(
        self,
        registry: EmbeddedRegistry | FleetRegistry,
        settings: Settings,
        identity_key: bytes,
        reading: Reading,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._fixed: dict[str, Any] = {"identity_key": identity_key, "reading": reading}
        self._turn = asyncio.Lock()

    @property
    def folder(self) -> Path:
        """Where an upload may be kept meanwhile."""
        return self._registry.records.path.parent

    async def reached(self, name: str) -> int:
        """The last line committed of a file that is imported under the name; 0 for none."""
        return await self._registry.read(lambda file: reached(file, name))

    async def run(self, kind: Kind, file: IO[bytes], listed: int, **how: Any) -> Report:
        """Import the file; see registry.imports.Imports."""
        registry = self._registry
        if not how.get("dry_run"):
            registry.guard.check(registry.records)
        async with self._turn:
            if isinstance(registry, FleetRegistry):
                shared = FleetImport(registry, kind, **self._fixed, **how)
                shared.report.listed = listed
                with closing(lines_of(file)) as lines:
                    return await shared.run(lines)
            if os.fstat(file.fileno()).st_size > SMALL:
                return await import_apart(self._orders(kind, file, listed, how))

            def work() -> Report:
                # A connection of its own: single writes of others come in between its commits.
                own = opened(registry.records.path, writer=True)
                try:
                    local = Import(own, kind, **self._fixed, **how)
                    local.report.listed = listed
                    local.lines, local.collecting = LINES, True
                    with closing(lines_of(file)) as lines:
                        return local.run(lines)
                finally:
                    own.close()

            return await asyncio.to_thread(work)

    def _orders(
        self, kind: Kind, file: IO[bytes], listed: int, how: dict[str, Any]
    ) -> ImportOrders:
        os.lseek(file.fileno(), file.tell(), os.SEEK_SET)
        how = dict(how)
        return ImportOrders(
            path=str(self._registry.records.path),
            source=file.fileno(),
            kind=kind,
            listed=listed,
            lines=LINES,
            settings=self._settings.model_dump(mode="json"),
            mode=how.pop("mode", Mode.BEST_EFFORT),
            identity_key=self._fixed["identity_key"],
            origin=how.pop("origin", NO_FILE),
            how=how,
        )

    def rest(self, kind: Kind, after: str) -> AsyncIterator[bytes]:
        """See registry.imports.Imports."""
        return export_apart(ExportOrders(str(self._registry.records.path), kind, after))
