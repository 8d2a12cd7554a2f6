"""Whether the copies of a fleet agree: each node's digest of the registry as of one commit.

Rows are taken as of a commit, whatever came since, so that nodes need not stop to be compared. What
nodes may throw away at times of their own is left out: bindings that have ended by an instant that
is agreed on, too. The digest does not depend on the order of rows.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from threading import Event
from typing import Final

import msgspec

from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.registry.journal import loads
from zhenxian.registry.model import Binding, Kind

_PART: Final = 256  # rows between two pauses
_PAUSE: Final = 0.002  # seconds; calls are answered meanwhile
_MASK: Final = (1 << 128) - 1

_HELD: Final = "class, lo, size, version, o.subject, t.verification, t.use, t.spcs, t.reseller"
_JOINED: Final = "h JOIN owners o ON o.id = h.owner JOIN titles t ON t.id = h.title"
_REST: Final = "coalesce(evidence, ''), coalesce(verified_on, 0)"
_CALLEES: Final = "class, lo, size, version, since, until, scopes, source"


def _rows(table: str, columns: str, joined: str = "") -> str:
    as_it_is = f"SELECT {columns} FROM {table} {joined} WHERE version <= :seq"  # noqa: S608
    as_it_was = f"SELECT {columns} FROM {table}_past {joined} WHERE version <= :seq"  # noqa: S608
    return f"{as_it_is} UNION ALL {as_it_was} AND ended > :seq"


_STATEMENTS: Final = (
    _rows("records", "kind, key, version, body"),
    _rows("holdings", f"{_HELD}, {_REST}", _JOINED),
    _rows("refusals", _CALLEES),
    "SELECT id, version, body FROM bindings WHERE version <= :seq"
    " UNION ALL SELECT id, version, body FROM bindings_past"
    " WHERE version <= :seq AND ended > :seq",
)
_BINDINGS: Final = len(_STATEMENTS) - 1


def digest_of(path: Path, seq: int, moment: int, stop: Event) -> str | None:
    """The digest of a copy as of commit `seq`, as hexadecimal; None when told to stop.

    Args:
        moment: seconds since the epoch; bindings that have ended by then are left out.
        stop: may be set by another thread.

    Raises:
        StoreUnavailableError: the copy cannot be read.
    """
    total = 0
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("BEGIN")  # one state of the file
            for number, statement in enumerate(_STATEMENTS):
                rows = db.execute(statement, {"seq": seq, "moment": moment})
                while part := rows.fetchmany(_PART):
                    if number == _BINDINGS:
                        part = [row for row in part if _binds(row[2], moment)]
                    for row in part:
                        octets = hashlib.sha256(repr((number, row)).encode()).digest()
                        total += int.from_bytes(octets[:16], "big")
                    if stop.wait(_PAUSE):
                        return None
        finally:
            db.close()
    except (sqlite3.Error, msgspec.MsgspecError, ParseError) as error:
        raise StoreUnavailableError(f"{path.name}: {error}") from None
    return f"{total & _MASK:032x}"


def _binds(body: bytes, moment: int) -> bool:
    """True for a binding that had not ended by its own time."""
    binding = loads(Kind.BINDING, body)
    return isinstance(binding, Binding) and (binding.until is None or binding.until > moment)
