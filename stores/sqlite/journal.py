"""The journal of a registry file: its commits, and the requests that were answered by them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from zhenxian.registry.journal import Commit, KeyReusedError, Version, parted
from zhenxian.registry.model import Kind, Record
from zhenxian.stores.sqlite.connection import Connection

_KEEP_REQUESTS: Final = 7 * 86_400  # seconds an idempotency key is remembered
_FORGET_EVERY: Final = 3_600  # seconds; finding old ones reads them all
BACK: Final = "journal.back"  # in meta: a commit is dated before an earlier one
MANY: Final = 1_000  # changes of one commit above which their keys are not listed one by one
_TOUCHED: Final = msgspec.msgpack.Decoder(list[tuple[Kind, str]] | None)


class CommitTable:
    """The commits in their order. Every method raises StoreUnavailableError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._forgot = 0  # when old idempotency keys were last removed

    def last(self) -> tuple[int, int]:
        """Seq and time of the last commit; zeros before the first."""
        row = self._connection.one("SELECT seq, time FROM journal ORDER BY seq DESC LIMIT 1")
        return (row[0], row[1]) if row is not None else (0, 0)

    def touched(self, after: int) -> list[tuple[Kind, str]] | None:
        """What the commits after `after` changed; None when it is too much to list."""
        found: list[tuple[Kind, str]] = []
        for (blob,) in self._connection.all(
            "SELECT touched FROM journal WHERE seq > ? ORDER BY seq", after
        ):
            part = _TOUCHED.decode(blob) if blob is not None else None
            if part is None or len(found) > MANY:
                return None
            found.extend(part)
        return found

    def seq_at(self, time: int) -> int:
        """The last commit not later than an instant."""
        if self._connection.meta(BACK) is not None:
            row = self._connection.one("SELECT max(seq) FROM journal WHERE time <= ?", time)
            return int(row[0] or 0)
        row = self._connection.one(
            "SELECT seq FROM journal WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT 1", time
        )
        return int(row[0]) if row is not None else 0

    def listed(self, after: int, limit: int) -> list[dict[str, Any]]:
        """What was committed after a seq: number, time, author, reason, and what was touched."""
        rows = self._connection.all(
            "SELECT seq, time, author, reason, touched FROM journal WHERE seq > ? ORDER BY seq"
            " LIMIT ?",
            after,
            limit,
        )
        return [_listed(*row) for row in rows]

    def version(self, seq: int, record: Record | None) -> Version:
        """A record as a commit left it, with the commit's time, author and reason."""
        row = self._connection.one("SELECT time, author, reason FROM journal WHERE seq = ?", seq)
        reason, imported = parted(row[2])
        return Version(
            version=seq, time=row[0], author=row[1], reason=reason, value=record, imported=imported
        )

    def enter(self, commit: Commit, *, many: bool = False) -> None:
        """Enter a commit, inside its transaction; `many` leaves out which keys it changed."""
        touched = (
            msgspec.msgpack.encode([(c.kind.value, c.key) for c in commit.changes])
            if len(commit.changes) <= MANY and not many
            else None
        )
        if commit.time < self.last()[1]:
            self._connection.set_meta(BACK, 1)
        self._connection.run(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
            commit.seq,
            commit.time,
            commit.author,
            commit.reason,
            touched,
        )
        if commit.request:
            self._connection.run(
                "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)",
                commit.request,
                commit.fingerprint,
                commit.seq,
                commit.time,
            )

    def answered(self, request: bytes, fingerprint: bytes) -> tuple[int, int] | None:
        """Seq and time of the commit that a request made before; None for a new one.

        Raises:
            KeyReusedError: it was another request with the same idempotency key.
        """
        if not request:
            return None
        row = self._connection.one(
            "SELECT fingerprint, seq, time FROM requests WHERE id = ?", request
        )
        if row is None:
            return None
        if row[0] != fingerprint:
            raise KeyReusedError("this idempotency key was used for another request")
        return row[1], row[2]

    def forgets(self, now: int) -> bool:
        """True when it is time to remove old idempotency keys."""
        return abs(now - self._forgot) >= _FORGET_EVERY

    def forget(self, now: int) -> None:
        """Remove old idempotency keys, inside a transaction."""
        self._connection.run("DELETE FROM requests WHERE time < ?", now - _KEEP_REQUESTS)
        self._forgot = now


def _listed(seq: int, time: int, author: str, reason: str, touched: bytes | None) -> dict[str, Any]:
    reason, imported = parted(reason)
    row: dict[str, Any] = {
        "seq": seq,
        "time": time,
        "author": author,
        "reason": reason,
        "changed": [
            {"kind": kind.value, "key": key}
            for kind, key in (_TOUCHED.decode(touched) if touched else None) or ()
        ],
        "many": touched is None,
    }
    if imported is not None:
        row["imported"] = msgspec.to_builtins(imported)
    return row
