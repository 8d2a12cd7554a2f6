"""Records of the kinds that there are few of, as MessagePack by key, and what finds them."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from zhenxian.registry.complaint import Complaint, complaint_id
from zhenxian.registry.journal import dumps
from zhenxian.registry.model import (
    Access,
    Clearing,
    Exemption,
    Kind,
    Order,
    Record,
    Reseller,
    Subject,
    clearing_id,
)
from zhenxian.registry.orders import OrderIndex
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.table import Page, Span, Table

_UNREAD: Final = (-1, OrderIndex(()))  # no stamp in a file is -1


class RecordTable(Table):
    """Records of one kind, by key. A kind that is found by more overrides `_link` and `_unlink`."""

    def get(self, key: str) -> tuple[int, Record] | None:
        """See Table."""
        row = self._connection.one(
            "SELECT version, body FROM records WHERE kind = ? AND key = ?", self.kind.value, key
        )
        return (row[0], self._loads(row[1])) if row is not None else None

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table."""
        del subject
        rows = self._connection.all(
            "SELECT key, version, body FROM records WHERE kind = ? AND key > ? ORDER BY key"
            " LIMIT ?",
            self.kind.value,
            after,
            limit + 1,
        )
        return self._page(rows, limit)

    def past(self, key: str) -> list[Span]:
        """See Table."""
        rows = self._connection.all(
            "SELECT version, ended, body FROM records_past WHERE kind = ? AND key = ?"
            " ORDER BY version",
            self.kind.value,
            key,
        )
        return [(version, ended, self._loads(body)) for version, ended, body in rows]

    def last(self, key: str) -> Record | None:
        """A record as it is, or last was."""
        found = self.get(key)
        if found is not None:
            return found[1]
        row = self._connection.one(
            "SELECT body FROM records_past WHERE kind = ? AND key = ?"
            " ORDER BY version DESC LIMIT 1",
            self.kind.value,
            key,
        )
        return self._loads(row[0]) if row is not None else None

    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """See Table."""
        run, kind = self._connection.run, self.kind.value
        run(
            "INSERT INTO records_past SELECT kind, key, version, ?, body FROM records"
            " WHERE kind = ? AND key = ?",
            seq,
            kind,
            key,
        )
        before = self.get(key)
        if before is not None:
            self._unlink(before[1])
        if value is None:
            run("DELETE FROM records WHERE kind = ? AND key = ?", kind, key)
        else:
            run("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", kind, key, seq, dumps(value))
            self._link(value)

    def _link(self, value: Record) -> None:
        """Enter what else a record is found by."""

    def _unlink(self, value: Record) -> None:
        """Take back what `_link` entered."""


class SubjectTable(RecordTable):
    """Subjects, found by their identity too."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.SUBJECT, connection)

    def of_document(self, document: str) -> Subject | None:
        """The subject with that identity."""
        row = self._connection.one("SELECT subject FROM documents WHERE hash = ?", document)
        found = self.get(row[0]) if row is not None else None
        return found[1] if found is not None and isinstance(found[1], Subject) else None

    def _link(self, value: Record) -> None:
        if isinstance(value, Subject) and value.document:
            self._connection.run(
                "INSERT OR REPLACE INTO documents VALUES (?, ?)", value.document, value.id
            )

    def _unlink(self, value: Record) -> None:
        if isinstance(value, Subject) and value.document:
            self._connection.run("DELETE FROM documents WHERE hash = ?", value.document)


class ResellerTable(RecordTable):
    """Resellers, found by whom they have their numbers from too."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.RESELLER, connection)

    def children(self, reseller: str) -> list[str]:
        """The resellers that have their numbers from it."""
        rows = self._connection.all("SELECT reseller FROM children WHERE parent = ?", reseller)
        return [row[0] for row in rows]

    def child_of(self, reseller: str) -> str | None:
        """Some reseller that has its numbers from it."""
        row = self._connection.one(
            "SELECT reseller FROM children WHERE parent = ? LIMIT 1", reseller
        )
        return str(row[0]) if row is not None else None

    def _link(self, value: Record) -> None:
        if isinstance(value, Reseller) and value.parent:
            self._connection.run(
                "INSERT OR REPLACE INTO children VALUES (?, ?)", value.parent, value.id
            )

    def _unlink(self, value: Record) -> None:
        if isinstance(value, Reseller) and value.parent:
            self._connection.run(
                "DELETE FROM children WHERE parent = ? AND reseller = ?", value.parent, value.id
            )


