"""The registry of a data folder for commands that work on it themselves: imports and exports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TextIO

from zhenxian.registry.model import Kind
from zhenxian.service.build import open_fleet
from zhenxian.service.data_folder import make_data_folder
from zhenxian.service.settings import Settings
from zhenxian.stores.bulk.importer import Import, export_rows
from zhenxian.stores.clock import CLOCK_FILE, ClockGuard
from zhenxian.stores.fleet.importer import FleetImport
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.key_file import load_node_key
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

__all__ = [
    "FleetMember",
    "LocalFile",
    "joined",
    "load_node_key",
    "opened",
]  # the key file is for commands, too


class LocalFile:
    """The registry file of this machine, opened to be written."""

    def __init__(self, file: RegistryFile, guard: ClockGuard) -> None:
        self._file = file
        self._guard = guard

    def reached(self, name: str) -> int:
        """The last line committed of an import that keeps its progress under the name."""
        return self._file.import_line(name)

    def importing(self, kind: Kind, **how: Any) -> Import:
        """An import, to be run; see stores.bulk.importer.Import.

        Raises:
            StoreUnavailableError: the clock is in doubt.
        """
        if not how.get("dry_run"):
            self._guard.check(self._file)
        return Import(self._file, kind, **how)

    def export(self, kind: Kind, out: TextIO) -> int:
        """Write all records of a kind as CSV; how many."""
        return export_rows(self._file, kind, out)


@contextmanager
def opened(settings: Settings) -> Iterator[LocalFile]:
    """Open the file, and make it when there is none. Raises ConfigError, StoreUnavailableError."""
    make_data_folder(settings.data)
    file = RegistryFile(settings.data / REGISTRY_FILE, writer=True)
    try:
        yield LocalFile(file, ClockGuard(kept=settings.data / CLOCK_FILE))
    finally:
        file.close()


class FleetMember:
    """One node's registry of its fleet, caught up."""

    def __init__(self, registry: FleetRegistry) -> None:
        self._registry = registry

    async def reached(self, name: str) -> int:
        """The last line committed of an import that keeps its progress here under the name."""
        return await self._registry.read(lambda file: file.import_line(name))

    def importing(self, kind: Kind, **how: Any) -> FleetImport:
        """An import, to be run; see stores.fleet.importer.FleetImport."""
        return FleetImport(self._registry, kind, **how)


@asynccontextmanager
async def joined(settings: Settings) -> AsyncIterator[FleetMember]:
    """Reach the fleet, and let go of it. Raises ConfigError when this node is alone."""
    registry = open_fleet(settings)
    try:
        await registry.start()
        yield FleetMember(registry)
    finally:
        await registry.aclose()
