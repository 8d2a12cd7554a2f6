"""How far the carrier vouches for a call: one pure function of request and facts."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics.model import DisplayConduct, Finding
from zhenxian.analytics.model import State as Conduct
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reading import MIN_DIGITS
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import ANONYMOUS, TN, URI, Private
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.registry.consent import Consent, ConsentPolicy, refusal_text
from zhenxian.registry.exemptions import against
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import (
    Access,
    Binding,
    CalleeRefusal,
    Holding,
    Order,
    Registry,
    Standing,
    State,
    Use,
    Verification,
    Who,
)
from zhenxian.registry.parties import involved, order_text, together
from zhenxian.signer.analytics import PooledSigning, gateway, keys
from zhenxian.signer.request import SigningRequest

_NOBODY = Standing(None)


_LOWERING: Final = (PooledSigning.REFUSE, PooledSigning.LOWER)  # of a mere suspicion, too


class Facts(Struct, frozen=True, gc=False):
    """Everything the registry knows about one call, read once.

    Attributes:
        access: the access the call came in by; None when unknown.
        caller: how the access's subject stands.
        holding: who holds the display; None when nobody is known to.
        holder: how the display's holder stands, and the resellers before it.
        service: the display is a carrier's own service number.
        privacy: the display is of the range that is for privacy numbers alone.
        middle: it is a middle number outside of that range, where such may not be any more.
        capped: it is suspected, and made as many calls within a minute as it may.
        customer: id of the one of those who share the access whose call it is; None where it is
            none of theirs.
        claimed: the call is said to be forwarded from a number that the access's subject holds,
            and a setting lets that count.
        emergency: the display is an emergency number.
        to_emergency: everyone called is an emergency number or service.
        binding: the binding of a privacy number that permits the call.
        order: an order that covers anyone or anything of the call.
        finding: what the conduct of the access or its subject shows, unless it is exempt; of a
            call that a binding permits, only how bindings are used.
        unwanted: the callee's refusal of calls of the purpose that is stated.
        available: False when the registry could not be asked.
        current: False when what it says may be older than is permitted.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    access: Access | None = None
    caller: Standing = _NOBODY
    holding: Holding | None = None
    holder: Standing = _NOBODY
    service: bool = False
    binding: Binding | None = None
    order: Order | None = None
    finding: Finding | None = None
    unwanted: CalleeRefusal | None = None
    available: bool = True
    current: bool = True
    emergency: bool = False
    to_emergency: bool = False
    privacy: bool = False
    middle: bool = False
    claimed: bool = False
    customer: str | None = None
    capped: bool = False


