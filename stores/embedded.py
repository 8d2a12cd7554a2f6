"""The embedded engine's registry: CSV files and API rows, one snapshot in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from passport.errors import ConfigError, StoreUnavailableError
from passport.tn import TN
from registry.csvfile import read_accesses, read_holdings
from registry.model import Access, Holding
from registry.snapshot import RegistryConflictError, Snapshot
from stores.sqlite import RegistryFile


class EmbeddedRegistry:
    """A registry.model.Registry whose rows come from CSV files and from the API.

    The files own their rows: the API neither changes nor removes them. `refresh` takes over what
    changed in the files or was written by another process; a file that has become unreadable, or
    rows that conflict, leave the rows before it in force and are told in `problem`.
    """

    def __init__(self, file: RegistryFile, holdings: Path | None, accesses: Path | None) -> None:
        """Raises ConfigError or RegistryConflictError for rows that cannot be started with."""
        self._file = file
        self._holdings_path = holdings
        self._accesses_path = accesses
        self._listed: tuple[tuple[Holding, ...], tuple[Access, ...]] = ((), ())
        self._version: tuple[object, ...] = ()
        self.problem: str | None = None
        self._snapshot = Snapshot()
        self._load(self._stamp())

    def holding(self, tn: TN) -> Holding | None:
        """The holding that covers the number."""
        return self._snapshot.holding(tn)

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid."""
        return self._snapshot.access(name, origid)

    def suspended(self, subject: str) -> bool:
        """True when the subject may not originate calls."""
        return self._snapshot.suspended(subject)

    @property
    def snapshot(self) -> Snapshot:
        """All rows in force."""
        return self._snapshot

    def listed(self, item: Holding | Access) -> bool:
        """True for a row that a CSV file owns."""
        return item in self._listed[0] or item in self._listed[1]

    def refresh(self) -> bool:
        """Take over outside changes; True when there were any."""
        try:
            version = self._stamp()
            if version == self._version:
                self.problem = None  # what was away is back as it was
                return False
            self._load(version)
        except (ConfigError, RegistryConflictError, StoreUnavailableError) as error:
            if str(error) == self.problem:
                return False
            self.problem = str(error)
            return True
        self.problem = None
        return True

    def change(
        self, *, put: Iterable[Holding | Access] = (), drop: Iterable[Holding | Access] = ()
    ) -> None:
        """Write rows of the API, all or nothing; in force when this returns.

        Raises:
            RegistryConflictError: the rows contradict others; names both.
            StoreUnavailableError: the disk does not take them; nothing was written.
        """
        self._snapshot = self._file.change(self._merged(), put=put, drop=drop)

    def _merged(
        self,
    ) -> Callable[[tuple[Holding, ...], tuple[Access, ...]], Snapshot]:
        listed_holdings, listed_accesses = self._listed

        def merged(holdings: tuple[Holding, ...], accesses: tuple[Access, ...]) -> Snapshot:
            return Snapshot((*listed_holdings, *holdings), (*listed_accesses, *accesses))

        return merged

    def _stamp(self) -> tuple[object, ...]:
        stamps: list[object] = [self._file.version()]
        for path in (self._holdings_path, self._accesses_path):
            try:
                stat = path.stat() if path is not None else None
            except OSError as error:
                raise ConfigError(f"{path}: {error.strerror}") from None
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None)
        return tuple(stamps)

    def _load(self, version: tuple[object, ...]) -> None:
        listed = (
            read_holdings(self._holdings_path) if self._holdings_path is not None else (),
            read_accesses(self._accesses_path) if self._accesses_path is not None else (),
        )
        before, self._listed = self._listed, listed
        try:
            self._snapshot = self._merged()(*self._file.rows())
        except BaseException:
            self._listed = before
            raise
        self._version = version
