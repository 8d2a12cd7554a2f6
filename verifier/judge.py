"""The second decision: a token that is genuine, against what the stores know."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.analytics.model import Finding
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN
from zhenxian.registry.consent import Consent, told
from zhenxian.registry.model import Binding, CalleeRefusal, Order
from zhenxian.verifier.analytics import AS_USUAL, ConductPolicy, PooledVerifying
from zhenxian.verifier.token import VerifiedPASSporT
from zhenxian.verifier.verdict import Check, Refusal


class Facts(Struct, frozen=True):
    """Everything the stores know about one verified token, read once.

    Attributes:
        first_seen: False for a replay; None when the store could not be asked.
        holder_spcs: codes that may sign for the calling number; empty when not known.
        order: an order that covers the number, its holder, a reseller, the SPC or certificate.
        binding: a live one of a privacy number that shows the display to the callee.
        behind: who calls by it; None when it may be anybody.
        finding: what the conduct of the signer or its SPC shows, unless it is exempt; of a bound
            call only how bindings are used, and not the company it keeps.
        unwanted: the callee's refusal of calls of the purpose that is stated.
        late: what is wrong with the request's Date, whose iat is fresh; None when nothing is.
        emergency: the display is an emergency number that nobody is known to hold.
        middle: it is a middle number outside of the range for such, where that may not be.
    """

    first_seen: bool | None
    holder_spcs: tuple[str, ...] = ()
    order: Order | None = None
    binding: Binding | None = None
    behind: TN | None = None
    finding: Finding | None = None
    unwanted: CalleeRefusal | None = None
    late: str | None = None
    emergency: bool = False
    middle: bool = False

    def to_emergency(self) -> Facts:
        """What of them counts for a call to an emergency number: whether the token is what it says.

        Whom an order stops, who was found, or whom nobody wants to hear, may call for help.
        """
        return Facts(self.first_seen, self.holder_spcs, late=self.late)


JUDGE_CHECKS = (Check.REPLAY, Check.ORDER, Check.HOLDER, Check.CONDUCT, Check.CONSENT)


def judge(
    token: VerifiedPASSporT,
    facts: Facts,
    policy: ConductPolicy = AS_USUAL,
    marketing: Consent = Consent.LABEL,
) -> Refusal | None:
    """Judge a genuine token, in the order of JUDGE_CHECKS; None when nothing speaks against it.

    The holder's check has effect only where the registry says which service provider codes may
    sign for the number, and the certificate speaks by such a code (RFC 8226 section 7: a code
    stands for the numbers assigned to its holder).

    An outdated Date beside a fresh iat does no harm as long as replays are seen: networks change
    Date in transit, and RFC 8224 section 12.1 lets iat stand for it where adequate state is kept to
    detect recent replays. Where the store is away there is none.
    """
    if facts.first_seen is None and facts.late is not None:
        return Refusal(Check.DATE, Reason.DATE_STALE, facts.late)
    if facts.first_seen is None:
        return Refusal(Check.REPLAY, Reason.REPLAY_UNKNOWN, Reason.REPLAY_UNKNOWN.text)
    if not facts.first_seen:
        return Refusal(Check.REPLAY, Reason.REPLAYED, Reason.REPLAYED.text)
    order = facts.order
    if order is not None:
        return Refusal(
            Check.ORDER,
            Reason.ORDERED,
            f"order {order.id} of {order.issuer} ({order.reference}) stops {order.kind.value}"
            f" {order.target}",
        )
    if facts.emergency:
        return Refusal(Check.HOLDER, Reason.EMERGENCY_SHOWN, Reason.EMERGENCY_SHOWN.text)
    spc = token.signer.spc
    if facts.holder_spcs and spc is not None and spc not in facts.holder_spcs:
        return Refusal(
            Check.HOLDER,
            Reason.SPC_NOT_HOLDER,
            f"signed by {spc}; the number is held at {', '.join(facts.holder_spcs)}",
        )
    if facts.middle:
        return Refusal(Check.HOLDER, Reason.MIDDLE_NUMBER, Reason.MIDDLE_NUMBER.text)
    found = facts.finding
    if found is not None and policy.on(found) is PooledVerifying.FAIL:
        return Refusal(Check.CONDUCT, Reason.DISPLAY_POOLED, found.sentence)
    unwanted = facts.unwanted
    if unwanted is not None and marketing is Consent.REFUSE:
        return Refusal(Check.CONSENT, Reason.CALLEE_REFUSES, told(unwanted))
    return None
