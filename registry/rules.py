"""What a change must satisfy: pure rules over what is registered.

Every refusal names both sides of a contradiction.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final, Protocol

from msgspec.structs import replace

from zhenxian.analytics.model import KeyKind
from zhenxian.core.errors import ConfigError, shown
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.complaint import Complaint
from zhenxian.registry.customer_rules import check_customer, check_declaration
from zhenxian.registry.customers import Customer, Declaration
from zhenxian.registry.journal import (
    EXISTING,
    Change,
    Nested,
    RegistryConflictError,
    VersionConflictError,
)
from zhenxian.registry.model import (
    MAX_CHAIN,
    MAX_EXEMPT,
    MAX_PAIRS,
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Clearing,
    Exemption,
    Holding,
    Kind,
    Order,
    Record,
    Reseller,
    State,
    Subject,
    SubjectKind,
    TargetKind,
    Use,
    Who,
    span,
)

WHOLE: Final = "="  # no character of a number
MAX_ORDER_NUMBER: Final = 2**53 - 1  # what every reader of JSON takes for exact (RFC 8259)
_AHEAD: Final = 2**40  # by which an order's number may pass the last one, or microseconds of now
FOREVER: Final = 2**62  # seconds; the end of what has none


class View(Protocol):
    """What is registered, as one consistent state that includes the changes checked before."""

    def get(self, kind: Kind, key: str) -> tuple[int, Record] | None:
        """A record and its version."""
        ...

    def touching(self, numbers: TNRange) -> Iterable[Holding]:
        """The holdings that share a number with the range and neither cover it nor lie in it."""
        ...

    def covering(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        ...

    def around(self, numbers: TNRange) -> Holding | None:
        """The most specific holding of more numbers that has all of these."""
        ...

    def subject_of(self, document: str) -> Subject | None:
        """The subject with that identity."""
        ...

    def access_of(self, origid: str) -> Access | None:
        """The access that has or had the origid."""
        ...

    def customer_of_origid(self, origid: str) -> Customer | None:
        """The customer of a shared access that has or had the origid."""
        ...

    def children(self, reseller: str) -> Iterable[str]:
        """The resellers that have their numbers from it."""
        ...

    def uses(self, kind: Kind, key: str) -> str | None:
        """Something that rests on a subject or reseller, in words; None when nothing does."""
        ...

    def bound(
        self, display: TN, among: Iterable[str], since: int, until: int, but: str
    ) -> Binding | None:
        """A binding of the display that overlaps these times, other than `but`.

        Args:
            among: parties, one of which it is for; empty for whomever it is for.
        """
        ...

    def lent(self, display: TN, since: int, until: int) -> int:
        """How many bindings with the display as their x are in force at some time of these.

        Later ones count too: they all take their place on it.
        """
        ...

    def stopped(self, who: Who) -> Order | None:
        """An order in force that covers any of these."""
        ...

    def last_number(self, issuer: str) -> int:
        """The highest number of the issuer's instructions; 0 when there is none."""
        ...

    def numbers_a_person(self, numbers: TNRange) -> int | None:
        """How many numbers like these a person may hold at one carrier; None for any number."""
        ...

    def numbers_held(self, subject: str, carrier: str, like: TNRange, enough: int) -> int:
        """How many numbers of the same country a subject holds at a carrier; counted to `enough`.

        Args:
            carrier: the first service provider code; empty where none is named.
        """
        ...

    def exempted(self, kind: str, target: str) -> Iterable[Exemption]:
        """The exemptions of that conduct on record, whenever they are in force."""
        ...

    def customer_named(self, access: str, name: str) -> Customer | None:
        """The customer of the access whom requests name so."""
        ...

    def customer_showing(self, access: str, numbers: TNRange, but: str) -> Customer | None:
        """A customer of the access, other than `but`, that has one of the numbers as its own."""
        ...

    def customer_of(self, access: str) -> str | None:
        """Some customer of the access; None when it has none."""
        ...


