"""The registry as calls ask it: a file's records, with what was read lately kept in memory."""

from __future__ import annotations

from collections.abc import Container, Hashable
from pathlib import Path
from typing import Final, Generic, TypeVar

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

_FEW: Final = 1_000  # answers that are freed at once
_FREED: Final = 4  # forgotten answers that are freed with each that is kept
MAX_KEPT: Final = 100_000  # answers kept of each kind; some 300 octets each

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class _Kept(Generic[_Key, _Value]):
    """Answers by question; the oldest goes when there are too many."""

    def __init__(self, limit: int) -> None:
        self.answers: dict[_Key, _Value] = {}
        self._limit = limit
        self._gone: list[dict[_Key, _Value]] = []  # let go of while others are kept

    def forget(self) -> None:
        """Forget all: in no time, where freeing many answers at once would hold up calls."""
        if len(self.answers) > _FEW:
            self._gone.append(self.answers)
            self.answers = {}
        else:
            self.answers.clear()

    def keep(self, key: _Key, value: _Value) -> _Value:
        if self._gone:
            self._free()
        if len(self.answers) >= self._limit:
            del self.answers[next(iter(self.answers))]
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

    `refresh` takes over what was committed since, by whichever process: the service asks it before
    each batch of calls, so that a commit counts from the next batch on.
    """

    def __init__(self, path: Path, *, limit: int = MAX_KEPT) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release."""
        self._file = RegistryFile(path)
        self._tables = self._file.tables
        self._holdings: _Kept[TN, Holding | None] = _Kept(limit)
        self._accesses: _Kept[str, Access | None] = _Kept(limit)
        self._origids: _Kept[str, Access | None] = _Kept(limit)
        self._standings: _Kept[tuple[str, str], Standing] = _Kept(limit)
        self._exemptions: _Kept[tuple[str, str], list[Exemption]] = _Kept(limit)
        self._refusals: _Kept[TN, list[CalleeRefusal]] = _Kept(limit)
        self._named: _Kept[tuple[str, str], Customer | None] = _Kept(limit)
        self._having: _Kept[tuple[str, TN], Customer | None] = _Kept(limit)
        self._declarations: _Kept[str, list[Declaration]] = _Kept(limit)
        self._clearings = 0
        self._moved: set[str] | None = None  # keys of holdings; None before it is asked for
        self._too_many = False
        self._complained: list[str] | None = None  # ids of complaints; None: all of a time
        self._orders: OrderIndex = self._file.order_index()
        self.shared = self._tables.customers.accesses()
        self._data_version = self._file.data_version()
        self._seq = self._file.last()[0]

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

    def _drop(self, kind: Kind, key: str) -> None:
        if kind is Kind.HOLDING:
            if self._moved is not None:
                self._moved.add(key)
            if "-" in key:
                self._holdings.forget()
            else:
                self._holdings.answers.pop(TN(key), None)
        elif kind is Kind.ACCESS:
            # By either name, and where an absence was kept: accesses change seldom.
            self._accesses.forget()
            self._origids.forget()
        elif kind in (Kind.SUBJECT, Kind.RESELLER):
            self._standings.forget()
        elif kind is Kind.EXEMPTION:
            self._exemptions.forget()
        elif kind is Kind.REFUSAL:
            if "-" in key:
                self._refusals.forget()
            else:
                self._refusals.answers.pop(TN(key), None)
        elif kind is Kind.CLEARING:
            self._clearings += 1
        elif kind is Kind.COMPLAINT:
            if self._complained is not None:
                self._complained.append(key)
        elif kind is Kind.DECLARATION:
            self._declarations.forget()
        elif kind is Kind.ORDER:
            self._orders = self._file.order_index()

    def _forget(self) -> None:
        for kept in (
            self._holdings,
            self._accesses,
            self._origids,
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
        try:
            return self._holdings.answers[tn]
        except KeyError:
            return self._holdings.keep(tn, self._covering(tn))

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid.

        An id that is not registered is not looked up by origid: a proxy that names the access
        is taken at its word. An origid that was rotated away names no access any more.
        """
        if name is not None:
            try:
                return self._accesses.answers[name]
            except KeyError:
                value = self._record(Kind.ACCESS, name)
                return self._accesses.keep(name, value if isinstance(value, Access) else None)
        if origid is None:
            return None
        try:
            return self._origids.answers[origid]
        except KeyError:
            access = self._tables.accesses.of_origid(origid)
            value = self._record(Kind.ACCESS, access.id) if access is not None else None
            if not isinstance(value, Access) or value.origid != origid:
                value = None
            return self._origids.keep(origid, value)

    def standing(self, subject: str, reseller: str = "") -> Standing:
        """How the subject and the chain of resellers before it stand."""
        try:
            return self._standings.answers[subject, reseller]
        except KeyError:
            return self._standings.keep((subject, reseller), self._standing(subject, reseller))

    def _standing(self, subject: str, reseller: str) -> Standing:
        holder = self._record(Kind.SUBJECT, subject)
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
        if isinstance(holder, Subject) and holder.state is not State.ACTIVE:
            closed = f"subject {subject} is {holder.state.value}"
        return Standing(
            holder if isinstance(holder, Subject) else None, tuple(reversed(chain)), closed
        )

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
            found = self._exemptions.keep((kind, target), self._exempted(kind, target))
        return next((exemption for exemption in found if exemption.active(now)), None)

    def refusal(self, callee: TN, scope: Scope, now: int) -> CalleeRefusal | None:
        """A refusal of the callee in force, of calls of that scope."""
        try:
            found = self._refusals.answers[callee]
        except KeyError:
            found = self._refusals.keep(callee, self._refused(callee))
        return next((one for one in found if scope in one.scopes and one.active(now)), None)

    def customer(self, access: str, name: str | None, display: TN | None) -> Customer | None:
        """The customer of an access whom a call is of; None for the access itself."""
        if name is not None:
            try:
                return self._named.answers[access, name]
            except KeyError:
                return self._named.keep((access, name), self._customer(access, name))
        if display is None or not display.isdecimal():
            return None
        try:
            return self._having.answers[access, display]
        except KeyError:
            return self._having.keep((access, display), self._customer(access, display))

    def declarations(self, subject: str, now: int) -> list[Declaration]:
        """What the subject declares of its calls, as in force."""
        try:
            found = self._declarations.answers[subject]
        except KeyError:
            found = self._declarations.keep(subject, self._declared(subject))
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
        return self._tables.holdings.covering(tn)

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
        self._file.close()
