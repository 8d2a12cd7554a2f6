"""The embedded engine on SQLite: replay shared by several processes."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.opening import is_busy, opening
from zhenxian.stores.private import make_private
from zhenxian.stores.replay.recent import marked, packed, seen_with
from zhenxian.verifier.replay import NEW, REPEAT_SECONDS, REPLAY, UNKNOWN, Sighted, Sighting

_BUSY_MS: Final = 100  # milliseconds a call may wait for another process's write
_PAGES: Final = 100  # written beside the file before they go into it: calls wait for that
_PURGE_EVERY: Final = 4096  # insertions between two removals of stale tokens

# A row that is always written, and that no token has as its key.
_PROBE: Final = (
    "INSERT INTO sightings VALUES (x'00', ?, 0)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

_INSERT: Final = (
    "INSERT INTO sightings VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE"
    " SET value = ?2, until = ?3 WHERE sightings.until < ?4"
)
_SEEN: Final = "SELECT value FROM sightings WHERE key = ?"

_Value = TypeVar("_Value")


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    make_private(path)
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        with opening(connection, _BUSY_MS):
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint={_PAGES}")
            _prepare(connection)
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{path}: {error}") from None
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table; tokens that an earlier release has seen stay seen."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS sightings"
            " (key BLOB PRIMARY KEY, value BLOB NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID"
        )
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'replay'").fetchone():
            connection.execute("INSERT OR IGNORE INTO sightings SELECT key, x'', until FROM replay")
            connection.execute("DROP TABLE replay")


class SqliteReplayStore:
    """A verifier.replay.ReplayStore that worker processes share through one file.

    `problem` says why tokens are not recorded, for as long as they are not.

    Losing the newest records to a power cut is accepted: they matter for one freshness window.
    """

    def __init__(self, path: Path, window: float = REPEAT_SECONDS) -> None:
        """Raises StoreUnavailableError when the file cannot be opened."""
        self._connection = _connect(path, "OFF")
        self._window = window
        self._since_purge = 0
        self.problem: str | None = None

    def sight(self, sighting: Sighting, now: int) -> Sighted:
        """See ReplayStore. Raises StoreUnavailableError when the file cannot be written."""
        self._purge(1, now)
        return self._run(lambda c: self._sight(c, sighting, now))

    def sight_all(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """See BatchReplayStore: one transaction, which costs more than what is in it."""

        def work(connection: sqlite3.Connection) -> list[Sighted]:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                return [self._sight(connection, sighting, now) for sighting in sightings]

        try:
            self._purge(len(sightings), now)
            return self._run(work)
        except StoreUnavailableError:
            return [UNKNOWN] * len(sightings)

    def _sight(self, connection: sqlite3.Connection, sighting: Sighting, now: int) -> Sighted:
        sighting = marked(sighting)
        key, until, value = sighting.key, sighting.until, packed(sighting)
        if connection.execute(_INSERT, (key, value, until, now)).rowcount:
            return NEW
        row = connection.execute(_SEEN, (key,)).fetchone()
        # Removed between the two as stale: by then nobody may ask again.
        return seen_with(row[0], sighting.question, self._window) if row is not None else REPLAY

    def _purge(self, sightings: int, now: int) -> None:
        self._since_purge += sightings
        if self._since_purge >= _PURGE_EVERY:
            self._since_purge = 0
            self._run(lambda c: c.execute("DELETE FROM sightings WHERE until < ?", (now,)))

    def mend(self) -> None:
        """See whether tokens can be recorded; a process without calls finds out, too."""
        with suppress(StoreUnavailableError):
            self._run(lambda c: c.execute(_PROBE, (secrets.token_bytes(16),)))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], _Value]) -> _Value:
        try:
            found = work(self._connection)
        except sqlite3.Error as error:
            if not is_busy(error):
                self.problem = str(error)
            raise StoreUnavailableError(str(error)) from None
        self.problem = None
        return found
