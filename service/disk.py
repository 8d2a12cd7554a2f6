"""Whether the disk of the data folder takes what is written, and who can read what is there."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from zhenxian.stores.sqlite.registry import REGISTRY_FILE

_PROBE: Final = 65_536  # octets; a database grows by as much at once
_PRIVATE: Final = (".db", ".sqlite", ".key")  # suffixes; SQLite adds its own to the first two


class Disk:
    """The disk of a data folder, as it was when last looked at.

    Attributes:
        problem: why it takes nothing; None when it does.
        free: octets that it has left; None before the first look.
        exposed: names of files that others than their owner can read or write.
    """

    def __init__(self, folder: Path, registry: Path | None = None) -> None:
        """Args: registry is the file that stays open; None where another may take its place."""
        self._folder = folder
        self._registry = registry
        self._opened = registry.stat() if registry is not None else None
        self.problem: str | None = None
        self.free: int | None = None
        self.exposed: list[str] = []

    def look(self) -> str | None:
        """Write a little, and say why that cannot be; in a thread, since a disk may be slow."""
        try:
            found = os.statvfs(self._folder)
            self.free = found.f_bavail * found.f_frsize
            self.exposed = self._exposed()
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                written = file.write(bytes(_PROBE))
            self.problem = None if written == _PROBE else "it is full"
        except OSError as error:
            self.problem = error.strerror or str(error)
        if self._moved():
            return (
                f"{REGISTRY_FILE} was moved, removed or replaced while it was in use: what is"
                " registered now goes to the old one; put that back, or start the service again"
            )
        if self.problem is None:
            return None
        return (
            f"the data folder takes nothing ({self.problem}): nothing can be registered or kept,"
            " and with several workers no token can be verified"
        )

    def _exposed(self) -> list[str]:
        """Names of the files with keys or records whose mode gives others anything."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if Path(entry.name).suffix.partition("-")[0] in _PRIVATE:
                    with suppress(FileNotFoundError):  # SQLite's come and go
                        if entry.stat().st_mode & 0o077:
                            found.append(entry.name)
        return sorted(found)

    def _moved(self) -> bool:
        """Whether the registry's file is no longer the one that was opened."""
        if self._registry is None or self._opened is None:
            return False
        try:
            return not os.path.samestat(self._registry.stat(), self._opened)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # it cannot be said; why, is told already
