"""Imports into the registry of a running service, whichever engine keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from zhenxian.core.reading import Reading
from zhenxian.registry.imports import Report
from zhenxian.registry.model import Kind
from zhenxian.stores.bulk.importer import Import
from zhenxian.stores.fleet.importer import FleetImport
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.stores.sqlite.requests import reached

LINES: Final = 25_000  # of one commit: memory holds a few times as many, and writers wait for it


class RunningImports:
    """A registry.imports.Imports: one at a time, as the registry is written by one anyway."""

    def __init__(
        self, registry: EmbeddedRegistry | FleetRegistry, identity_key: bytes, reading: Reading
    ) -> None:
        self._registry = registry
        self._fixed: dict[str, Any] = {"identity_key": identity_key, "reading": reading}
        self._turn = asyncio.Lock()

    @property
    def folder(self) -> Path:
        """Where an upload may be kept meanwhile."""
        return self._registry.book.path.parent

    async def reached(self, name: str) -> int:
        """The last line committed of a file that is imported under the name; 0 for none."""
        return await self._registry.read(lambda book: reached(book, name))

    async def run(self, kind: Kind, lines: Iterator[str], told: int, **how: Any) -> Report:
        """Import the lines; see registry.imports.Imports."""
        registry = self._registry
        async with self._turn:
            if isinstance(registry, FleetRegistry):
                shared = FleetImport(registry, kind, **self._fixed, **how)
                shared.report.told = told
                return await shared.run(lines)

            def work() -> Report:
                # A connection of its own: single writes of others come in between its commits.
                book = RegistryFile(registry.book.path, writer=True)
                try:
                    local = Import(book, kind, **self._fixed, **how)
                    local.report.told = told
                    local.lines, local.collecting = LINES, True
                    return local.run(lines)
                finally:
                    book.close()

            return await asyncio.to_thread(work)
