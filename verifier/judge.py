"""The second decision: a token that is genuine, against what the stores know."""

from __future__ import annotations

from zhenxian.core.reasons import Reason
from zhenxian.registry.consent import Consent, refusal_text
from zhenxian.registry.parties import order_text
from zhenxian.verifier.analytics import AS_USUAL, ConductPolicy, PooledVerifying
from zhenxian.verifier.facts import Facts
from zhenxian.verifier.token import VerifiedPASSporT
from zhenxian.verifier.verdict import Check, Refusal

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
        return Refusal(Check.ORDER, Reason.ORDERED, order_text(order))
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
        return Refusal(Check.CONSENT, Reason.CALLEE_REFUSES, refusal_text(unwanted))
    return None
