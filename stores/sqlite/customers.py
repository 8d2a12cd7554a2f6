"""Customers of shared accesses, and declarations: records that calls are told apart by."""

from __future__ import annotations

from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.customers import Customer, Declaration
from zhenxian.registry.model import Kind, Record
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.numbers import number_key
from zhenxian.stores.sqlite.records import RecordTable
from zhenxian.stores.sqlite.table import Page


class CustomerTable(RecordTable):
    """Customers, found by the names and numbers that they have on their access."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.CUSTOMER, connection)

    def accesses(self) -> frozenset[str]:
        """The accesses that have any."""
        # One step for each access, where DISTINCT would read all of its customers.
        rows = self._connection.all(
            "WITH RECURSIVE found(access) AS (SELECT min(access) FROM customer_names UNION ALL"
            " SELECT (SELECT min(access) FROM customer_names n WHERE n.access > found.access)"
            " FROM found WHERE found.access IS NOT NULL)"
            " SELECT access FROM found WHERE access IS NOT NULL"
        )
        return frozenset(row[0] for row in rows)

    def first_of(self, access: str) -> str | None:
        """Some customer of the access; None when it has none."""
        row = self._connection.one("SELECT id FROM customer_names WHERE access = ? LIMIT 1", access)
        return str(row[0]) if row is not None else None

    def named(self, access: str, name: str) -> Customer | None:
        """The customer of the access whom requests name so."""
        row = self._connection.one(
            "SELECT id FROM customer_names WHERE access = ? AND name = ?", access, name
        )
        return self._customer(row)

    def showing(self, access: str, numbers: TNRange, but: str) -> Customer | None:
        """A customer of the access, other than `but`, that has one of the numbers as its own."""
        lo, hi = number_key(numbers.first), number_key(numbers.last)
        row = self._connection.one(
            "SELECT id FROM customer_numbers WHERE access = ? AND lo <= ? AND hi >= ? AND id <> ?"
            " ORDER BY lo DESC LIMIT 1",
            access,
            hi,
            lo,
            but,
        )
        return self._customer(row)

    def having(self, access: str, display: TN) -> Customer | None:
        """The customer of the access that has the number as its own; ranges do not overlap."""
        number = number_key(display)
        row = self._connection.one(
            "SELECT id, hi FROM customer_numbers WHERE access = ? AND lo <= ?"
            " ORDER BY lo DESC LIMIT 1",
            access,
            number,
        )
        return self._customer(row) if row is not None and row[1] >= number else None

    def of_origid(self, origid: str) -> Customer | None:
        """The customer that has or had the origid, as it is, or last was."""
        row = self._connection.one("SELECT id FROM customer_origids WHERE origid = ?", origid)
        found = self.last(str(row[0])) if row is not None else None
        return found if isinstance(found, Customer) else None

    def _customer(self, row: tuple[object, ...] | None) -> Customer | None:
        found = self.get(str(row[0])) if row is not None else None
        return found[1] if found is not None and isinstance(found[1], Customer) else None

    def _link(self, value: Record) -> None:
        if not isinstance(value, Customer):
            return
        run = self._connection.run
        if value.origid:
            run("INSERT OR REPLACE INTO customer_origids VALUES (?, ?)", value.origid, value.id)
        for name in value.called:
            run(
                "INSERT OR REPLACE INTO customer_names VALUES (?, ?, ?)",
                value.access,
                name,
                value.id,
            )
        for numbers in value.spans:
            run(
                "INSERT OR REPLACE INTO customer_numbers VALUES (?, ?, ?, ?)",
                value.access,
                number_key(numbers.first),
                number_key(numbers.last),
                value.id,
            )

    def _unlink(self, value: Record) -> None:
        # Origids stay, so that old calls can be traced.
        if not isinstance(value, Customer):
            return
        run = self._connection.run
        for name in value.called:
            run(
                "DELETE FROM customer_names WHERE access = ? AND name = ? AND id = ?",
                value.access,
                name,
                value.id,
            )
        for numbers in value.spans:
            run(
                "DELETE FROM customer_numbers WHERE access = ? AND lo = ? AND id = ?",
                value.access,
                number_key(numbers.first),
                value.id,
            )


class DeclarationTable(RecordTable):
    """Declarations, found by whose they are."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.DECLARATION, connection)

    def of(self, subject: str) -> list[Declaration]:
        """The declarations of a subject on record."""
        rows = self._connection.all(
            "SELECT r.body FROM declared d JOIN records r ON r.kind = 'declaration'"
            " AND r.key = d.id WHERE d.subject = ?",
            subject,
        )
        found = (self._loads(body) for (body,) in rows)
        return [one for one in found if isinstance(one, Declaration)]

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table."""
        if subject is None:
            return super().page(after, limit)
        rows = self._connection.all(
            "SELECT r.key, r.version, r.body FROM declared d JOIN records r ON"
            " r.kind = 'declaration' AND r.key = d.id WHERE d.subject = ? AND d.id > ?"
            " ORDER BY d.id LIMIT ?",
            subject,
            after,
            limit + 1,
        )
        return self._page(rows, limit)

    def _link(self, value: Record) -> None:
        if isinstance(value, Declaration):
            self._connection.run(
                "INSERT OR REPLACE INTO declared VALUES (?, ?)", value.subject, value.id
            )

    def _unlink(self, value: Record) -> None:
        if isinstance(value, Declaration):
            self._connection.run(
                "DELETE FROM declared WHERE subject = ? AND id = ?", value.subject, value.id
            )
