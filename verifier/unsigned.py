"""A call that no token vouches for: what its display alone says against it.

The display is only claimed, so nothing here is held against whoever calls. But a number that an
order stops may be shown by nobody, and where a carrier signs every call, a call that shows one of
its numbers and is not signed did not come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import phonenumbers
from msgspec import Struct

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import Order, Registry
from zhenxian.registry.parties import involved, order_text
from zhenxian.verifier.marks import wrong_with
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Check, Label, Verdict


class Action(str, Enum):
    """What follows when a call is not signed that should be, the mildest first."""

    NONE = "none"
    LABEL = "label"
    FAIL = "fail"


_MILDEST_FIRST: Final = tuple(Action)
_OF_THE_CALLERS_OWN_MAKING: Final = frozenset({Check.SYNTAX, Check.X5U})
_NONE: Final[Mapping[str, Action]] = MappingProxyType({})


class UnsignedPolicy(Struct, frozen=True):
    """Whose calls are to be signed. What is not named leads to nothing.

    Attributes:
        spcs: by the service provider codes that the registry names for the number.
        countries: by the ISO 3166 code of the number's country, for numbers whose codes are not
            known or not named.
        health: the numbers that health requests of SBCs carry, as `from` and as `to`.
    """

    spcs: Mapping[str, Action] = _NONE
    countries: Mapping[str, Action] = _NONE
    health: frozenset[TN | URI] = frozenset()

    def action(self, spcs: tuple[str, ...], country: str | None) -> Action:
        """What follows for a number held at these codes, in this country.

        A code comes before the country. Of several codes the mildest action counts: the call may
        have come from the one that does not sign.
        """
        general = self.countries.get(country, Action.NONE) if country else Action.NONE
        return min(
            (self.spcs.get(spc, general) for spc in spcs),
            key=_MILDEST_FIRST.index,
            default=general,
        )


class UnsignedFacts(Struct, frozen=True):
    """What is known of the display of a call that no token vouches for.

    Attributes:
        spcs: codes that may sign for the number; None when the registry could not be asked.
        country: of the number; None when it is not known, or no policy asks.
        order: an order that covers the number, its holder or a reseller.
        emergency: the number is an emergency number that nobody is known to hold.
        privacy: it is of the range for privacy numbers, whose carriers sign each call.
        middle: it is a middle number outside of that range, where such may not be.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    spcs: tuple[str, ...] | None = ()
    country: str | None = None
    order: Order | None = None
    emergency: bool = False
    privacy: bool = False
    middle: bool = False


def is_health_request(request: VerificationRequest, policy: UnsignedPolicy) -> bool:
    """True for what an SBC asks to see whether the service answers.

    It looks like a call without Identity header at the present time, and is recognised by its
    numbers: both sides carry those that the SBC is configured with. A call to a subscriber is
    never one, whatever number it shows.
    """
    return (
        not request.identities
        and request.orig in policy.health
        and all(identity in policy.health for identity in request.to)
    )


def gather_unsigned(
    orig: TN,
    registry: Registry,
    now: int,
    policy: UnsignedPolicy,
    country: Callable[[TN], str | None],
    plan: Plan = NO_PLAN,
) -> UnsignedFacts:
    """Ask once for everything that `judge_unsigned` looks at.

    An order against an SPC or a certificate stops what these sign, so it has no effect here.
    """
    where = country(orig) if policy.countries else None
    spcs: tuple[str, ...] = ()
    resellers: tuple[str, ...] = ()
    privacy = plan.privacy(orig)
    try:
        holding = registry.holding(orig)
        if holding is not None:
            spcs = holding.spcs
            resellers = registry.standing(holding.subject, holding.reseller).chain
        order = registry.order(involved(orig, holding, resellers), now)
    except StoreUnavailableError:
        return UnsignedFacts(None, where, privacy=privacy)
    emergency, middle = wrong_with(orig, holding, plan, now)
    return UnsignedFacts(spcs, where, order, emergency, privacy, middle)


def judge_unsigned(verdict: Verdict, facts: UnsignedFacts, policy: UnsignedPolicy) -> Verdict:
    """Judge a call whose verdict is No-TN-Validation: the verdict as it is, or another.

    1. An order that covers the display or its holder: the call fails.
    2. An emergency number that nobody is known to hold, or a middle number outside of the range
       for such where that may not be: the call fails.
    3. A privacy number that no valid token covers: the call fails, and that needs no registry.
    4. The policy's action. It fails only calls that are as good as not signed: those without an
       Identity header, or whose headers a caller could have written himself, because none is a
       token of a supported type (RFC 8224 section 6.2) with a certificate at a permitted place.
       A call whose token could not be checked is labelled instead. So is one with a stale token,
       because the wrong clock may be ours, and any call while the registry cannot be asked: an
       outage must not fail honest calls.
    """
    order = facts.order
    if order is not None:
        detail = f"{order_text(order)}, and nobody signed for the call"
        return Verdict(
            Verstat.FAILED, Reason.DISPLAY_ORDERED, detail, verdict.results, check=Check.ORDER
        )
    if facts.emergency or facts.middle:
        reason = Reason.EMERGENCY_SHOWN if facts.emergency else Reason.MIDDLE_NUMBER
        return Verdict(Verstat.FAILED, reason, reason.text, verdict.results, check=Check.HOLDER)
    action = Action.FAIL if facts.privacy else policy.action(facts.spcs or (), facts.country)
    if action is Action.NONE:
        return verdict
    unsigned = all(
        result.refusal is not None and result.refusal.check in _OF_THE_CALLERS_OWN_MAKING
        for result in verdict.results
    )
    if facts.privacy or (action is Action.FAIL and unsigned and facts.spcs is not None):
        if facts.privacy:
            detail = "no token vouches for it; the number is a privacy number"
        elif facts.spcs:
            detail = f"not signed; the number is held at {', '.join(facts.spcs)}"
        else:
            detail = f"not signed; the number is one of {facts.country}"
        return Verdict(Verstat.FAILED, Reason.SIGNATURE_MISSING, detail, verdict.results)
    label = Label.UNSIGNED if unsigned else Label.UNVERIFIED
    return Verdict(
        verdict.verstat,
        verdict.reason,
        verdict.detail,
        verdict.results,
        verdict.decisive,
        (*verdict.labels, label),
    )


def region(tn: TN) -> str | None:
    """The ISO 3166 code of an international number's country, by its first digits.

    None when no country has it. Whether the number is assigned matters only where countries share
    a code, because nothing else distinguishes them; the library takes 70 us for that.
    """
    if not tn.isdecimal():
        return None
    for end in (1, 2, 3):  # no country code begins another
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(tn[:end]), ())
        if len(regions) == 1:
            return regions[0]
        if regions:
            break
    else:
        return None
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(f"+{tn}"))
    except phonenumbers.NumberParseException:
        return None
