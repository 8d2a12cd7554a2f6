"""What kind of number a call shows or calls, and what follows from that for its verdict."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reading import MIN_DIGITS
from zhenxian.core.reasons import Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.registry.kinds import NumberKind, Plan
from zhenxian.registry.model import Holding, Registry, Use
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Label, Verdict


class Wrong(NamedTuple):
    """Why nobody may show a number.

    Attributes:
        emergency: it is an emergency number that nobody is known to hold.
        middle: it is a middle number outside of the range for such, where that may not be.
    """

    emergency: bool = False
    middle: bool = False


NOTHING_WRONG = Wrong()


def wrong_with(display: TN, holding: Holding | None, plan: Plan, now: int) -> Wrong:
    """Why nobody may show a number with this holding; see Wrong."""
    if holding is None:
        # Nearly every number is recognised by its length.
        if len(display) < MIN_DIGITS and plan.emergency(display):
            return Wrong(emergency=True)
    elif holding.use is Use.PRIVACY and plan.middle_ended(display, now):
        return Wrong(middle=True)
    return NOTHING_WRONG


def to_emergency(request: VerificationRequest, plan: Plan) -> bool:
    """True when everyone called is an emergency number or service, by To or by the Request-URI.

    On the way to who answers, networks put an ordinary number into the Request-URI and leave To.
    """
    dest = request.dest
    if dest and all(map(plan.emergency, dest)):
        return True
    to = request.to
    if len(to[0]) >= MIN_DIGITS and not isinstance(to[0], URI):
        return False
    return all(map(plan.emergency, to))


def going_on(verdict: Verdict) -> Verdict:
    """The verdict of an emergency call: findings stand, and a label lets the call go on."""
    return replace(verdict, labels=(*verdict.labels, Label.EMERGENCY_CALL))


def marked(verdict: Verdict, display: TN | URI, plan: Plan, registry: Registry) -> Verdict:
    """The verdict, with the kind of the display if phones should show it."""
    kind = plan.marked(display) if isinstance(display, TN) else None
    if kind is None or not isinstance(display, TN):
        return verdict
    if kind is not NumberKind.PRIVACY:
        return replace(verdict, kind=kind.value)
    notes = verdict.notes
    if verdict.verstat is Verstat.PASSED and not _assigned(display, registry):
        notes = (*notes, "a privacy number: whom it is assigned to is not known here")
    labels = (*verdict.labels, Label.PRIVACY_NUMBER)
    return replace(verdict, kind=kind.value, notes=notes, labels=labels)


def _assigned(display: TN, registry: Registry) -> bool:
    """True when the codes are known that may sign for the number."""
    try:
        holding = registry.holding(display)
    except StoreUnavailableError:
        return False
    return holding is not None and bool(holding.spcs)