class AccessTable(RecordTable):
    """Accesses, found by origid and by subject too."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.ACCESS, connection)

    def of_origid(self, origid: str) -> Access | None:
        """The access that has or had the origid, as it is, or last was."""
        name = self.name_of(origid)
        found = self.last(name) if name is not None else None
        return found if isinstance(found, Access) else None

    def name_of(self, origid: str) -> str | None:
        """The id of the access that has or had the origid; it may have ended."""
        row = self._connection.one("SELECT access FROM origids WHERE origid = ?", origid)
        return str(row[0]) if row is not None else None

    def first_of(self, subject: str) -> str | None:
        """Some access of the subject; None when it has none."""
        row = self._connection.one(
            "SELECT access FROM access_subjects WHERE subject = ? LIMIT 1", subject
        )
        return str(row[0]) if row is not None else None

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table."""
        if subject is None:
            return super().page(after, limit)
        rows = self._connection.all(
            "SELECT r.key, r.version, r.body FROM access_subjects s JOIN records r ON"
            " r.kind = 'access' AND r.key = s.access WHERE s.subject = ? AND s.access > ?"
            " ORDER BY s.access LIMIT ?",
            subject,
            after,
            limit + 1,
        )
        return self._page(rows, limit)

    def _link(self, value: Record) -> None:
        if not isinstance(value, Access):
            return
        run = self._connection.run
        for origid in (value.origid, *value.former):
            run("INSERT OR REPLACE INTO origids VALUES (?, ?)", origid, value.id)
        run("INSERT OR REPLACE INTO access_subjects VALUES (?, ?)", value.subject, value.id)

    def _unlink(self, value: Record) -> None:
        # Origids stay, so that old calls can be traced.
        if isinstance(value, Access):
            self._connection.run(
                "DELETE FROM access_subjects WHERE subject = ? AND access = ?",
                value.subject,
                value.id,
            )


class OrderTable(RecordTable):
    """Orders, with an index of those in force that is kept until one changes."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.ORDER, connection)
        self._index = _UNREAD
        connection.on_rollback(self._forget)

    def _forget(self) -> None:
        self._index = _UNREAD

    def index(self) -> OrderIndex:
        """The orders that are not lifted."""
        stamp = self._connection.meta("orders")
        if self._index[0] != stamp:
            rows = self._connection.all("SELECT body FROM records WHERE kind = 'order'")
            orders = (self._loads(body) for (body,) in rows)
            index = OrderIndex(o for o in orders if isinstance(o, Order) and o.lifted is None)
            self._index = (stamp, index)
        return self._index[1]

    def last_number(self, issuer: str) -> int:
        """The highest number of the issuer's instructions; 0 when there is none."""
        row = self._connection.one("SELECT number FROM issuers WHERE issuer = ?", issuer)
        return int(row[0]) if row is not None else 0

    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """See Table."""
        super().apply(key, value, seq)
        self._connection.set_meta("orders", seq)
        self._forget()

    def _link(self, value: Record) -> None:
        if isinstance(value, Order):
            self._connection.run(
                "INSERT OR REPLACE INTO issuers VALUES (?, ?)", value.issuer, value.number
            )


class ExemptionTable(RecordTable):
    """Exemptions, found by whose conduct they are of too."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.EXEMPTION, connection)

    def of(self, kind: str, target: str) -> list[Exemption]:
        """The exemptions of that conduct on record, whenever they are in force."""
        rows = self._connection.all(
            "SELECT r.body FROM exempted e JOIN records r ON r.kind = 'exemption' AND r.key = e.id"
            " WHERE e.kind = ? AND e.target = ?",
            kind,
            target,
        )
        found = (self._loads(body) for (body,) in rows)
        return [exemption for exemption in found if isinstance(exemption, Exemption)]

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table."""
        if subject is None:
            return super().page(after, limit)
        rows = self._connection.all(
            "SELECT r.key, r.version, r.body FROM exempted e JOIN records r ON"
            " r.kind = 'exemption' AND r.key = e.id WHERE e.kind = 'subject' AND e.target = ?"
            " AND e.id > ? ORDER BY e.id LIMIT ?",
            subject,
            after,
            limit + 1,
        )
        return self._page(rows, limit)

    def _link(self, value: Record) -> None:
        if isinstance(value, Exemption):
            self._connection.run(
                "INSERT OR REPLACE INTO exempted VALUES (?, ?, ?)",
                value.kind.value,
                value.target,
                value.id,
            )

    def _unlink(self, value: Record) -> None:
        if isinstance(value, Exemption):
            self._connection.run(
                "DELETE FROM exempted WHERE kind = ? AND target = ? AND id = ?",
                value.kind.value,
                value.target,
                value.id,
            )


class ComplaintTable(RecordTable):
    """Complaints, whose ids are in the order of their calls' times."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.COMPLAINT, connection)

    def since(self, moment: int, limit: int) -> list[Complaint]:
        """The latest complaints of calls from a time on, the earliest first."""
        rows = self._connection.all(
            "SELECT body FROM records WHERE kind = 'complaint' AND key >= ? ORDER BY key DESC"
            " LIMIT ?",
            complaint_id(moment),
            limit,
        )
        found = [self._loads(body) for (body,) in reversed(rows)]
        return [complaint for complaint in found if isinstance(complaint, Complaint)]


class ClearingTable(RecordTable):
    """Clearings, whose ids are in the order of their times."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.CLEARING, connection)

    def since(self, moment: int, but: Container[str] = ()) -> list[Clearing]:
        """The clearings from a time on, the earliest first, without those of some ids."""
        rows = self._connection.all(
            "SELECT key, body FROM records WHERE kind = 'clearing' AND key >= ? ORDER BY key",
            clearing_id(moment),
        )
        found = (self._loads(body) for key, body in rows if key not in but)
        return [clearing for clearing in found if isinstance(clearing, Clearing)]
