"""What a proxy asks to have signed, as a frozen value."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination
from zhenxian.passport.ppt.shaken import Attestation


class Forwarding(Struct, frozen=True, kw_only=True):
    """What a call that is forwarded brings with it (RFC 8946).

    Attributes:
        identities: Identity header field values as received, unparsed.
        diverting: who forwards, by Diversion, History-Info or the proxy; None when not told.
        hi: index of its entry in History-Info, as the div token is to have it.
        iat: that of the div; None keeps the original's while it is fresh (RFC 8946 section 3).
        call_id: the SIP Call-ID; lets a repeated question be told from a second call.
        ppt: "div" or "div-o" where the answer must be one; None for what can be had: a div where
            what was received proves that the call is forwarded, else what any other call gets.
    """

    identities: tuple[str, ...] = ()
    diverting: TN | URI | None = None
    hi: str | None = None
    iat: int | None = None
    call_id: str | None = None
    ppt: str | None = None

    @property
    def provable(self) -> bool:
        """True when there is something to look at, or a div is asked for all the same."""
        return bool(self.identities) or self.ppt is not None


class SigningRequest(Struct, frozen=True, gc=False):
    """One call to be signed (ATIS-1000082, 3GPP TS 24.229 Annex V).

    Attributes:
        orig: the display: the number or address the callee is to see.
        iat: seconds since the epoch; 0 where a forwarded call tells none.
        attest: the most the proxy asks for; None asks for whatever the registry proves.
        origid: as the proxy gives it; replaced by the access's own where the access is known.
        access: the proxy's name for the access the call came in by; None when it names none.
        caller: the caller's own number where the display is a privacy number; None otherwise.
        extension: what the caller dialled after a privacy number (AXE); empty for nothing.
        purpose: why it calls, as stated to us alone; None when it is not stated.
        crn: why it calls, as the token is to state it (RFC 9795).
        unread: what of the caller could not be read, as a sentence, in a call for help that goes
            on as one of nobody; None for all others.
        forwarded: what says that the call is forwarded; None for all others.
        target: who the Request-URI names, where a proxy tells it beside `dest`.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    orig: TN | URI
    dest: Destination
    iat: int
    attest: Attestation | None = None
    origid: str | None = None
    access: str | None = None
    caller: TN | None = None
    extension: str = ""
    purpose: str | None = None
    crn: str | None = None
    unread: str | None = None
    forwarded: Forwarding | None = None
    target: TN | URI | None = None
