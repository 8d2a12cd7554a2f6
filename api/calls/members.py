"""The members of both dialects' request bodies, as msgspec reads them and the schema shows them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from zhenxian.passport.claims import MAX_IAT
from zhenxian.passport.ppt.div import MAX_HI
from zhenxian.passport.ppt.shaken import MAX_CRN_LENGTH, Attestation

MAX_TEXT: Final = 128  # characters of names that are echoed or looked up
Seconds = Annotated[int, Meta(ge=0, le=MAX_IAT)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
CallId = Annotated[str, Meta(min_length=1)]  # of any length: RFC 3261 section 25.1 has no bound
Purpose = Annotated[str, Meta(min_length=1, max_length=MAX_CRN_LENGTH)]
Hi = Annotated[str, Meta(min_length=1, max_length=MAX_HI)]
Digits = Annotated[str, Meta(pattern=r"^[0-9*#]{1,16}$")]

# The schema alone names these values: the readers below check them, with errors of their own.
Level = Annotated[str, Meta(title="Attestation", extra_json_schema={"enum": list(Attestation)})]
Type = Annotated[str, Meta(title="Ppt", extra_json_schema={"enum": ["shaken", "div", "div-o"]})]


class Party(Struct, forbid_unknown_fields=True):
    """An identity or several: ATIS gives lists where 3GPP gives one."""

    tn: str | list[str] | None = None
    uri: str | list[str] | None = None


class Diverting(Struct, forbid_unknown_fields=True):
    """Who forwards (3GPP): the Request-URI before, and its index in History-Info."""

    tn: str | None = None
    uri: str | None = None
    hi: Hi | None = None


class SigningMembers(Struct, forbid_unknown_fields=True, kw_only=True):
    """Members of signingRequest.

    `access`, `caller`, `extension`, `purpose`, `crn`, `callId`, `diversion`, `requestUri` and the
    Identity header field values that a forwarded call came with are ours; the rest of dialects.
    """

    orig: Party
    dest: Party
    attest: Level | None = None
    iat: Seconds | None = None
    origid: str | None = None
    ppt: Type | None = None
    profileId: Name | None = None  # noqa: N815, as the dialect spells it
    requestId: Name | None = None  # noqa: N815
    div: Diverting | None = None
    rph: Any = None
    sph: Any = None
    access: Name | None = None
    caller: Party | None = None
    extension: Digits | None = None
    purpose: Purpose | None = None
    crn: Purpose | None = None
    identity: str | list[str] | None = None
    identityHeader: str | None = None  # noqa: N815
    identityHeaders: list[str] | None = None  # noqa: N815
    diversion: str | list[str] | None = None
    requestUri: Party | None = None  # noqa: N815
    callId: CallId | None = None  # noqa: N815


class SigningBody(Struct, forbid_unknown_fields=True):
    """The body of a signing request."""

    request: SigningMembers = field(name="signingRequest")


class VerificationMembers(Struct, forbid_unknown_fields=True, kw_only=True):
    """Members of verificationRequest. `callId`, `purpose`, `explain` are ours."""

    from_: Party = field(name="from")
    to: Party
    time: Seconds | None = None
    identity: str | list[str] | None = None
    identityHeader: str | None = None  # noqa: N815
    identityHeaders: list[str] | None = None  # noqa: N815
    dest: Party | None = None
    protectedHeaders: str | list[str] | None = None  # noqa: N815
    profileId: Name | None = None  # noqa: N815
    requestId: Name | None = None  # noqa: N815
    displayName: Name | None = None  # noqa: N815
    callId: CallId | None = None  # noqa: N815
    purpose: Purpose | None = None
    explain: bool = False


class VerificationBody(Struct, forbid_unknown_fields=True):
    """The body of a verification request."""

    request: VerificationMembers = field(name="verificationRequest")


class RenamedMembers(Struct, forbid_unknown_fields=True, kw_only=True):
    """Members of verificationRequest as clients have them that name them as the token does.

    `orig`, `dest` and `iat` are the call's, and stand for `from`, `to` and `time`, all three.
    """

    orig: Party
    dest: Party
    iat: Seconds
    identity: str | list[str] | None = None
    requestId: Name | None = None  # noqa: N815
    callId: CallId | None = None  # noqa: N815
    explain: bool = False


class RenamedBody(Struct, forbid_unknown_fields=True):
    """The body of such a verification request."""

    request: RenamedMembers = field(name="verificationRequest")
