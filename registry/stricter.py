"""What of two versions of the registry is stricter: for commits that a journal lost.

A fleet's Redis may come back as it was before some commits. What these gave is gone with them; what
they took away (a suspension, a holding's end) must not come back in force by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.model import (
    Access,
    CalleeRefusal,
    Holding,
    Kind,
    Record,
    Reseller,
    State,
    Subject,
    Use,
    Verification,
)

# Of the other kinds, orders have a rule of their own, and a clearing takes nothing away.
STRICT_KINDS: Final = (
    Kind.SUBJECT,
    Kind.RESELLER,
    Kind.HOLDING,
    Kind.ACCESS,
    Kind.BINDING,
    Kind.EXEMPTION,
    Kind.REFUSAL,
    Kind.CUSTOMER,
    Kind.DECLARATION,
)

_PERMISSIONS: Final = (Kind.BINDING, Kind.EXEMPTION, Kind.CUSTOMER, Kind.DECLARATION)

_Of = TypeVar("_Of")


class Held(Struct, frozen=True):
    """A record as lost commits left it.

    Attributes:
        before: None when they had ended it.
    """

    kind: Kind
    key: str
    before: Record | None


class LostCommit(Struct, frozen=True, kw_only=True):
    """A commit that Redis lost; as the history lists it.

    Attributes:
        changed: kind and key of the records that it changed; the first of them, when there are
            many.
    """

    seq: int
    time: int
    author: str
    reason: str
    changed: tuple[tuple[Kind, str], ...]


class Losses(Struct, frozen=True):
    """What Redis lost, until somebody has looked.

    Attributes:
        commits: the last of those that were lost, in their order. count: how many were.
        held: the records that stay as strict as the lost commits had left them.
        beyond: so many records that they were not held one by one.
    """

    commits: tuple[LostCommit, ...] = ()
    count: int = 0
    held: tuple[Held, ...] = ()
    beyond: bool = False


NONE_LOST: Final = Losses()  # shared; equal to that of any registry that lost nothing


def restricted(kind: Kind, before: Record | None, now: Record | None) -> Record | None:
    """The record as it is now, with what was stricter before; `now` itself when nothing was.

    Args:
        before: as lost commits left it; None when they had ended it.
        now: as it is registered; None when it is not.
    """
    if kind is Kind.HOLDING:
        return _holding(_as(Holding, before), _as(Holding, now))
    if kind is Kind.ACCESS:
        return _access(_as(Access, before), _as(Access, now))
    if kind is Kind.SUBJECT:
        one, two = _as(Subject, before), _as(Subject, now)
        return replace(two, state=_state(one.state if one else None, two.state)) if two else None
    if kind is Kind.RESELLER:
        return _reseller(_as(Reseller, before), _as(Reseller, now))
    if kind is Kind.REFUSAL:
        return _refusal(_as(CalleeRefusal, before), _as(CalleeRefusal, now))
    if kind in _PERMISSIONS:  # a permission that was another one, or none
        return now if before == now else None
    return now


def _as(of: type[_Of], record: object) -> _Of | None:
    return record if isinstance(record, of) else None


def _state(before: State | None, now: State) -> State:
    if before is None:
        return State.CLOSED
    return now if before is State.ACTIVE or now is State.CLOSED else before


def _reseller(before: Reseller | None, now: Reseller | None) -> Reseller | None:
    if now is None:
        return None
    state = _state(before.state if before is not None else None, now.state)
    if before is not None and before.parent != now.parent:
        state = _state(State.SUSPENDED, state)  # whether those before it may is not known
    return replace(now, state=state)


def _access(before: Access | None, now: Access | None) -> Access | None:
    if now is None:
        return before if before is not None and before.state is not State.ACTIVE else None
    if before is None:
        return replace(now, state=State.CLOSED)
    state = _state(before.state, now.state)
    if before.subject != now.subject:
        state = _state(State.SUSPENDED, state)
    if now.origid in before.former:  # an origid that was rotated away names no access
        now = replace(now, origid=before.origid, former=before.former)
    return replace(now, state=state)


def _holding(before: Holding | None, now: Holding | None) -> Holding | None:
    if before is None:
        return replace(now, verification=Verification.UNVERIFIED) if now is not None else None
    if now is None:
        # The registration is lost. Who may not sign for the number, or show it, is not let in.
        forbids = before.spcs or before.use is Use.DO_NOT_ORIGINATE
        unverified = before.verification is not Verification.VERIFIED
        if not (forbids or unverified):
            return None
        return replace(before, verification=_unverified(before))
    same = (before.subject, before.reseller, before.use) == (now.subject, now.reseller, now.use)
    spcs = tuple(spc for spc in now.spcs if spc in before.spcs) if before.spcs else now.spcs
    return replace(
        now,
        verification=now.verification
        if same and before.verification is Verification.VERIFIED
        else _unverified(before),
        use=before.use if before.use is Use.DO_NOT_ORIGINATE else now.use,
        spcs=spcs or before.spcs,
    )


def _unverified(before: Holding) -> Verification:
    verified = before.verification is Verification.VERIFIED
    return Verification.UNVERIFIED if verified else before.verification


def _refusal(before: CalleeRefusal | None, now: CalleeRefusal | None) -> CalleeRefusal | None:
    if before is None or now is None:
        return now if now is not None else before
    ends = {before.until, now.until}
    return replace(
        now,
        since=min(before.since, now.since),
        until=None if None in ends else max(end for end in ends if end is not None),
        scopes=(*now.scopes, *(scope for scope in before.scopes if scope not in now.scopes)),
    )


class Restrictions:
    """What lost commits left stricter, as calls ask for it."""

    def __init__(self, held: Iterable[Held] = ()) -> None:
        self.held = tuple(held)
        self._records = {(one.kind, one.key): one.before for one in self.held}
        self._numbers: dict[TN, Holding | None] = {}
        self._ranges: list[tuple[TNRange, Holding | None]] = []
        self._refusals: list[CalleeRefusal] = []
        for one in self.held:
            if one.kind is Kind.HOLDING:
                first, dash, last = one.key.partition("-")
                if dash:
                    ends = TNRange(TN(first), TN(last))
                    self._ranges.append((ends, _as(Holding, one.before)))
                else:
                    self._numbers[TN(first)] = _as(Holding, one.before)
            elif isinstance(one.before, CalleeRefusal):
                self._refusals.append(one.before)
        # The most specific first, as of holdings.
        self._ranges.sort(key=lambda one: one[0].size)

    def __bool__(self) -> bool:
        return bool(self.held)

    def record(self, kind: Kind, key: str, now: Record | None) -> Record | None:
        """A record of any kind by its key; calls ask for holdings and refusals by number."""
        if (kind, key) not in self._records:
            return now
        return restricted(kind, self._records[kind, key], now)

    def holding(self, tn: TN, now: Holding | None) -> Holding | None:
        """What covers a number.

        Args:
            now: the most specific holding that is registered.
        """
        for numbers, before in self._covering(tn):
            if now is not None and not now.numbers.covers(numbers):
                break  # what is registered is more specific
            now = _holding(before, now)
        return now

    def _covering(self, tn: TN) -> Iterable[tuple[TNRange, Holding | None]]:
        if tn in self._numbers:
            yield TNRange(tn, tn), self._numbers[tn]
        yield from (one for one in self._ranges if tn in one[0])

    def refusals(self, tn: TN, now: list[CalleeRefusal]) -> list[CalleeRefusal]:
        """The callee's refusals on record, with those that were lost."""
        lost = [one for one in self._refusals if one not in now and tn in one.numbers]
        return [*now, *lost]
