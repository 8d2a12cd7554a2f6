"""The usual body of either route, read by one function each: the short way into a call.

A proxy writes the same few members with every call. A body that has these, once each, and nothing
else is read here; of any other nothing is said but None, and api/calls/requests.py reads it, and
tells what is wrong with it. What is given here is what is given there, to the last member
(tests/unit/api/test_usual_bodies.py).

What is skipped here, because such a body cannot have it: lists for one text, URIs, numbers that
are withheld or hold * or #, Date header fields in place of seconds, callers and forwarding, what
TS 24.229 alone names; and the search for members that stand twice, which are counted instead.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field

from zhenxian.api.calls.duplicates import LEAST
from zhenxian.api.calls.members import CallId, Name, Seconds
from zhenxian.api.calls.requests import Dialect, Echo
from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.passport.claims import Destination
from zhenxian.passport.ppt.shaken import Attestation, parse_origid
from zhenxian.signer.request import SigningRequest
from zhenxian.verifier.request import VerificationRequest

_COLONS: Final = 7  # of the signing request below, without origid and access
_ROOM: Final = (  # octets beside the texts below which nothing stands twice, or besides
    len(
        b'{"verificationRequest":{"from":{"tn":""},"to":{"tn":""},"time":0123456789,"identity":""}}'
    )
    + LEAST
)
_CALL_ID: Final = len(b',"callId":""')
_DIGIT_FIRST: Final = frozenset("+0123456789")
_UNREAD: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ParseError)


class _One(Struct, forbid_unknown_fields=True, gc=False):
    tn: str


class _Called(Struct, forbid_unknown_fields=True, gc=False):
    tn: Annotated[list[str], Meta(min_length=1, max_length=1)]


class _Signing(Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    attest: Attestation
    orig: _One
    dest: _Called
    iat: Seconds
    origid: str | None = None
    access: Name | None = None


class _SigningBody(Struct, forbid_unknown_fields=True, gc=False):
    request: _Signing = field(name="signingRequest")


class _Verification(Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    from_: _One = field(name="from")
    to: _Called
    time: Annotated[int, Meta(ge=1_000_000_000, le=9_999_999_999)]  # ten digits
    identity: str
    callId: CallId | None = None  # noqa: N815, as the dialect spells it


class _VerificationBody(Struct, forbid_unknown_fields=True, gc=False):
    request: _Verification = field(name="verificationRequest")


_signing: Final = msgspec.json.Decoder(_SigningBody).decode
_verification: Final = msgspec.json.Decoder(_VerificationBody).decode
_ECHOES: Final = {dialect: Echo(dialect) for dialect in Dialect}


def usual_signing(
    body: bytes, configured: Dialect | None, reading: Reading
) -> tuple[SigningRequest, Echo] | None:
    """Read a usual signing request, as `read_signing` would; None leaves it to that."""
    try:
        members = _signing(body).request
        origid, access, shown = members.origid, members.access, members.orig.tn
        named = _COLONS + (origid is not None) + (access is not None)
        if body.count(b":") != named or named == _COLONS or shown[:1] not in _DIGIT_FIRST:
            return None
        if origid is not None:
            parse_origid(origid)
        orig = reading.number(shown, "orig.tn")
        if not orig.isdecimal():
            return None
        called = reading.number(members.dest.tn[0], "dest.tn")
    except _UNREAD:
        return None
    request = SigningRequest(
        orig, Destination((called,)), members.iat, members.attest, origid, access
    )
    return request, _ECHOES[configured or Dialect.ATIS]


def usual_verification(
    body: bytes, configured: Dialect | None, reading: Reading
) -> tuple[VerificationRequest, Echo] | None:
    """Read a usual verification request, as `read_verification` would; None leaves it to that."""
    try:
        members = _verification(body).request
        identity, shown, (to,) = members.identity, members.from_.tn, members.to.tn
        call_id = members.callId
        room = len(body) - len(identity) - len(shown) - len(to)
        if call_id is not None:
            room -= len(call_id) + _CALL_ID
        if room >= _ROOM or shown[:1] not in _DIGIT_FIRST or not identity.strip():
            return None
        orig = reading.number(shown, "from.tn")
        if not orig.isdecimal():
            return None
        called = reading.number(to, "to.tn")
    except _UNREAD:
        return None
    request = VerificationRequest(orig, (called,), members.time, (identity,), call_id)
    return request, Echo(configured or Dialect.ATIS, None, None, False, orig)