class Decision(Struct, frozen=True, gc=False):
    """What is signed, and why. `attest` is None for a refusal, and for a div, which has none.

    `finding` is what the caller's conduct shows, `unwanted` the callee's refusal of such calls,
    whether or not they made a difference. A call `to_emergency` is signed whatever there is.
    `diverting` is whose diversion of the call is signed (RFC 8946).
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    attest: Attestation | None
    reason: Reason
    detail: str
    origid: str | None
    finding: Finding | None = None
    unwanted: CalleeRefusal | None = None
    to_emergency: bool = False
    diverting: TN | URI | None = None

    @property
    def signs(self) -> bool:
        """True when there is a token to be signed."""
        return self.attest is not None or self.diverting is not None

    @property
    def counts(self) -> bool:
        """True when the call counts for its caller: it is signed, or refused for conduct alone.

        Other refusals say nothing of how the caller's displays are used, nor do emergency calls,
        nor calls that are diverted: who forwards shows whoever calls.
        """
        return not self.to_emergency and (
            self.attest is not None or self.reason is Reason.POOLED_DISPLAY
        )

    def __bool__(self) -> bool:
        raise TypeError("a Decision is neither true nor false: look at its attest")


def gather(
    request: SigningRequest,
    registry: Registry,
    now: float,
    *,
    plan: Plan = NO_PLAN,
    spc: str | None = None,
    conduct: DisplayConduct | None = None,
    consent: ConsentPolicy | None = None,
    claimed: bool = False,
    counted: bool = True,
) -> Facts:
    """Read the facts of a call. An unavailable registry gives facts that cannot earn A or B.

    Args:
        now: seconds since the epoch, with their fraction.
        plan: what kind of number a number is.
        spc: the service provider code that will sign.
        conduct: what is asked for findings; None for nothing.
        consent: which purposes callees are asked about; None for none.
        claimed: whether it counts that a call is said to be forwarded.
        counted: False where the call is only looked at: it takes no place under a cap.
    """
    dest = request.dest
    # Nearly every call is recognised by the length of its first number.
    to_emergency = (bool(dest.uri) or len(dest.tn[0]) < MIN_DIGITS) and all(
        plan.emergency(one) for one in dest.identities
    )
    display = request.orig if isinstance(request.orig, TN) else None
    service = display is not None and plan.service_number(display)
    emergency = display is not None and len(display) < MIN_DIGITS and plan.emergency(display)
    privacy, middle = display is not None and plan.privacy(display), False
    try:
        access = registry.access(request.access, request.origid)
        caller = registry.standing(access.subject) if access is not None else _NOBODY
        holding = registry.holding(display) if display is not None else None
        holder, binding, finding = _NOBODY, None, None
        if holding is not None:
            holder = registry.standing(holding.subject, holding.reseller)
            if holding.use is Use.PRIVACY or privacy:
                binding = _binding(request, registry, holding, now)
                middle = display is not None and plan.middle_ended(display, now)
        if access is None and conduct is not None and request.origid:
            finding = against(gateway(request.origid), conduct, registry, int(now), None, None)
        customer = None
        if access is not None and conduct is not None:
            if access.id in registry.shared:
                one = registry.customer(access.id, request.customer, display)
                if one is not None:
                    customer = one.id
                    if one.origid:
                        access = replace(access, origid=one.origid)
            finding = against(
                keys(access, holding, customer),
                conduct,
                registry,
                int(now),
                binding,
                request.caller,
                call=(access.subject, display, holding),
            )
        return Facts(
            access,
            caller,
            holding,
            holder,
            service,
            binding,
            registry.order(_who(request, access, holding, holder, registry, spc), int(now)),
            finding,
            _unwanted(request, registry, consent, int(now)),
            True,
            registry.current,
            emergency,
            to_emergency,
            privacy,
            middle,
            claimed and access is not None and _forwards(request, access, registry),
            customer,
            finding is not None
            and conduct is not None
            and over_cap(finding, conduct, int(now), count=counted and not to_emergency),
        )
    except StoreUnavailableError:
        return Facts(
            service=service,
            available=False,
            emergency=emergency,
            to_emergency=to_emergency,
            privacy=privacy,
        )


def _forwards(request: SigningRequest, access: Access, registry: Registry) -> bool:
    """True when the access's subject holds, verified, the number that is said to forward."""
    forwarded = request.forwarded
    if forwarded is None or not isinstance(forwarded.diverting, TN):
        return False
    holding = registry.holding(forwarded.diverting)
    return (
        holding is not None
        and holding.subject == access.subject
        and holding.verification is Verification.VERIFIED
        and registry.standing(holding.subject, holding.reseller).closed_by is None
    )


def _unwanted(
    request: SigningRequest, registry: Registry, consent: ConsentPolicy | None, now: int
) -> CalleeRefusal | None:
    """The first callee's refusal of what the caller says the call is for."""
    purpose, crn = request.purpose, request.crn
    if consent is None or (purpose is None and crn is None):
        return None
    return consent.refusal((purpose, crn), request.dest.tn, registry, now)


def _binding(
    request: SigningRequest, registry: Registry, holding: Holding, now: float
) -> Binding | None:
    """A binding of the display's holder that permits it; of several callees, each needs one.

    Bindings of who held the number before do not count.
    """
    dest, caller, display = request.dest, request.caller, request.orig
    if caller is None or not isinstance(display, TN) or dest.uri or not dest.tn:
        return None
    found = None
    for callee in dest.tn:
        found = registry.binding(caller, display, callee, request.extension, now)
        if found is None or found.platform != holding.subject:
            return None
    return found


def _who(
    request: SigningRequest,
    access: Access | None,
    holding: Holding | None,
    holder: Standing,
    registry: Registry,
    spc: str | None,
) -> Who:
    """Everyone a call involves: who calls behind a privacy number, and who forwards, too."""
    display = request.orig if isinstance(request.orig, TN) else None
    subjects = (access.subject,) if access is not None else ()
    spcs: tuple[str, ...] = (spc,) if spc is not None else ()
    if holding is not None:
        spcs += holding.spcs[:1]
    who = involved(display, holding, holder.chain, subjects, spcs)
    forwarded = request.forwarded
    if request.caller is None and forwarded is None:
        return who
    for number in (request.caller, forwarded.diverting if forwarded is not None else None):
        if isinstance(number, TN):
            own = registry.holding(number)
            chain = registry.standing(own.subject, own.reseller).chain if own is not None else ()
            who = together(who, involved(number, own, chain))
    return who


