"""Whether a signing request is fresh: its iat within a window of now (RFC 8224 section 6.1)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zhenxian.core.reasons import Reason
from zhenxian.signer.request import SigningRequest

IAT_WINDOW: Final = 60  # seconds, as RFC 8224 section 6.1 step 3 recommends


class Unfit(Struct, frozen=True):
    """Why a request to sign is not decided at all.

    Attributes:
        where: the member of the request at fault; empty when it is none of them.
        detail: a sentence for people.
    """

    reason: Reason
    where: str
    detail: str


NOT_READY: Final = Unfit(Reason.NOT_READY, "", Reason.NOT_READY.text)


def screen(request: SigningRequest, now: int, iat_window: int = IAT_WINDOW) -> Unfit | None:
    """Refuse what is too old or of the future (RFC 8224 section 6.1 step 3); None when it is fresh.

    A verifier would refuse its token. And whoever kept a request could have it signed for ever.

    Args:
        now: seconds since the epoch.
        iat_window: seconds that iat may lie from now, either way.
    """
    iat = request.iat
    if abs(now - iat) <= iat_window:
        return None
    return Unfit(Reason.IAT_STALE, "iat", f"{iat} is not within {iat_window} s of now")