def check(change: Change, view: View, now: int, nested: Nested = Nested.TAKEN) -> Change:
    """Check one change; the change as it is to be committed.

    A binding that has ended is as good as none, whether or not it was put to the past already.

    Args:
        now: seconds since the epoch.
        nested: what becomes of numbers out of a range of another subject.

    Raises:
        RegistryConflictError: contradicts what is registered; names both.
        VersionConflictError: `expected` is not the version registered.
        ConfigError: the record contradicts itself, or names what is not registered.
    """
    found = view.get(change.kind, change.key)
    version, before = found if found is not None else (0, None)
    if isinstance(before, Binding) and before.until is not None and before.until <= now:
        version, before = 0, None
    if change.expected == EXISTING:
        if before is None:
            raise VersionConflictError(f"there is no {change.kind.value} {change.key}")
    elif change.expected is not None and change.expected != version:
        raise VersionConflictError(
            f"{change.kind.value} {change.key} is at version {version}, not {change.expected}"
        )
    value = change.value
    if value is None:
        if before is None:
            raise ConfigError(f"there is no {change.kind.value} {change.key}")
        _end(change.kind, before, view)
        return change
    if value.key != change.key:
        raise ConfigError(f"the record's key is {value.key}, not {change.key}")
    known = _marks(before) if before is not None else ()
    for mark in _marks(value):
        if mark not in known:
            _composed(*mark)
    if isinstance(value, Subject):
        _subject(value, before, view)
    elif isinstance(value, Reseller):
        _reseller(value, before, view)
    elif isinstance(value, Holding):
        _holding(value, before, view, named=change.expected not in (None, EXISTING))
        if nested is Nested.REFUSED:
            _takes_nothing_out(change, view)
    elif isinstance(value, Access):
        return replace(change, value=_access(value, before, view))
    elif isinstance(value, Binding):
        _binding(value, before, view, now)
    elif isinstance(value, Exemption):
        _exemption(value, before, view, now)
    elif isinstance(value, CalleeRefusal):
        if value.until is not None and value.until <= max(value.since, now):
            raise ConfigError(f"refusal {value.key} has ended before it is made")
    elif isinstance(value, Clearing):
        if before is not None:
            raise RegistryConflictError(f"clearing {value.id} is on record and stays as it is")
    elif isinstance(value, Complaint):
        if before is not None:
            raise RegistryConflictError(f"complaint {value.id} is on record and stays as it is")
    elif isinstance(value, Customer):
        if isinstance(before, Customer) and before.access != value.access:
            _unexempted(before, view)
        check_customer(value, view)
    elif isinstance(value, Declaration):
        check_declaration(value, before, view, now)
    else:
        _order(value, before, view, now)
    return change


def _marks(value: Record) -> list[tuple[str, str]]:
    """What somebody else may call a record by, each with the member's name."""
    found = [("id", value.key)]
    if isinstance(value, Access | Customer):
        found.append(("origid", value.origid))
    if isinstance(value, Customer):
        found += [("names", name) for name in value.names]
    return found


def _composed(member: str, text: str) -> None:
    """Refuse an id in another form than Unicode's Normal Form C (UAX 15).

    Two ids of which people see no difference would be two records, of which an order or a
    suspension stops the one that was not meant. A record that an earlier release took under such
    an id stays, and can be changed and ended.
    """
    if not unicodedata.is_normalized("NFC", text):
        raise ConfigError(
            f"{member}: {shown(text)} is not in Unicode's Normal Form C, in which it looks the same"
        )


def _end(kind: Kind, before: Record, view: View) -> None:
    if isinstance(before, Order):
        raise RegistryConflictError(f"order {before.id} is lifted by its issuer, not removed")
    if isinstance(before, Clearing):
        raise RegistryConflictError(f"clearing {before.id} is on record and stays there")
    if isinstance(before, Complaint):
        raise RegistryConflictError(f"complaint {before.id} is on record and stays there")
    if isinstance(before, Subject | Reseller):
        used = view.uses(kind, before.key)
        if used is not None:
            raise RegistryConflictError(f"{kind.value} {before.key} still has {used}")
        if before.state is State.SUSPENDED:
            raise RegistryConflictError(
                f"{kind.value} {before.key} is suspended; removing it would let it come back"
            )
    if isinstance(before, Subject):
        order = view.stopped(Who(subjects=(before.id,)))
        if order is not None:
            raise RegistryConflictError(f"subject {before.id} is stopped by order {order.id}")
    if isinstance(before, Subject | Access):
        _not_exempted(kind, before.id, view, "end it first")
    if isinstance(before, Access):
        customer = view.customer_of(before.id)
        if customer is not None:
            raise RegistryConflictError(f"access {before.id} still has customer {customer}")
    if isinstance(before, Customer):
        _unexempted(before, view)


