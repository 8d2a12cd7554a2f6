"""The registry as calls ask it: a file's records, with what was read lately kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from zhenxian.core.tn import TN
from zhenxian.registry.complaint import Complaint
from zhenxian.registry.customers import Customer, Declaration
from zhenxian.registry.model import (
    MAX_CHAIN,
    Access,
    Binding,
    CalleeRefusal,
    Clearing,
    Exemption,
    Holding,
    Kind,
    Order,
    Record,
    Reseller,
    Scope,
    Standing,
    State,
    Subject,
    Who,
)
from zhenxian.registry.orders import OrderIndex
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.sorted_holdings import EPOCH, NAMED, SortedHoldings, Unsorted
from zhenxian.stores.sqlite.wal_index import WalIndex

_FEW: Final = 1_000  # answers that are freed at once
_FREED: Final = 2  # forgotten answers that are freed with each that is kept
MAX_KEPT: Final = 100_000  # answers kept of each kind; some 300 octets each
MAX_BESIDE: Final = 8_192  # holdings kept beside columns, which the processor's caches can hold
_UNKNOWN: Final[Any] = object()

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class _Kept(Generic[_Key, _Value]):
    """Answers by question: those that were asked for lately, in two halves by age.

    When the newer half is full the older one goes as a whole. To let the single oldest go would
    make a dictionary pass over the places of all that went before it, at each question.

    Attributes:
        answers: the newer half, in which callers look before they ask `find`.
    """

    def __init__(self, limit: int, ask: Callable[[_Key], _Value]) -> None:
        self.answers: dict[_Key, _Value] = {}
        self._older: dict[_Key, _Value] = {}
        self._ask = ask
        self.bound(limit)
        self._gone: list[dict[_Key, _Value]] = []  # let go of while others are kept

    def __len__(self) -> int:
        return len(self.answers) + len(self._older)

    def bound(self, limit: int) -> None:
        """Keep so many from now on."""
        self._half = max(1, limit // 2)

    def find(self, key: _Key) -> _Value:
        """The answer to a question that the newer half has not."""
        if key in self._older:
            return self._keep(key, self._older.pop(key))
        return self._keep(key, self._ask(key))

    def drop(self, key: _Key) -> None:
        """Forget one."""
        self.answers.pop(key, None)
        self._older.pop(key, None)

    def forget(self) -> None:
        """Forget all: in no time, where freeing many answers at once would hold up calls."""
        for half in (self.answers, self._older):
            if len(half) > _FEW:
                self._gone.append(half)
            else:
                half.clear()
        self.answers, self._older = {}, {}

    def _keep(self, key: _Key, value: _Value) -> _Value:
        if self._gone:
            self._free()
        if len(self.answers) >= self._half:
            if len(self._older) > _FEW:
                self._gone.append(self._older)
            self._older, self.answers = self.answers, {}
        self.answers[key] = value
        return value

    def _free(self) -> None:
        """Free a few of the forgotten; more than one is kept meanwhile, so that they end."""
        gone = self._gone[-1]
        for _ in range(min(_FREED, len(gone))):
            gone.popitem()
        if not gone:
            self._gone.pop()


class RegistryView:
    """A registry.model.Registry on a local file; for one thread.

    `refresh` takes over what was committed since, by whichever process. The service has `catch_up`
    see to that before each batch of calls, so that a commit counts from the next batch on.
    """

    def __init__(self, path: Path, *, limit: int = MAX_KEPT) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release."""
        self._file = RegistryFile(path)
        self._tables = self._file.tables
        self._limit = limit
        self._holdings = _Kept[TN, Holding | None](limit, self._covering)
        self._accesses = _Kept[str, Access | None](limit, self._access)
        self._origids = _Kept[str, str | None](limit, self._tables.accesses.name_of)
        self._subjects = _Kept[str, Subject | None](limit, self._subject)
        self._chains = _Kept[str, tuple[tuple[str, ...], str | None]](limit, self._chain)
        self._standings = _Kept[tuple[str, str], Standing](limit, lambda key: self._standing(*key))
        self._exemptions = _Kept[tuple[str, str], list[Exemption]](
            limit, lambda key: self._exempted(*key)
        )
        self._refusals = _Kept[TN, list[CalleeRefusal]](limit, self._refused)
        self._named = _Kept[tuple[str, str], Customer | None](
            limit, lambda key: self._customer(*key)
        )
        self._having = _Kept[tuple[str, TN], Customer | None](
            limit, lambda key: self._customer(*key)
        )
        self._declarations = _Kept[str, list[Declaration]](limit, self._declared)
        self._sorted: SortedHoldings | None = None
        self._clearings = 0
        self._moved: set[str] | None = None  # keys of holdings; None before it is asked for
        self._too_many = False
        self._complained: list[str] | None = None  # ids of complaints; None: all of a time
        self._orders: OrderIndex = self._file.order_index()
        self.shared = self._tables.customers.accesses()
        self._data_version = self._file.data_version()
        self._seq = self._file.last()[0]
        self._index = WalIndex(path)

    @property
    def records(self) -> RegistryFile:
        """The file, for questions that are not of the call path."""
        return self._file

    @property
    def current(self) -> bool:
        """True: the file is the registry."""
        return True

    @property
    def seq(self) -> int:
        """The last commit that calls are answered by."""
        return self._seq

    @property
    def clearings_stamp(self) -> int:
        """Changes when there may be clearings that were not there before."""
        return self._clearings

    def whole_since(self, moment: float) -> bool:
        """True when no commit from before that moment is missing here.

        Args:
            moment: of time.monotonic.
        """
        del moment  # the file is the registry
        return True

    def moved(self, since: int) -> list[str] | None:
        """Keys of holdings that commits changed since they were last asked for.

        Args:
            since: at the first time, from then on (seconds since the epoch).

        Returns:
            None when it is too much to list.
        """
        moved, too_many = self._moved, self._too_many
        if moved is None:
            touched = self._file.touched(self._file.journal.seq_at(since))
            too_many = touched is None
            moved = {key for kind, key in touched or () if kind is Kind.HOLDING}
        self._moved, self._too_many = set(), False
        return None if too_many else sorted(moved)

    def refresh(self) -> bool:
        """Take over what was committed; True when there was something."""
        version = self._file.data_version()
        if version == self._data_version:
            return False
        seq = self._file.last()[0]
        touched = self._file.touched(self._seq)
        if touched is None:
            self._forget()
        else:
            for kind, key in touched:
                self._drop(kind, key)
            if any(kind is Kind.CUSTOMER for kind, _ in touched):
                self._forget_customers()
        self._data_version, self._seq = version, seq
        return True

    def catch_up(self) -> None:
        """`refresh`, unless it is plain that nothing was committed since it last was."""
        if self._index.moved():
            try:
                self.refresh()
            except BaseException:
                self._index.forget()
                raise

    @property
    def sorted(self) -> SortedHoldings | None:
        """The columns that holdings are looked up in; None where SQLite is asked."""
        return self._sorted

    def take_sorted(self, columns: SortedHoldings) -> bool:
        """Look holdings up in these columns from now on; False when they are not this registry's.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        self.refresh()
        file = self._file
        if (file.meta(NAMED), file.meta(EPOCH)) != (columns.token, columns.epoch):
            return False
        touched = file.touched(columns.seq)
        if touched is None or not all(
            columns.touch(key) for kind, key in touched if kind is Kind.HOLDING
        ):
            return False
        self._look_up_in(columns)
        return True

    def _look_up_in(self, columns: SortedHoldings | None) -> None:
        self._sorted = columns
        limit = self._limit
        self._holdings.bound(limit if columns is None else min(limit, MAX_BESIDE))

    def _drop(self, kind: Kind, key: str) -> None:
        if kind is Kind.HOLDING:
            if self._moved is not None:
                self._moved.add(key)
            if self._sorted is not None and not self._sorted.touch(key):
                self._look_up_in(None)
            if "-" in key:
                self._holdings.forget()
            else:
                self._holdings.drop(TN(key))
        elif kind is Kind.ACCESS:
            self._accesses.drop(key)
            self._forget_origid(key)
        elif kind is Kind.SUBJECT:
            self._subjects.drop(key)
            self._standings.forget()  # put together anew from what is kept
        elif kind is Kind.RESELLER:
            self._chains.forget()
            self._standings.forget()
        elif kind is Kind.EXEMPTION:
            self._exemptions.forget()
        elif kind is Kind.REFUSAL:
            if "-" in key:
                self._refusals.forget()
            else:
                self._refusals.drop(TN(key))
        elif kind is Kind.CLEARING:
            self._clearings += 1
        elif kind is Kind.COMPLAINT:
            if self._complained is not None:
                self._complained.append(key)
        elif kind is Kind.DECLARATION:
            self._declarations.forget()
        elif kind is Kind.ORDER:
            self._orders = self._file.order_index()

    def _forget_origid(self, access: str) -> None:
        """Forget whose its origids are; of an access that has ended, they lead to nothing."""
        found = self._tables.accesses.get(access)
        if found is not None and isinstance(found[1], Access):
            for origid in (found[1].origid, *found[1].former):
                self._origids.drop(origid)

    def _forget(self) -> None:
        self._look_up_in(None)
        for kept in (
            self._holdings,
            self._accesses,
            self._origids,
            self._subjects,
            self._chains,
            self._standings,
            self._exemptions,
            self._refusals,
            self._declarations,
        ):
            kept.forget()
        self._forget_customers()
        self._clearings += 1
        self._too_many = True
        self._complained = None
        self._orders = self._file.order_index()

    def _forget_customers(self) -> None:
        self._named.forget()
        self._having.forget()
        self.shared = self._tables.customers.accesses()

    def holding(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        found: Holding | None = self._holdings.answers.get(tn, _UNKNOWN)
        return found if found is not _UNKNOWN else self._holdings.find(tn)

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid.

        An id that is not registered is not looked up by origid: a proxy that names the access
        is taken at its word. An origid that was rotated away names no access any more.
        """
        if name is not None:
            return self._access_of(name)
        if origid is None:
            return None
        try:
            name = self._origids.answers[origid]
        except KeyError:
            name = self._origids.find(origid)
        access = self._access_of(name) if name is not None else None
        return access if access is not None and access.origid == origid else None

    def _access_of(self, name: str) -> Access | None:
        try:
            return self._accesses.answers[name]
        except KeyError:
            return self._accesses.find(name)

    def standing(self, subject: str, reseller: str = "") -> Standing:
        """How the subject and the chain of resellers before it stand."""
        try:
            return self._standings.answers[subject, reseller]
        except KeyError:
            return self._standings.find((subject, reseller))

    def binding(
        self, caller: TN, display: TN, callee: TN, extension: str, now: float
    ) -> Binding | None:
        """An active binding that permits the display."""
        return self._tables.bindings.binding(caller, display, callee, extension, now)

    def shown(self, display: TN, callee: TN, now: float) -> Binding | None:
        """An active binding that shows the display to the callee, whoever calls."""
        return self._tables.bindings.shown(display, callee, now)

    def order(self, who: Who, now: int) -> Order | None:
        """An order in force that covers any of these; the oldest of several."""
        return self._orders.find(who, now)

    def exemption(self, kind: str, target: str, now: int) -> Exemption | None:
        """The exemption of that conduct in force, one at most; look at its measures too."""
        try:
            found = self._exemptions.answers[kind, target]
        except KeyError:
            found = self._exemptions.find((kind, target))
        return next((exemption for exemption in found if exemption.active(now)), None)

    def refusal(self, callee: TN, scope: Scope, now: int) -> CalleeRefusal | None:
        """A refusal of the callee in force, of calls of that scope."""
        try:
            found = self._refusals.answers[callee]
        except KeyError:
            found = self._refusals.find(callee)
        return next((one for one in found if scope in one.scopes and one.active(now)), None)

    def customer(self, access: str, name: str | None, display: TN | None) -> Customer | None:
        """The customer of an access whom a call is of; None for the access itself."""
        if name is not None:
            try:
                return self._named.answers[access, name]
            except KeyError:
                return self._named.find((access, name))
        if display is None or not display.isdecimal():
            return None
        try:
            return self._having.answers[access, display]
        except KeyError:
            return self._having.find((access, display))

    def declarations(self, subject: str, now: int) -> list[Declaration]:
        """What the subject declares of its calls, as in force."""
        try:
            found = self._declarations.answers[subject]
        except KeyError:
            found = self._declarations.find(subject)
        return [one for one in found if one.active(now)]

    def clearings(self, since: int, but: Container[str] = ()) -> list[Clearing]:
        """The clearings from a time on, the earliest first, without those of some ids."""
        return self._tables.clearings.since(since, but)

    def complaints(self, since: int, limit: int) -> list[Complaint]:
        """Complaints that were made since they were last asked for, the earliest first.

        Args:
            since: of calls from then on, where it is not known which are new; some may have been
                told before then.
            limit: so many at most then, the latest.
        """
        names, self._complained = self._complained, []
        try:
            if names is None:
                return self._tables.complaints.since(since, limit)
            found = [self._tables.complaints.get(name) for name in names]
        except BaseException:
            self._complained = None
            raise
        return [one[1] for one in found if one is not None and isinstance(one[1], Complaint)]

    # What is read once and then kept; a fleet's replica may hold something against it. ----------

    def _covering(self, tn: TN) -> Holding | None:
        table = self._tables.holdings
        if self._sorted is not None:
            found = self._sorted.covering(tn, table)
            if not isinstance(found, Unsorted):
                return found
        return table.covering(tn)

    def _access(self, name: str) -> Access | None:
        found = self._record(Kind.ACCESS, name)
        return found if isinstance(found, Access) else None

    def _subject(self, subject: str) -> Subject | None:
        found = self._record(Kind.SUBJECT, subject)
        return found if isinstance(found, Subject) else None

    def _chain(self, reseller: str) -> tuple[tuple[str, ...], str | None]:
        """The resellers down to this one, and why nothing goes through them; None if it may."""
        closed = None
        chain: list[str] = []
        while reseller and len(chain) <= MAX_CHAIN:
            chain.append(reseller)
            above = self._record(Kind.RESELLER, reseller)
            if not isinstance(above, Reseller):
                break
            if above.state is not State.ACTIVE:
                closed = f"reseller {reseller} is {above.state.value}"
            reseller = above.parent
            if len(chain) > MAX_CHAIN:  # never in a registry that was checked: none may pass
                closed = f"reseller {chain[0]} has more than {MAX_CHAIN} resellers before it"
        return tuple(reversed(chain)), closed

    def _standing(self, subject: str, reseller: str) -> Standing:
        try:
            holder = self._subjects.answers[subject]
        except KeyError:
            holder = self._subjects.find(subject)
        chain: tuple[str, ...] = ()
        closed = None
        if reseller:
            try:
                chain, closed = self._chains.answers[reseller]
            except KeyError:
                chain, closed = self._chains.find(reseller)
        if holder is not None and holder.state is not State.ACTIVE:
            closed = f"subject {subject} is {holder.state.value}"
        return Standing(holder, chain, closed)

    def _record(self, kind: Kind, key: str) -> Record | None:
        found = self._tables.by_kind[kind].get(key)
        return found[1] if found is not None else None

    def _exempted(self, kind: str, target: str) -> list[Exemption]:
        return self._tables.exemptions.of(kind, target)

    def _refused(self, callee: TN) -> list[CalleeRefusal]:
        return self._tables.refusals.covering(callee)

    def _customer(self, access: str, by: str) -> Customer | None:
        customers = self._tables.customers
        return customers.having(access, by) if isinstance(by, TN) else customers.named(access, by)

    def _declared(self, subject: str) -> list[Declaration]:
        return self._tables.declarations.of(subject)

    def close(self) -> None:
        """Close the file."""
        self._index.close()
        self._file.close()
