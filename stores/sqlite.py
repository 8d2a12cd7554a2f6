"""The embedded engine on SQLite: replay shared by several processes, and durable registry rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from passport.errors import StoreUnavailableError
from registry.csvfile import access_of, access_row, holding_of, holding_row
from registry.model import Access, Holding
from registry.snapshot import Snapshot

_BUSY_MS: Final = 100  # milliseconds a call may wait for another process's write
_PURGE_EVERY: Final = 4096  # insertions between two removals of stale tokens

_Value = TypeVar("_Value")


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{path}: {error}") from None
    return connection


class SqliteReplayStore:
    """A verifier.replay.ReplayStore that worker processes share through one file.

    Losing the newest records to a power cut is accepted: they matter for one freshness window.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreUnavailableError when the file cannot be opened."""
        self._connection = _connect(path, "OFF")
        self._since_purge = 0
        self._run(
            lambda c: c.execute(
                "CREATE TABLE IF NOT EXISTS replay"
                " (key BLOB PRIMARY KEY, call_id TEXT, until INTEGER NOT NULL) WITHOUT ROWID"
            )
        )

    def first_seen(self, key: bytes, call_id: str | None, until: int, now: int) -> bool:
        """See ReplayStore. Raises StoreUnavailableError when the file cannot be written."""
        self._since_purge += 1
        if self._since_purge >= _PURGE_EVERY:
            self._since_purge = 0
            self._run(lambda c: c.execute("DELETE FROM replay WHERE until < ?", (now,)))
        added = self._run(
            lambda c: (
                c.execute(
                    "INSERT INTO replay VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE"
                    " SET call_id = ?2, until = ?3 WHERE replay.until < ?4",
                    (key, call_id, until, now),
                ).rowcount
            )
        )
        if added:
            return True
        row = self._run(
            lambda c: c.execute("SELECT call_id FROM replay WHERE key = ?", (key,)).fetchone()
        )
        return row is None or (call_id is not None and row[0] == call_id)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], _Value]) -> _Value:
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from None


class RegistryFile:
    """Registry rows written over the API. Acknowledged rows survive a crash (WAL, full sync)."""

    def __init__(self, path: Path) -> None:
        """Raises StoreUnavailableError when the file cannot be opened."""
        self._connection = _connect(path, "FULL")
        try:
            self._connection.executescript(
                "CREATE TABLE IF NOT EXISTS holdings (first TEXT, last TEXT NOT NULL,"
                " subject TEXT NOT NULL, verification TEXT NOT NULL, use TEXT NOT NULL,"
                " spcs TEXT NOT NULL, PRIMARY KEY (first)) WITHOUT ROWID;"
                "CREATE TABLE IF NOT EXISTS accesses (access TEXT PRIMARY KEY,"
                " origid TEXT NOT NULL, subject TEXT NOT NULL, standing TEXT NOT NULL)"
                " WITHOUT ROWID;"
            )
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path}: {error}") from None

    def version(self) -> int:
        """Changes when another process has written."""
        return int(self._all("PRAGMA data_version")[0][0])

    def rows(self) -> tuple[tuple[Holding, ...], tuple[Access, ...]]:
        """All rows. Raises StoreUnavailableError."""
        holdings = self._all("SELECT first, last, subject, verification, use, spcs FROM holdings")
        accesses = self._all("SELECT access, origid, subject, standing FROM accesses")
        names = ("first", "last", "subject", "verification", "use", "spcs")
        access_names = ("access", "origid", "subject", "standing")
        return (
            tuple(holding_of(dict(zip(names, row, strict=True))) for row in holdings),
            tuple(access_of(dict(zip(access_names, row, strict=True))) for row in accesses),
        )

    def change(
        self,
        check: Callable[[tuple[Holding, ...], tuple[Access, ...]], Snapshot],
        *,
        put: Iterable[Holding | Access] = (),
        drop: Iterable[Holding | Access] = (),
    ) -> Snapshot:
        """Write all or nothing, after `check` accepted the rows as they would be.

        Raises:
            RegistryConflictError: from `check`; nothing was written.
            StoreUnavailableError: nothing was written.
        """
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for item in drop:
                    if isinstance(item, Holding):
                        connection.execute(
                            "DELETE FROM holdings WHERE first = ?", (str(item.numbers.first),)
                        )
                    else:
                        connection.execute("DELETE FROM accesses WHERE access = ?", (item.id,))
                for item in put:
                    if isinstance(item, Holding):
                        connection.execute(
                            "INSERT OR REPLACE INTO holdings VALUES"
                            " (:first, :last, :subject, :verification, :use, :spcs)",
                            {k: str(v) for k, v in holding_row(item).items()},
                        )
                    else:
                        connection.execute(
                            "INSERT OR REPLACE INTO accesses VALUES"
                            " (:access, :origid, :subject, :standing)",
                            access_row(item),
                        )
                snapshot = check(*self.rows())
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from None
        return snapshot

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _all(self, query: str) -> list[tuple[str, ...]]:
        try:
            return self._connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from None
