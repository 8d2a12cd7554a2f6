"""How far the carrier vouches for a call: one pure function of request and facts."""

from __future__ import annotations

from msgspec import Struct

from passport.errors import StoreUnavailableError
from passport.ppt.shaken import Attestation
from passport.reasons import Reason
from passport.tn import TN
from registry.model import Access, Holding, Registry, Use, Verification
from signer.request import SigningRequest


class Facts(Struct, frozen=True):
    """Everything the registry knows about one call, read once.

    Attributes:
        access: the access the call came in by; None when unknown.
        suspended: the access's subject may not originate calls.
        holding: who holds the display; None when nobody is known to.
        available: False when the registry could not be asked.
    """

    access: Access | None = None
    suspended: bool = False
    holding: Holding | None = None
    available: bool = True


class Decision(Struct, frozen=True):
    """What is signed, and why. `attest` is None for a refusal."""

    attest: Attestation | None
    reason: Reason
    detail: str
    origid: str | None

    def __bool__(self) -> bool:
        raise TypeError("a Decision is neither true nor false: look at its attest")


def gather(request: SigningRequest, registry: Registry) -> Facts:
    """Read the facts of a call. An unavailable registry gives facts that cannot earn A or B."""
    try:
        access = registry.access(request.access, request.origid)
        return Facts(
            access,
            registry.suspended(access.subject) if access is not None else False,
            registry.holding(request.orig) if isinstance(request.orig, TN) else None,
        )
    except StoreUnavailableError:
        return Facts(available=False)


def decide(request: SigningRequest, facts: Facts) -> Decision:
    """Decide the attestation (RFC 8588 section 4, ATIS-1000074 section 5.2.3).

    The first line that applies:

    | what is known                                            | result       |
    |----------------------------------------------------------|--------------|
    | the registry cannot be asked                             | C at most    |
    | the access's subject is suspended                        | refused      |
    | the display never originates calls                       | refused      |
    | the access is unknown (gateway traffic)                  | C at most    |
    | the display is held by another subject (spoofed)         | refused      |
    | the display's holding is not real-name verified          | refused      |
    | the access's subject holds the display, verified         | A            |
    | the display is held by nobody known, or is a URI         | B at most    |

    A proxy may ask for less than that and gets it; asking for more changes nothing.
    """
    access, holding = facts.access, facts.holding
    if not facts.available:
        return _grant(request, Attestation.C, Reason.REGISTRY_UNAVAILABLE, request.origid)
    if access is not None and facts.suspended:
        return _refuse(Reason.SUBJECT_SUSPENDED, f"subject {access.subject}")
    if holding is not None and holding.use is Use.DO_NOT_ORIGINATE:
        return _refuse(Reason.DO_NOT_ORIGINATE, f"the number is held by {holding.subject}")
    if access is None:
        return _grant(request, Attestation.C, Reason.ACCESS_UNKNOWN, request.origid)
    if holding is None:
        reason = (
            Reason.DISPLAY_UNKNOWN if isinstance(request.orig, TN) else Reason.ORIG_NOT_A_NUMBER
        )
        return _grant(request, Attestation.B, reason, access.origid)
    if holding.subject != access.subject:
        return _refuse(
            Reason.DISPLAY_OF_ANOTHER,
            f"access {access.id} is of subject {access.subject}, who does not hold the number",
        )
    if holding.verification is not Verification.VERIFIED:
        return _refuse(
            Reason.HOLDING_UNVERIFIED,
            f"subject {holding.subject}: verification {holding.verification.value}",
        )
    return _grant(request, Attestation.A, Reason.HELD_AND_VERIFIED, access.origid)


def _grant(
    request: SigningRequest, ceiling: Attestation, reason: Reason, origid: str | None
) -> Decision:
    asked = request.attest
    if asked is not None and asked.value > ceiling.value:
        return Decision(
            asked,
            Reason.ASKED_FOR_LESS,
            f"{asked.value} asked for; {ceiling.value} was possible: {reason.text}",
            origid,
        )
    detail = reason.text
    if asked is not None and asked is not ceiling:
        detail = f"{asked.value} asked for, {ceiling.value} given: {reason.text}"
    return Decision(ceiling, reason, detail, origid)


def _refuse(reason: Reason, detail: str) -> Decision:
    return Decision(None, reason, f"{reason.text}: {detail}", None)