def _subject(value: Subject, before: Record | None, view: View) -> None:
    if bool(value.document) != bool(value.document_kind):
        raise ConfigError("document and document_kind are given together or not at all")
    if value.document:
        same = view.subject_of(value.document)
        if same is not None and same.id != value.id:
            stands = "" if same.state is State.ACTIVE else f", which is {same.state.value}"
            raise RegistryConflictError(
                f"subject {value.id} has the same real-name identity as subject {same.id}{stands}"
            )
    if isinstance(before, Subject) and before.document and before.document != value.document:
        raise RegistryConflictError(
            f"subject {value.id} is registered with another identity document; another identity"
            " is another subject"
        )


def _reseller(value: Reseller, before: Record | None, view: View) -> None:
    if isinstance(before, Reseller) and before.parent == value.parent:
        return
    seen = [value.id]
    parent = value.parent
    while parent:
        if parent in seen:
            raise RegistryConflictError(
                f"reseller {value.id} would come before itself: {' < '.join([*seen, parent])}"
            )
        found = view.get(Kind.RESELLER, parent)
        if found is None:
            raise ConfigError(f"reseller {parent} is not registered")
        seen.append(parent)
        above = found[1]
        parent = above.parent if isinstance(above, Reseller) else ""
    if len(seen) + _below(value.id, view) > MAX_CHAIN:
        raise RegistryConflictError(
            f"reseller {value.id} under {value.parent}: more than {MAX_CHAIN} resellers in one"
            " chain"
        )


def _below(reseller: str, view: View) -> int:
    """How many resellers the longest chain below one has; counted to MAX_CHAIN."""
    level, depth = list(view.children(reseller)), 0
    while level and depth < MAX_CHAIN:
        level = [child for above in level for child in view.children(above)]
        depth += 1
    return depth


def _active_subject(subject: str, view: View, what: str) -> None:
    """Refuse new numbers and accesses for one who is stopped (换号)."""
    found = view.get(Kind.SUBJECT, subject)
    if found is None:
        raise ConfigError(f"subject {subject} is not registered")
    holder = found[1]
    if isinstance(holder, Subject) and holder.state is not State.ACTIVE:
        raise RegistryConflictError(
            f"{what} cannot be registered: subject {subject} is {holder.state.value}"
        )
    order = view.stopped(Who(subjects=(subject,)))
    if order is not None:
        raise RegistryConflictError(
            f"{what} cannot be registered: subject {subject} is stopped by order {order.id}"
            f" ({order.reference})"
        )


def _holding(value: Holding, before: Record | None, view: View, *, named: bool) -> None:
    if not isinstance(before, Holding) or before.subject != value.subject:
        _active_subject(value.subject, view, f"holding {value.key}")
    if value.reseller and view.get(Kind.RESELLER, value.reseller) is None:
        raise ConfigError(f"reseller {value.reseller} is not registered")
    carrier = value.spcs[0] if value.spcs else ""
    if not isinstance(before, Holding) or (before.subject, before.spcs[:1]) != (
        value.subject,
        value.spcs[:1],
    ):
        _few_numbers(value, carrier, view)
    if isinstance(before, Holding):
        if before.subject != value.subject and not named:
            raise RegistryConflictError(
                f"{value.key} is held by {before.subject}; to give it to {value.subject}, name the"
                " version that ends (If-Match)"
            )
        return
    for other in view.touching(value.numbers):
        raise RegistryConflictError(
            f"holdings {span(other.numbers)} of {other.subject} and {value.key} of"
            f" {value.subject} overlap, and neither lies within the other"
        )


def taken_out_of(change: Change, view: View) -> Holding | None:
    """The range of another subject that a holding would take its numbers out of; None for none."""
    value = change.value
    if not isinstance(value, Holding) or view.get(Kind.HOLDING, value.key) is not None:
        return None
    around = view.around(value.numbers)
    return around if around is not None and around.subject != value.subject else None


