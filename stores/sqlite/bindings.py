"""Bindings in a registry file: which privacy numbers may be shown for whom, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zhenxian.core.tn import TN
from zhenxian.registry.journal import dumps
from zhenxian.registry.model import Binding, Kind, Record
from zhenxian.registry.rules import FOREVER, displays, parties
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.numbers import number_key
from zhenxian.stores.sqlite.table import Page, Span, Table

_MAX_LENT: Final = 64  # bindings of one display read for a call; nearly always the first decides


class BindingTable(Table):
    """Bindings by id, and by the displays that they permit (the table of ways)."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.BINDING, connection)

    def get(self, key: str) -> tuple[int, Record] | None:
        """See Table."""
        row = self._connection.one("SELECT version, body FROM bindings WHERE id = ?", key)
        return (row[0], self._loads(row[1])) if row is not None else None

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table; the subject is a platform."""
        if subject is not None:
            return self._page(self._of_platform(subject, after, limit + 1), limit)
        rows = self._connection.all(
            "SELECT id, version, body FROM bindings WHERE id > ? ORDER BY id LIMIT ?",
            after,
            limit + 1,
        )
        return self._page(rows, limit)

    def _of_platform(self, platform: str, after: str, limit: int) -> list[tuple[str, int, bytes]]:
        """Id, version and body of a platform's bindings."""
        found: list[tuple[str, int, bytes]] = []
        while len(found) < limit:
            # What does not even name it costs SQLite little, and Python nothing.
            rows = self._connection.all(
                "SELECT id, version, body FROM bindings WHERE id > ? AND instr(body, ?) > 0"
                " ORDER BY id LIMIT ?",
                after,
                platform.encode(),
                limit,
            )
            found += [row for row in rows if self._is_of(row[2], platform)]
            if len(rows) < limit:
                break
            after = rows[-1][0]
        return found[:limit]

    def _is_of(self, body: bytes, platform: str) -> bool:
        record = self._loads(body)
        return isinstance(record, Binding) and record.platform == platform

    def past(self, key: str) -> list[Span]:
        """See Table."""
        rows = self._connection.all(
            "SELECT version, ended, body FROM bindings_past WHERE id = ? ORDER BY version", key
        )
        return [(version, ended, self._loads(body)) for version, ended, body in rows]

    def binding(
        self, caller: TN, display: TN, callee: TN, extension: str, now: float
    ) -> Binding | None:
        """An active binding that permits the display."""
        if not display.isdecimal():
            return None
        for (body,) in self._connection.all(
            "SELECT b.body FROM ways w JOIN bindings b ON b.id = w.id WHERE"
            " w.display = ? AND w.party IN (?, ?) AND w.until > ? AND w.since <= ?",
            number_key(display),
            str(caller),
            str(callee),
            now,
            now,
        ):
            found = self._loads(body)
            if (
                isinstance(found, Binding)
                and found.active(now)
                and found.permits(caller, display, callee, extension)
            ):
                return found
        return None

    def shown(self, display: TN, callee: TN, now: float) -> Binding | None:
        """An active binding that shows the display to the callee, whoever calls.

        The display may be lent to be shown to that callee, or to anybody (AX, AXE). Of several the
        one that says least of who calls (`Binding.caller`).
        """
        if not display.isdecimal():
            return None
        shown = None
        for (body,) in self._connection.all(
            "SELECT b.body FROM ways w JOIN bindings b ON b.id = w.id WHERE w.display = ?"
            " AND (w.party = ? OR w.party BETWEEN '=' AND '=~') AND w.until > ? AND w.since <= ?"
            " LIMIT ?",
            number_key(display),
            str(callee),
            now,
            now,
            _MAX_LENT,
        ):
            found = self._loads(body)
            if isinstance(found, Binding) and found.active(now) and found.shows(display, callee):
                if found.caller(display, callee) is None:
                    return found
                shown = shown or found
        return shown

    def bound(
        self, display: TN, among: Iterable[str], since: int, until: int, but: str
    ) -> Binding | None:
        """See registry.rules.View."""
        wanted = tuple(among)
        places = f" AND party IN ({','.join('?' * len(wanted))})" if wanted else ""
        row = self._connection.one(
            f"SELECT id FROM ways WHERE display = ?{places} AND until > ? AND since < ?"  # noqa: S608
            " AND id <> ? LIMIT 1",
            number_key(display),
            *wanted,
            since,
            until,
            but,
        )
        found = self.get(row[0]) if row is not None else None
        return found[1] if found is not None and isinstance(found[1], Binding) else None

    def lent(self, display: TN, since: int) -> int:
        """How many bindings with the display as their x are in force from a time on, or later."""
        row = self._connection.one(
            "SELECT count(*) FROM bindings WHERE x = ? AND until > ?", number_key(display), since
        )
        return int(row[0])

    def ended(self, now: int, limit: int) -> list[str]:
        """The ids of bindings that ended by their own time."""
        rows = self._connection.all("SELECT id FROM bindings WHERE until <= ? LIMIT ?", now, limit)
        return [key for (key,) in rows]

    def expire(self, keys: Iterable[str]) -> None:
        """Put bindings that ended by their own time to the past, inside a transaction."""
        for key in keys:
            self._end(key, None)

    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """See Table."""
        self._end(key, seq)
        if isinstance(value, Binding):
            self._put(value, seq)

    def _put(self, binding: Binding, seq: int) -> None:
        until = FOREVER if binding.until is None else binding.until
        self._connection.run(
            "INSERT INTO bindings VALUES (?, ?, ?, ?, ?)",
            binding.id,
            seq,
            until,
            number_key(binding.x),
            dumps(binding),
        )
        for display in displays(binding):
            for party in parties(binding):
                self._connection.run(
                    "INSERT OR REPLACE INTO ways VALUES (?, ?, ?, ?, ?)",
                    number_key(display),
                    party,
                    until,
                    binding.id,
                    binding.since,
                )

    def _end(self, key: str, ended: int | None) -> None:
        """Take a binding out of force; without `ended` it ended by its own time."""
        found = self.get(key)
        if found is None or not isinstance(found[1], Binding):
            return
        version, binding = found[0], found[1]
        until = FOREVER if binding.until is None else binding.until
        self._connection.run(
            "INSERT OR REPLACE INTO bindings_past VALUES (?, ?, ?, ?)",
            binding.id,
            version,
            ended,
            dumps(binding),
        )
        self._connection.run("DELETE FROM bindings WHERE id = ?", binding.id)
        for display in displays(binding):
            for party in parties(binding):
                self._connection.run(
                    "DELETE FROM ways WHERE (display, party, until, id) = (?, ?, ?, ?)",
                    number_key(display),
                    party,
                    until,
                    binding.id,
                )
