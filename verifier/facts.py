"""What the stores know of a verified token, read once for the judgement."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.analytics.model import DisplayConduct, Finding, Key
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.registry.consent import ConsentPolicy
from zhenxian.registry.exemptions import against
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import Binding, CalleeRefusal, Holding, Order, Registry, Use
from zhenxian.registry.parties import involved
from zhenxian.verifier.analytics import AS_USUAL, ConductPolicy, keys
from zhenxian.verifier.marks import NOTHING_WRONG, wrong_with
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.token import VerifiedPASSporT


class Sources(Struct, frozen=True, kw_only=True):
    """What is asked for facts.

    Attributes:
        conduct: what is asked for findings; None for nothing.
        policy: what findings lead to.
        consent: which purposes callees are asked about; None for none.
        plan: what kind of number a number is.
    """

    registry: Registry
    conduct: DisplayConduct | None = None
    policy: ConductPolicy = AS_USUAL
    consent: ConsentPolicy | None = None
    plan: Plan = NO_PLAN


class Facts(Struct, frozen=True):
    """Everything the stores know about one verified token, read once.

    Attributes:
        first_seen: False for a replay; None when the store could not be asked.
        holder_spcs: codes that may sign for the calling number; empty when not known.
        order: an order that covers the number, its holder, a reseller, the SPC or certificate.
        binding: a live one of a privacy number that shows the display to the callee.
        hidden_caller: who calls by it; None when it may be anybody.
        finding: what the conduct of the signer or its SPC shows, unless it is exempt; of a bound
            call only how bindings are used, and not the company it keeps.
        unwanted: the callee's refusal of calls of the purpose that is stated.
        late: what is wrong with the request's Date, whose iat is fresh; None when nothing is.
        emergency: the display is an emergency number that nobody is known to hold.
        middle: it is a middle number outside of the range for such, where that may not be.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    first_seen: bool | None
    holder_spcs: tuple[str, ...] = ()
    order: Order | None = None
    binding: Binding | None = None
    hidden_caller: TN | None = None
    finding: Finding | None = None
    unwanted: CalleeRefusal | None = None
    late: str | None = None
    emergency: bool = False
    middle: bool = False

    def to_emergency(self) -> Facts:
        """What counts for a call to an emergency number: only whether the token is genuine.

        Who is stopped by an order, found to use a pool, or unwanted may still call for help.
        """
        return Facts(self.first_seen, self.holder_spcs, late=self.late)


def gather(
    token: VerifiedPASSporT,
    request: VerificationRequest,
    now: int,
    sources: Sources,
    late: str | None = None,
    *,
    called: tuple[TN, ...] | None = None,
) -> Facts:
    """Read what the stores know about a token, on the assumption that it is new.

    When the registry cannot be asked, its facts are left out.

    Args:
        late: as in Facts.
        called: whom it was signed for; None for the numbers of `to`.
    """
    registry, conduct, wrong = sources.registry, sources.conduct, NOTHING_WRONG
    signer = token.signer
    holder: tuple[str, ...] = ()
    resellers: tuple[str, ...] = ()
    order: Order | None = None
    binding: Binding | None = None
    hidden_caller: TN | None = None
    unwanted: CalleeRefusal | None = None
    orig = token.orig if isinstance(token.orig, TN) else None
    try:
        holding = registry.holding(orig) if orig is not None else None
        if orig is not None:
            wrong = wrong_with(orig, holding, sources.plan, now)
        if holding is not None:
            holder = holding.spcs
            resellers = registry.standing(holding.subject, holding.reseller).chain
            if holding.use is Use.PRIVACY and orig is not None and conduct is not None:
                called = request.called if called is None else called
                binding = _shown(orig, called, holding, registry, now)
                if binding is not None:
                    hidden_caller = binding.caller(orig, called[0])
        spcs = (signer.spc,) if signer.spc is not None else ()
        who = involved(orig, holding, resellers, (), spcs, f"{signer.serial:X}")
        order = registry.order(who, now)
        unwanted = _unwanted(token, request, sources, now)
    except StoreUnavailableError:
        pass
    finding = None
    if conduct is not None:
        finding = _against(keys(token), conduct, sources, now, binding, hidden_caller)
    return Facts(True, holder, order, binding, hidden_caller, finding, unwanted, late, *wrong)


def _against(
    of: tuple[Key, ...],
    conduct: DisplayConduct,
    sources: Sources,
    now: int,
    binding: Binding | None,
    hidden_caller: TN | None,
) -> Finding | None:
    """What stands against signer, SPC or agent. An outage of the registry exempts nobody."""
    registry, weight = sources.registry, sources.policy.weight
    try:
        return against(of, conduct, registry, now, binding, hidden_caller, weight)
    except StoreUnavailableError:
        return against(of, conduct, None, now, binding, hidden_caller, weight)


def _unwanted(
    token: VerifiedPASSporT, request: VerificationRequest, sources: Sources, now: int
) -> CalleeRefusal | None:
    """The callee's refusal of what token or request say the call is for."""
    extension = token.passport.extension
    crn = extension.crn if isinstance(extension, Shaken) else None
    purpose = request.purpose
    if sources.consent is None or (crn is None and purpose is None):
        return None
    callees = (*request.to, *request.dest)
    return sources.consent.refusal((crn, purpose), callees, sources.registry, now)


def _shown(
    display: TN, called: tuple[TN, ...], holding: Holding, registry: Registry, now: int
) -> Binding | None:
    """A binding of the display's holder that shows it; of several callees, each needs one."""
    found = None
    for callee in called:
        one = registry.shown(display, callee, float(now))
        if one is None or one.platform != holding.subject:
            return None
        found = found or one
    return found