def decide(
    request: SigningRequest,
    facts: Facts,
    pooled: PooledSigning = PooledSigning.REFUSE,
    marketing: Consent = Consent.LABEL,
) -> Decision:
    """Decide the attestation (RFC 8588 section 4, ATIS-1000074 section 5.2.3).

    The first line that applies:

    | what is known                                            | result       |
    |----------------------------------------------------------|--------------|
    | the registry cannot be asked, and it is none of the      | C at most    |
    | service, emergency and privacy numbers below             |              |
    | an order covers subject, reseller, SPC, range or number  | refused      |
    | the access, or its subject, is suspended or closed       | refused      |
    | the display never originates calls                       | refused      |
    | it is a carrier's service number, and not the caller's   | refused      |
    | it is an emergency number, and not the caller's          | refused      |
    | it is of the range for privacy numbers, nobody holds it  | refused      |
    | or the access is unknown, and no binding permits it      | refused      |
    | the access is unknown (gateway traffic)                  | C at most,   |
    | ... and displays of its origid are used as a pool        | refused      |
    | the display is held by another subject (spoofed)         | refused      |
    | the same, said to be forwarded, where that counts        | C at most    |
    | a reseller before its holder is suspended or closed      | refused      |
    | the display's holding is not real-name verified          | refused      |
    | it is a middle number where such may not be any more     | refused      |
    | it is a privacy number that no active binding permits    | refused      |
    | the conduct of access or subject shows a pool            | refused, or  |
    |                                                          | B at most    |
    | it looks like one, which nothing proves                  | B at most    |
    | ... and it made as many calls in a minute as it may      | refused      |
    | the display is a private number, or withheld             | C at most    |
    | it has * or #, so that nobody can hold it                | C at most    |
    | the display is held by nobody known, or is a URI         | B at most    |
    | the local copy of the registry may lag behind            | B at most    |
    | a privacy number with a binding for caller and callee    | A            |
    | the access's subject holds the display, verified         | A            |

    A proxy may ask for less than that and gets it; asking for more changes nothing. What would be
    signed is refused after all where the callee refuses calls of the purpose that is stated. But a
    call to an emergency number alone is never refused: it gets what it earns, and C at least.

    Args:
        pooled: what a pool leads to.
        marketing: what a callee's refusal leads to.
    """
    decision = _decide(request, facts, pooled)
    if facts.unwanted is not None:
        decision = heard(decision, facts, marketing)
    if facts.to_emergency:
        decision = _to_emergency(request, facts, decision)
    if facts.finding is not None and pooled is not PooledSigning.OFF:
        return replace(decision, finding=facts.finding)
    return decision


def heard(decision: Decision, facts: Facts, marketing: Consent) -> Decision:
    """The decision once the callee was heard, who may refuse such calls."""
    unwanted = facts.unwanted
    if unwanted is None or not decision.signs:
        return decision
    if marketing is Consent.REFUSE:
        decision = refuse(Reason.CALLEE_REFUSES, refusal_text(unwanted))
    return replace(decision, unwanted=unwanted)


def _to_emergency(request: SigningRequest, facts: Facts, decision: Decision) -> Decision:
    if decision.attest is not None and request.unread is None:
        return replace(decision, to_emergency=True)
    origid = facts.access.origid if facts.access is not None else request.origid
    detail = f"{Reason.EMERGENCY_CALL.text}: {request.unread or decision.detail}"
    return replace(
        decision,
        attest=Attestation.C,
        reason=Reason.EMERGENCY_CALL,
        detail=detail,
        origid=origid,
        to_emergency=True,
    )


def over_cap(finding: Finding, conduct: DisplayConduct, now: int, *, count: bool = True) -> bool:
    """True for a call over the cap of a caller whom a suspicion lowers; others have no cap."""
    suspected = finding.state is Conduct.SUSPECTED and finding.lowers
    return suspected and not conduct.admits(finding.key, now, count=count)


def pooling(facts: Facts) -> bool:
    """True for a caller whose conduct shows a pool."""
    return facts.finding is not None and facts.finding.state is Conduct.POOLED


def closed(facts: Facts) -> Decision | None:
    """The refusal of a call that goes out in no way, whoever vouches for it; None for others."""
    access, holding = facts.access, facts.holding
    if facts.order is not None:
        return refuse(Reason.ORDERED, order_text(facts.order))
    if access is not None:
        if access.state is not State.ACTIVE:
            return refuse(Reason.ACCESS_SUSPENDED, f"access {access.id} is {access.state.value}")
        if facts.caller.closed_by is not None:
            return refuse(Reason.SUBJECT_SUSPENDED, facts.caller.closed_by)
    if holding is not None and holding.use is Use.DO_NOT_ORIGINATE:
        return refuse(Reason.DO_NOT_ORIGINATE, f"the number is held by {holding.subject}")
    return None