def _takes_nothing_out(change: Change, view: View) -> None:
    around = taken_out_of(change, view)
    if around is not None:
        raise RegistryConflictError(
            f"{change.key} lies in {span(around.numbers)} of {around.subject}: numbers are taken"
            " out of others' ranges only where take_out asks for it"
        )


def _few_numbers(value: Holding, carrier: str, view: View) -> None:
    """Refuse a person more numbers than the country lets one hold at a carrier."""
    most = view.numbers_a_person(value.numbers)
    found = view.get(Kind.SUBJECT, value.subject) if most is not None else None
    if most is None or found is None or not isinstance(found[1], Subject):
        return
    if found[1].kind is not SubjectKind.PERSON:
        return
    held = view.numbers_held(value.subject, carrier, value.numbers, most)
    if held + value.numbers.size > most:
        where = f" at carrier {carrier}" if carrier else ""
        raise RegistryConflictError(
            f"{value.key} cannot be registered: subject {value.subject} is a person and holds"
            f" {held} numbers{where}; {most} are the most (setting registry.numbers_a_person)"
        )


def _access(value: Access, before: Record | None, view: View) -> Access:
    if not isinstance(before, Access) or before.subject != value.subject:
        _active_subject(value.subject, view, f"access {value.id}")
    former = value.former
    if isinstance(before, Access):
        if before.subject != value.subject:
            _not_exempted(Kind.ACCESS, value.id, view, "it does not pass to another subject")
        kept = [*before.former, before.origid] if before.origid != value.origid else before.former
        former = tuple(dict.fromkeys([*kept, *former]))
        value = replace(value, former=former)
    last = view.access_of(value.origid)
    if value.origid in former or (
        last is not None and last.id == value.id and last.origid != value.origid
    ):
        raise RegistryConflictError(
            f"origid {value.origid} was rotated out of access {value.id} and does not come back"
        )
    for origid in (value.origid, *former):
        other = view.access_of(origid)
        if other is not None and other.id != value.id:
            raise RegistryConflictError(
                f"origid {origid} names two accesses: {other.id} and {value.id}"
            )
        customer = view.customer_of_origid(origid)
        if customer is not None:
            raise RegistryConflictError(
                f"origid {origid} is customer {customer.id}'s, and not access {value.id}'s"
            )
    return value


def _binding(value: Binding, before: Record | None, view: View, now: int) -> None:
    paired = value.model in (BindingModel.AXB, BindingModel.AXYB)
    if paired != (value.b is not None):
        raise ConfigError(f"b: {value.model.value} {'needs' if paired else 'has no'} b")
    if (value.model is BindingModel.AXYB) != (value.y is not None):
        raise ConfigError(f"y: {value.model.value} and y do not go together")
    if (value.model is BindingModel.AXE) != bool(value.extension):
        raise ConfigError(f"extension: {value.model.value} and extension do not go together")
    if value.a == value.b or value.x == value.y or value.x in (value.a, value.b):
        raise ConfigError(f"binding {value.id}: a, b, x and y are different numbers")
    if value.until is not None and value.until <= value.since:
        raise ConfigError(f"binding {value.id} ends before it begins")
    if isinstance(before, Binding):
        if replace(before, until=value.until) != value:
            raise RegistryConflictError(
                f"binding {value.id} exists and differs; only its end can be changed"
            )
        if (value.until or FOREVER) <= (before.until or FOREVER):
            return
    elif value.until is not None and value.until <= now:
        raise ConfigError(f"binding {value.id} has ended before it is made")
    since, until = max(value.since, now), FOREVER if value.until is None else value.until
    for display in displays(value):
        held = view.covering(display)
        if held is None or held.subject != value.platform or held.use is not Use.PRIVACY:
            raise RegistryConflictError(
                f"{display} is not held by {value.platform} as a privacy number"
                + (f": it is held by {held.subject}, use {held.use.value}" if held else "")
            )
        taken = () if value.model is BindingModel.AX else (*parties(value), WHOLE)
        clash = view.bound(display, taken, since, until, value.id)
        if clash is not None:
            raise RegistryConflictError(
                f"bindings {clash.id} and {value.id} use {display} for the same party or extension"
                " at the same time"
            )
        if before is None and view.lent(display, since, until) >= MAX_PAIRS:
            raise RegistryConflictError(f"{display} already has {MAX_PAIRS} bindings")


