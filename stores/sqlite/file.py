"""The registry as a file: current records, past versions, and the journal of commits.

Each kind of record has a table of its own (stores.sqlite.table); here they are one registry, which
rules are checked against, and which a commit changes as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.customers import Customer
from zhenxian.registry.journal import Change, Commit, Nested, Version
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import (
    PERSON_LIMITS,
    Access,
    Binding,
    CalleeRefusal,
    Clearing,
    Exemption,
    Holding,
    Kind,
    Order,
    Record,
    Subject,
    SubjectKind,
    Who,
    span,
)
from zhenxian.registry.orders import OrderIndex
from zhenxian.registry.rules import FOREVER, check, taken_out_of
from zhenxian.stores.sqlite.bindings import BindingTable
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.customers import CustomerTable, DeclarationTable
from zhenxian.stores.sqlite.holdings import HoldingTable
from zhenxian.stores.sqlite.journal import CommitTable
from zhenxian.stores.sqlite.records import (
    AccessTable,
    ClearingTable,
    ComplaintTable,
    ExemptionTable,
    OrderTable,
    ResellerTable,
    SubjectTable,
)
from zhenxian.stores.sqlite.refusals import RefusalTable
from zhenxian.stores.sqlite.table import Page, Table

UNDATED: Final = "journal.undated"  # in meta: the dates of commits up to it bind no later one
_PROBE: Final = "probe"
_PROBED: Final = 65_536  # octets
_LIMITS: Final = "numbers_a_person"  # in meta
_FEW: Final = 16  # holdings of one person read at a time
_PART: Final = 10_000  # holdings read at a time where all are


class Tables:
    """The tables of a registry file, each by its name and all by their kinds."""

    def __init__(self, connection: Connection) -> None:
        self.subjects = SubjectTable(connection)
        self.resellers = ResellerTable(connection)
        self.holdings = HoldingTable(connection)
        self.accesses = AccessTable(connection)
        self.bindings = BindingTable(connection)
        self.orders = OrderTable(connection)
        self.exemptions = ExemptionTable(connection)
        self.refusals = RefusalTable(connection)
        self.clearings = ClearingTable(connection)
        self.complaints = ComplaintTable(connection)
        self.customers = CustomerTable(connection)
        self.declarations = DeclarationTable(connection)
        self.by_kind: dict[Kind, Table] = {
            table.kind: table for table in vars(self).values() if isinstance(table, Table)
        }


class RegistryFile:
    """One connection to a registry file. Used by one thread.

    Every method raises StoreUnavailableError when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, writer: bool = False, synchronous: str = "FULL") -> None:
        """Raises ConfigError for a file of a newer release."""
        self.path = path
        self.connection = Connection(path, writer=writer, synchronous=synchronous)
        self.tables = Tables(self.connection)
        self.journal = CommitTable(self.connection)
        self._table = self.tables.by_kind
        self._limits: tuple[object, dict[str, int]] = (None, PERSON_LIMITS)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    # Reading ------------------------------------------------------------------------------------

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return self.connection.data_version()

    def last(self) -> tuple[int, int]:
        """Seq and time of the last commit; zeros before the first."""
        return self.journal.last()

    def touched(self, after: int) -> list[tuple[Kind, str]] | None:
        """What the commits after `after` changed; None when it is too much to list."""
        return self.journal.touched(after)

    def get(self, kind: Kind, key: str) -> tuple[int, Record] | None:
        """A record and its version."""
        return self._table[kind].get(key)

    def page(
        self, kind: Kind, *, after: str = "", limit: int = 100, subject: str | None = None
    ) -> Page:
        """Records in the order of their keys (holdings: singles first, then by size class).

        Args:
            after: `following` of the page before.
            subject: only this subject's holdings, accesses, exemptions or (a platform's) bindings.
        """
        return self._table[kind].page(after, limit, subject)

    def covering(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        return self.tables.holdings.covering(tn)

    def levels(self, tn: TN) -> list[tuple[int, Holding]]:
        """All holdings that cover the number, the most specific first, with their versions."""
        return self.tables.holdings.levels(tn)

    def touching(self, numbers: TNRange) -> Iterator[Holding]:
        """The holdings that overlap the range, and neither lies within the other."""
        return self.tables.holdings.touching(numbers)

    def around(self, numbers: TNRange) -> Holding | None:
        """The most specific holding of more numbers that has all of these."""
        return self.tables.holdings.around(numbers)

    def holdings(self) -> Iterator[tuple[int, Holding]]:
        """All holdings with their versions, streamed."""
        after: str | None = ""
        while after is not None:
            page = self.tables.holdings.page(after, _PART)
            for version, record in page.rows:
                if isinstance(record, Holding):
                    yield version, record
            after = page.following

    def subject_of(self, document: str) -> Subject | None:
        """The subject with that identity."""
        return self.tables.subjects.of_document(document)

    def access_of(self, origid: str) -> Access | None:
        """The access that has or had the origid, as it is, or last was."""
        return self.tables.accesses.of_origid(origid)

    def customer_of_origid(self, origid: str) -> Customer | None:
        """The customer that has or had the origid, as it is, or last was."""
        return self.tables.customers.of_origid(origid)

    def children(self, reseller: str) -> list[str]:
        """The resellers that have their numbers from it."""
        return self.tables.resellers.children(reseller)

    def uses(self, kind: Kind, key: str) -> str | None:
        """Something that rests on a subject or reseller, in words; None when nothing does."""
        tables = self.tables
        if kind is Kind.SUBJECT:
            held = tables.holdings.first_of(key)
            if held is not None:
                return f"holding {span(held)}"
            access = tables.accesses.first_of(key)
            if access is not None:
                return f"access {access}"
            declared = tables.declarations.of(key)
            return f"declaration {declared[0].id}" if declared else None
        child = tables.resellers.child_of(key)
        if child is not None:
            return f"reseller {child} below it"
        # Titles outlive their holdings: a reseller that ever passed on a number is closed instead.
        passed = tables.holdings.passed_on_by(key)
        return "holdings on record; set its state to closed" if passed else None

    def bound(
        self, display: TN, among: Iterable[str], since: int, until: int, but: str
    ) -> Binding | None:
        """See registry.rules.View."""
        return self.tables.bindings.bound(display, among, since, until, but)

    def lent(self, display: TN, since: int, until: int) -> int:
        """How many bindings with the display as their x are in force at some time of these."""
        del until  # later bindings count too: they all take their place on X
        return self.tables.bindings.lent(display, since)

    def stopped(self, who: Who) -> Order | None:
        """An order in force, or to come, that covers any of these."""
        return self.order_index().find(who, FOREVER)

    def order_index(self) -> OrderIndex:
        """The orders that are not lifted."""
        return self.tables.orders.index()

    def last_number(self, issuer: str) -> int:
        """The highest number of the issuer's instructions; 0 when there is none."""
        return self.tables.orders.last_number(issuer)

    def exempted(self, kind: str, target: str) -> list[Exemption]:
        """The exemptions of that conduct on record, whenever they are in force."""
        return self.tables.exemptions.of(kind, target)

    def numbers_a_person(self, numbers: TNRange) -> int | None:
        """See registry.rules.View; by the longest country code that the numbers begin with."""
        limits, first = self.person_limits, numbers.first
        codes = [code for code in limits if first.startswith(code)]
        return limits[max(codes, key=len)] if codes else None

    def numbers_held(self, subject: str, carrier: str, like: TNRange, enough: int) -> int:
        """See registry.rules.View."""
        codes = [code for code in self.person_limits if like.first.startswith(code)]
        code = max(codes, key=len, default="")
        count, after = 0, ""
        while count < enough:
            page = self.tables.holdings.page(after, _FEW, subject)
            for _, record in page.rows:
                if (
                    isinstance(record, Holding)
                    and (record.spcs[0] if record.spcs else "") == carrier
                    and record.numbers.first.startswith(code)
                ):
                    count += record.numbers.size
            if page.following is None:
                break
            after = page.following
        return count

    @property
    def person_limits(self) -> dict[str, int]:
        """How many numbers a person may hold at one carrier, by country code, as was set last."""
        stamp = self.connection.meta(_LIMITS)
        if stamp != self._limits[0]:
            self._limits = (stamp, json.loads(str(stamp)) if stamp is not None else PERSON_LIMITS)
        return self._limits[1]

    def set_person_limits(self, limits: Mapping[str, int]) -> None:
        """Keep the limits in the file, for whoever writes to it; what is registered stays."""
        if dict(limits) != self.person_limits:
            with self.transaction():
                self.connection.set_meta(_LIMITS, json.dumps(dict(sorted(limits.items()))))

    def over_limit(self, most: int) -> list[tuple[str, str, int]]:
        """Persons who hold more numbers than they may: subject, carrier, and how many; not all.

        Reads all holdings.

        Args:
            most: persons that are told.
        """
        found = []
        limits = self.person_limits
        for code, limit in sorted(limits.items()):
            for subject, spcs, count in self.tables.holdings.many(code, limit):
                holder = self.get(Kind.SUBJECT, subject)
                if (
                    holder is not None
                    and isinstance(holder[1], Subject)
                    and holder[1].kind is SubjectKind.PERSON
                ):
                    found.append((subject, spcs.partition(" ")[0], count))
                if len(found) >= most:
                    return found
        return found

    def behind_codes(self, plan: Plan, most: int) -> list[tuple[Holding, str]]:
        """Holdings of nationwide numbers by their country or area code, and the first such number.

        Earlier releases took them so (8675595588, which is read as 95588 now); not all of them.

        Args:
            most: holdings that are told.
        """
        found = []
        for held in self.tables.holdings.of_few_digits(plan.code, plan.max_coded):
            bare = plan.first_national(held.numbers)
            if bare is not None:
                found.append((held, bare))
            if len(found) >= most:
                break
        return found

    def customer_named(self, access: str, name: str) -> Customer | None:
        """The customer of the access whom requests name so."""
        return self.tables.customers.named(access, name)

    def customer_showing(self, access: str, numbers: TNRange, but: str) -> Customer | None:
        """A customer of the access, other than `but`, that has one of the numbers as its own."""
        return self.tables.customers.showing(access, numbers, but)

    def customer_of(self, access: str) -> str | None:
        """Some customer of the access; None when it has none."""
        return self.tables.customers.first_of(access)

    def clearings(self, since: int, but: Container[str] = ()) -> list[Clearing]:
        """The clearings from a time on, the earliest first, without those of some ids."""
        return self.tables.clearings.since(since, but)

    def refusals(self, callee: TN) -> list[CalleeRefusal]:
        """The callee's refusals on record, whenever they are in force."""
        return self.tables.refusals.covering(callee)

    # History ------------------------------------------------------------------------------------

    def history(self, kind: Kind, key: str) -> tuple[Version, ...]:
        """All versions of a record, the oldest first."""
        table = self._table[kind]
        spans = table.past(key)
        current = table.get(key)
        if current is not None:
            spans.append((current[0], None, current[1]))
        versions: list[Version] = []
        for index, (version, ended, record) in enumerate(spans):
            versions.append(self.journal.version(version, record))
            following = spans[index + 1][0] if index + 1 < len(spans) else None
            if ended is not None and ended != following:
                versions.append(self.journal.version(ended, None))
        return tuple(versions)

    def at(self, kind: Kind, key: str, time: int) -> Version | None:
        """The version of a record that was in force at an instant; None when there was none."""
        found: Version | None = None
        for version in self.history(kind, key):
            if version.time <= time:
                found = version
        return found if found is not None and found.value is not None else None

    def held_at(self, tn: TN, time: int) -> Version | None:
        """Who held a number at an instant: the most specific holding in force then."""
        found = self.tables.holdings.held_at(tn, self.journal.seq_at(time))
        return self.journal.version(*found) if found is not None else None

    def commits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """What was committed after a seq: number, time, author, reason and what was touched."""
        return self.journal.listed(after, limit)

    # Writing ------------------------------------------------------------------------------------

    def write(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        now: int,
        request: bytes = b"",
        fingerprint: bytes = b"",
        nested: Nested = Nested.TAKEN,
        dry_run: bool = False,
        pace: Callable[[Iterable[Change]], Iterable[Change]] = iter,
    ) -> Commit:
        """Check changes, one after the other, and commit them all, or none.

        With a request digest that was committed before, that commit's number comes back and
        nothing is written.

        Args:
            pace: what the changes come through when they are worked on.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check.
        """
        with self.transaction(commit=not dry_run):
            before = self.journal.answered(request, fingerprint)
            if before is not None:
                seq, time = before
                return Commit(
                    seq=seq,
                    time=time,
                    author=author,
                    reason=reason,
                    changes=(),
                    request=request,
                    fingerprint=fingerprint,
                )
            seq, time = self.next_commit(now)
            if len({(change.kind, change.key) for change in changes}) != len(changes):
                raise ConfigError("one request changes each record once")
            checked = []
            taken_out = 0
            for change in pace(changes):
                accepted = check(change, self, now, nested)
                if nested is Nested.COUNTED and taken_out_of(accepted, self) is not None:
                    taken_out += 1
                self.apply_change(accepted, seq)
                checked.append(accepted)
            commit = Commit(
                seq=seq,
                time=time,
                author=author,
                reason=reason,
                changes=tuple(checked),
                request=request,
                fingerprint=fingerprint,
                taken_out=taken_out,
            )
            self.record(commit)
        return commit

    def next_commit(self, now: int) -> tuple[int, int]:
        """Seq and time of the next commit: not before the last one's, unless that is of no date.

        A commit that a clock dated into the future, and an operator has seen, binds no later one.
        """
        seq, time = self.last()
        if time > now and seq <= (self.meta(UNDATED) or 0):
            time = now
        return seq + 1, max(now, time)

    def apply(self, commit: Commit) -> bool:
        """Take over a commit of somebody else, who checked it; False when it is here already.

        Raises:
            ValueError: commits between are missing.
        """
        with self.transaction():
            seq, _ = self.last()
            if commit.seq <= seq:
                return False
            if commit.seq != seq + 1:
                raise ValueError(f"commit {commit.seq} after {seq}")
            for change in commit.changes:
                self.apply_change(change, commit.seq)
            self.record(commit)
        return True

    def transaction(self, *, commit: bool = True) -> AbstractContextManager[None]:
        """One transaction: committed at the end, or rolled back, also by an exception."""
        return self.connection.transaction(commit=commit)

    def apply_change(self, change: Change, seq: int) -> None:
        """Do a change that was checked, inside a transaction."""
        self._table[change.kind].apply(change.key, change.value, seq)

    def record(self, commit: Commit, *, many: bool = False) -> None:
        """Enter a commit in the journal; `many` leaves out which keys it changed."""
        self.journal.enter(commit, many=many)

    def purge(self, now: int, limit: int = 10_000) -> int:
        """Put ended bindings to the past, and forget old idempotency keys; how many bindings.

        Waits for nobody: what it does is in no haste, and others wait for it.
        """
        ended = self.tables.bindings.ended(now, limit)
        forget = self.journal.forgets(now)
        if ended or forget:
            with self.connection.at_once(), self.transaction():
                self.tables.bindings.expire(ended)
                if forget:
                    self.journal.forget(now)
        return len(ended)

    def probe(self) -> None:
        """Write as much as a change may take, and wait for nobody.

        Raises:
            StoreUnavailableError: it is not taken; StoreBusyError: nor is it known whether it were.
        """
        with self.connection.at_once():
            for content in (bytes(_PROBED), b""):
                with self.transaction():
                    self.set_meta(_PROBE, content)

    # What belongs to this file alone --------------------------------------------------------------

    def meta(self, name: str) -> Any:
        """A value of the file's own; None when there is none."""
        return self.connection.meta(name)

    def set_meta(self, name: str, value: object) -> None:
        """Keep a value of the file's own."""
        self.connection.set_meta(name, value)

    def acknowledge(self, order: str, node: str, token: str, key: str) -> None:
        """Keep a node's acknowledgement of an order."""
        self.connection.run(
            "INSERT OR REPLACE INTO acknowledgements VALUES (?, ?, ?, ?)", order, node, token, key
        )

    def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, token and key of the acknowledgements of an order."""
        rows = self.connection.all(
            'SELECT node, token, key FROM acknowledgements WHERE "order" = ? ORDER BY node', order
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def import_line(self, name: str) -> int:
        """The last line of an import that is committed; 0 for none."""
        row = self.connection.one("SELECT line FROM imports WHERE id = ?", name)
        return int(row[0]) if row is not None else 0

    def set_import_line(self, name: str, line: int) -> None:
        """Note how far an import came, in the transaction of its rows."""
        self.connection.run("INSERT OR REPLACE INTO imports VALUES (?, ?)", name, line)