def _decide(request: SigningRequest, facts: Facts, pooled: PooledSigning) -> Decision:
    access, holding = facts.access, facts.holding
    if not facts.available and not (facts.service or facts.emergency or facts.privacy):
        return _grant(request, Attestation.C, Reason.REGISTRY_UNAVAILABLE, request.origid)
    stopped = closed(facts)
    if stopped is not None:
        return stopped
    own = access is not None and holding is not None and holding.subject == access.subject
    if facts.service and not own:
        return refuse(Reason.DO_NOT_ORIGINATE, "it is a carrier's service number")
    if facts.emergency and not own:
        return refuse(Reason.DO_NOT_ORIGINATE, "it is an emergency number")
    if facts.privacy and facts.binding is None and (holding is None or access is None):
        why = "nobody is known to hold it" if holding is None else "the access is not known"
        if not facts.available:
            why = "the registry cannot be asked for its binding"
        return refuse(Reason.NOT_BOUND, why)
    if access is None:
        return _of_gateway(request, facts, pooled)
    if holding is not None:
        if not own and facts.claimed and not pooling(facts):
            return _grant(request, Attestation.C, Reason.DIVERSION_CLAIMED, access.origid)
        if not own:
            return refuse(
                Reason.DISPLAY_OF_ANOTHER,
                f"access {access.id} is of subject {access.subject}, who does not hold the number",
            )
        if facts.holder.closed_by is not None:
            return refuse(Reason.RESELLER_SUSPENDED, facts.holder.closed_by)
        if holding.verification is not Verification.VERIFIED:
            return refuse(
                Reason.HOLDING_UNVERIFIED,
                f"subject {holding.subject}: verification {holding.verification.value}",
            )
        if facts.middle:
            return refuse(Reason.MIDDLE_NUMBER, f"subject {holding.subject}")
        if facts.binding is None and (holding.use is Use.PRIVACY or facts.privacy):
            return refuse(
                Reason.NOT_BOUND,
                "the request names no caller"
                if request.caller is None
                else "not this caller, callee and display, now",
            )
    found = facts.finding
    if found is not None and found.state is Conduct.POOLED and pooled is PooledSigning.REFUSE:
        return refuse(Reason.POOLED_DISPLAY, found.sentence)
    if facts.capped:
        return refuse(Reason.CALLS_CAPPED, found.sentence if found is not None else "")
    if isinstance(request.orig, Private):
        reason = Reason.ANONYMOUS if request.orig == ANONYMOUS else Reason.PRIVATE_NUMBER
        return _grant(request, Attestation.C, reason, access.origid)
    if found is not None and found.state is Conduct.POOLED and pooled is PooledSigning.LOWER:
        return _grant(request, Attestation.B, Reason.POOLED_LOWERED, access.origid)
    if found is not None and found.lowers and pooled in _LOWERING:
        return _grant(request, Attestation.B, Reason.POOLED_SUSPECTED, access.origid)
    if holding is None:
        if not isinstance(request.orig, TN):
            return _grant(request, Attestation.B, Reason.ORIG_NOT_A_NUMBER, access.origid)
        level = Attestation.B if request.orig.isdecimal() else Attestation.C  # * and # are dialled
        return _grant(request, level, Reason.DISPLAY_UNKNOWN, access.origid)
    if not facts.current:
        return _grant(request, Attestation.B, Reason.REGISTRY_STALE, access.origid)
    reason = Reason.HELD_AND_VERIFIED if facts.binding is None else Reason.BOUND
    return _grant(request, Attestation.A, reason, access.origid)


def _of_gateway(request: SigningRequest, facts: Facts, pooled: PooledSigning) -> Decision:
    """Decide on a call of no known access: C, unless its origid's displays are a pool."""
    found = facts.finding
    if found is not None and found.state is Conduct.POOLED and pooled is PooledSigning.REFUSE:
        return refuse(Reason.POOLED_DISPLAY, found.sentence)
    if facts.capped and found is not None:
        return refuse(Reason.CALLS_CAPPED, found.sentence)
    return _grant(request, Attestation.C, Reason.ACCESS_UNKNOWN, request.origid)


def _grant(
    request: SigningRequest, ceiling: Attestation, reason: Reason, origid: str | None
) -> Decision:
    asked = request.attest
    if asked is None or asked is ceiling:
        return Decision(ceiling, reason, reason.text, origid)
    if asked.value > ceiling.value:
        return Decision(
            asked,
            Reason.ASKED_FOR_LESS,
            f"{asked.value} asked for; {ceiling.value} was possible: {reason.text}",
            origid,
        )
    detail = f"{asked.value} asked for, {ceiling.value} given: {reason.text}"
    return Decision(ceiling, reason, detail, origid)


def refuse(reason: Reason, detail: str) -> Decision:
    """A refusal, with a sentence for people."""
    return Decision(None, reason, f"{reason.text}: {detail}", None)