def displays(binding: Binding) -> tuple[TN, ...]:
    """The numbers a binding shows."""
    return (binding.x,) if binding.y is None else (binding.x, binding.y)


def parties(binding: Binding) -> tuple[str, ...]:
    """Whom a binding takes its displays for. An extension is "=7", a whole display "="."""
    if binding.model is BindingModel.AX:
        return (str(binding.a), WHOLE)
    if binding.model is BindingModel.AXE:
        return (str(binding.a), WHOLE + binding.extension)
    return (str(binding.a), str(binding.b))


_REGISTERED: Final = {
    KeyKind.SUBJECT: Kind.SUBJECT,
    KeyKind.ACCESS: Kind.ACCESS,
    KeyKind.AGENT: Kind.SUBJECT,
    KeyKind.RESELLER: Kind.RESELLER,
}


def _exemption(value: Exemption, before: Record | None, view: View, now: int) -> None:
    if isinstance(before, Exemption) and (before.kind, before.target) != (value.kind, value.target):
        raise RegistryConflictError(
            f"exemption {value.id} is of {before.kind.value} {before.target}, and stays so"
        )
    if value.until <= now or value.until <= value.since:
        raise ConfigError(f"exemption {value.id} has ended before it is made")
    if value.until > now + MAX_EXEMPT:
        raise ConfigError(
            f"until: exemption {value.id} may last {MAX_EXEMPT // 86_400} days from now at most"
        )
    target = value.target
    if value.kind is KeyKind.AGENT:
        target = target.rpartition("/")[0]  # the platform, who is a subject
    known = _REGISTERED.get(value.kind)
    access, slash, customer = target.partition("/")
    if slash and value.kind is KeyKind.ACCESS:
        found = view.get(Kind.CUSTOMER, customer)
        if found is None or not isinstance(found[1], Customer) or found[1].access != access:
            raise ConfigError(f"customer {customer} of access {access} is not registered")
    elif known is not None and view.get(known, target) is None:
        raise ConfigError(f"{known.value} {target} is not registered")
    for other in view.exempted(value.kind.value, value.target):
        if other.id != value.id and other.since < value.until and value.since < other.until:
            raise RegistryConflictError(
                f"exemptions {other.id} and {value.id} are of {value.kind.value} {value.target} at"
                " the same time"
            )


def _not_exempted(kind: Kind, key: str, view: View, then: str) -> None:
    """Keep an exemption from serving whoever has the name next."""
    for exemption in view.exempted(kind.value, key):
        raise RegistryConflictError(
            f"{kind.value} {key} has exemption {exemption.id} on record: {then}"
        )


def _unexempted(customer: Customer, view: View) -> None:
    key = f"{customer.access}/{customer.id}"
    _not_exempted(Kind.ACCESS, key, view, "end it first")


_NAMED: Final = {TargetKind.SUBJECT: Kind.SUBJECT, TargetKind.RESELLER: Kind.RESELLER}


def _order(value: Order, before: Record | None, view: View, now: int) -> None:
    if isinstance(before, Order):
        if before.lifted is not None:
            raise RegistryConflictError(f"order {value.id} was lifted; a new one has a new id")
        stays = replace(value, number=before.number, lifted=None, lifted_by="", lift_token="")
        if stays != before or value.lifted is None:
            raise RegistryConflictError(f"order {value.id} is in force; it can only be lifted")
    elif value.lifted is not None:
        raise ConfigError(f"there is no order {value.id} to lift")
    elif value.kind in _NAMED and view.get(_NAMED[value.kind], value.target) is None:
        _composed("target", value.target)  # it would stop nobody, and look as if it did
    if value.number > MAX_ORDER_NUMBER:
        raise ConfigError(f"order {value.id}: number {value.number} is above {MAX_ORDER_NUMBER}")
    last = view.last_number(value.issuer)
    ceiling = max(last, now * 1_000_000) + _AHEAD
    if value.number > ceiling:
        raise ConfigError(
            f"order {value.id}: number {value.number} is above {ceiling}: numbers count up from the"
            " last one, or from the time, so that there is always a next one"
        )
    if value.number <= last:
        raise RegistryConflictError(
            f"order {value.id} has number {value.number}; {value.issuer} already gave number {last}"
        )
