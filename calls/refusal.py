"""How a proxy answers a call whose signing is refused by policy, whichever way it asked."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.core.header_fields import quoted
from zhenxian.core.reasons import Reason, SipStatus
from zhenxian.signer.decide import Decision
from zhenxian.verifier.redress import Rejection


class Refusal(Struct, frozen=True, kw_only=True):
    """A final SIP response.

    Attributes:
        reason: the value of its Reason header field.
        call_info: the value of Call-Info, with the contact for complaints; None for none.
    """

    code: int
    phrase: str
    reason: str
    call_info: str | None = None


def refusal(decision: Decision, rejection: Rejection, *, as_608: bool) -> Refusal:
    """403, 608 with a contact by setting, or 607.

    607 says that the callee does not want the call (RFC 8197), which only its own refusal on record
    can say. 608 goes with its contact or not at all (RFC 8688 section 3.1).
    """
    reason, contact = decision.reason, rejection.call_info
    code, phrase = 403, "Forbidden"
    if reason is Reason.CALLEE_REFUSES:
        code, phrase = SipStatus.UNWANTED.value
        contact = None
    elif as_608 and contact is not None:
        code, phrase = SipStatus.REJECTED.value
    text = quoted(f"{reason.code}: {reason.text}")
    said = f'SIP;cause={code};text="{text}"'
    return Refusal(code=code, phrase=phrase, reason=said, call_info=contact)
