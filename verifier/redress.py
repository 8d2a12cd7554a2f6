"""Whom to write to about a rejected call: the contact of a 608 as signed jCard (RFC 8688).

RFC 8688 section 3.1: an intermediary that answers 608 includes a Call-Info header field with
purpose=jwscard, whose URI leads to a JWS with a jCard, unless there are signs that the caller
would misuse the contact. Section 6 counts as such a caller one whose request did not pass
validation by STIR. So the field is for calls whose signature verified, and a service without a
contact does not answer 608 at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from zhenxian.certs.keys import Credential
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import SipStatus
from zhenxian.passport.json import dumps
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.verifier.verdict import Check, Verdict

TYPE: Final = "vcard+json"  # RFC 8688 section 3.2.1


class Contact(Struct, frozen=True, kw_only=True):
    """Who rejects calls here, and how they are reached; texts as they are shown to people.

    Attributes:
        organisation: its name, the jCard's FN and ORG.
        phone: a number with "+" and country code.
        address: a postal address on one line.
        language: BCP 47 tag of the name and of the people who answer.

    Raises:
        ConfigError: there is no name, or no way to reach them (RFC 8688 section 3.2.2).
    """

    organisation: str
    phone: str | None = None
    email: str | None = None
    url: str | None = None
    address: str | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        if not self.organisation:
            raise ConfigError("a redress contact has an organisation")
        if not (self.phone or self.email or self.url or self.address):
            raise ConfigError("a redress contact has a phone, an email, a url or an address")

    def jcard(self) -> list[Any]:
        """The contact as jCard (RFC 7095 section 3, properties of RFC 6350)."""
        language = {"language": self.language} if self.language else {}
        properties: list[list[Any]] = [
            ["version", {}, "text", "4.0"],
            ["kind", {}, "text", "org"],
            ["fn", language, "text", self.organisation],
            ["org", language, "text", self.organisation],
        ]
        if self.phone:
            properties.append(["tel", {"type": ["work", "voice"]}, "uri", f"tel:{self.phone}"])
        if self.email:
            properties.append(["email", {"type": "work"}, "text", self.email])
        if self.url:
            properties.append(["url", {"type": "work"}, "uri", self.url])
        if self.address:
            unstructured = ["", "", "", "", "", "", ""]  # RFC 7095 section 3.3.1.3
            properties.append(["adr", {"label": self.address}, "text", unstructured])
        if self.language:
            properties.append(["lang", {}, "language-tag", self.language])
        return ["vcard", properties]


def sign_contact(contact: Contact, credential: Credential, iat: int) -> bytes:
    """The contact as compact JWS (RFC 8688 section 3.2).

    Args:
        iat: seconds since the epoch. A UAC takes one that is about a minute old for a replay
            (section 3.3), so it is the time somebody asks for the JWS, or shortly before.
    """
    header = b64url_encode(dumps({"alg": "ES256", "typ": TYPE, "x5u": credential.x5u}))
    payload = b64url_encode(dumps({"iat": iat, "jcard": contact.jcard()}))
    signature = credential.key.sign(header + b"." + payload)
    return Token(header, payload, b64url_encode(signature)).dumps()


def call_info(uri: str) -> str:
    """The Call-Info header field value that leads to the JWS (RFC 8688 section 3.1)."""
    return f"<{uri}>;purpose=jwscard"


class Rejection(Struct, frozen=True):
    """How a call is answered whose verdict's SIP status is 608.

    603 is for a service without a contact: a 608 would promise redress that is not there, and
    607 is the called party's word (RFC 8197 section 3), said where its refusal is on record only.

    Attributes:
        status: REJECTED or DECLINE.
        call_info: header field value that goes with REJECTED.
    """

    status: SipStatus = SipStatus.DECLINE
    call_info: str | None = None

    def of(self, sip: SipStatus) -> SipStatus:
        """The SIP status to answer with, from the one in the table of reasons."""
        return self.status if sip is SipStatus.REJECTED else sip

    def status_for(self, verdict: Verdict) -> SipStatus:
        """What the call is answered; 608 goes with its contact or not at all."""
        status = self.of(verdict.sip)
        alone = status is SipStatus.REJECTED and self.contact_for(verdict) is None
        return SipStatus.DECLINE if alone else status

    def answer(self, verdict: Verdict) -> tuple[SipStatus, str | None]:
        """What a SIP response says of the verdict, and the Call-Info value that goes with it."""
        return self.status_for(verdict), self.contact_for(verdict)

    def contact_for(self, verdict: Verdict) -> str | None:
        """The Call-Info value that goes with the verdict; None when it is not to be given."""
        if self.of(verdict.sip) is not SipStatus.REJECTED or verdict.decisive is None:
            return None
        genuine: Sequence[Check] = verdict.decisive.passed
        return self.call_info if Check.SIGNATURE in genuine else None
