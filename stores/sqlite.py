"""The embedded engine on SQLite: replay shared by several processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from passport.errors import StoreUnavailableError

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
