"""How a database file is opened that others open, or make, at the same moment."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zhenxian.stores.private import make_private

_OPENING: Final = 5.0  # seconds for which who opens a file waits for others
_AGAIN: Final = 0.01  # seconds


def open_database(
    path: Path,
    prepare: Callable[[sqlite3.Connection], object],
    *,
    busy_ms: int,
    synchronous: str,
    **more: Any,
) -> sqlite3.Connection:
    """A connection in WAL mode to a file that is its owner's alone.

    Args:
        prepare: makes the tables. Others are waited for longer meanwhile than afterwards.
        busy_ms: milliseconds that a statement waits for another connection's write.
        more: see sqlite3.connect.

    Raises:
        sqlite3.Error: it cannot be opened or made. What `prepare` raises is passed on.
    """
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=_OPENING, **more)
    try:
        _write_ahead(connection)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        prepare(connection)
        connection.execute(f"PRAGMA busy_timeout={busy_ms}")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    # SQLite itself does not wait for somebody who turns a new file to this mode just now.
    until = time.monotonic() + _OPENING
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(_AGAIN)
