"""From a decision to an Identity header (RFC 8224 section 6.1, RFC 8588, RFC 8946)."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Final

from msgspec import Struct

from zhenxian.certs.keys import Credential
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.passport.ppt.div import Div
from zhenxian.passport.ppt.div_o import DivO
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest

_EMPTY: Final = Token(b"", b"", b"")


class SignedHeader(Struct, frozen=True, gc=False):
    """A signed call: the Identity header field value and the token's claims."""

    identity: str
    passport: PASSporT


class _Frame(Struct, frozen=True):
    """What stands around the claims of a header field value.

    Attributes:
        segment: `header` in base64url, with the full stop behind it.
        parameters: what stands behind the token.
    """

    header: Header
    segment: bytes
    parameters: str


@lru_cache(maxsize=16)
def _frame(x5u: str, ppt: str = "shaken") -> _Frame:
    """What is the same in all header field values of a type that one credential signs."""
    header = Header(x5u, ppt)
    segment = b64url_encode(header.dumps()) + b"."
    unsigned = IdentityHeader(_EMPTY, x5u, "ES256", ppt).dumps()
    return _Frame(header, segment, unsigned.removeprefix(".."))


@lru_cache(maxsize=16)
def unknown_origid(spc: str | None) -> str:
    """The origid of traffic whose access is unknown and unnamed: one stable UUID per SPC."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:stir:spc:{spc or ''}"))


def sign(request: SigningRequest, decision: Decision, credential: Credential) -> SignedHeader:
    """Sign what was decided.

    1. The claims: attest and origid of the decision; orig, dest, iat and crn of the request.
    2. The token: deterministic JSON (RFC 8225 section 9), ES256.
    3. The Identity header in full form (RFC 8588 section 6), info equal to x5u.

    Raises:
        RuntimeError: the decision is a refusal; callers answer those, they never sign them.
    """
    if decision.attest is None:
        raise RuntimeError("a refusal is not signed")
    frame = _frame(credential.x5u)
    passport = PASSporT(
        frame.header,
        request.orig,
        request.dest,
        request.iat,
        Shaken(decision.attest, decision.origid or unknown_origid(credential.spc), request.crn),
    )
    return _sealed(passport, frame, credential)


def sign_diversion(
    original: PASSporT, extension: Div, dest: Destination, iat: int, credential: Credential
) -> SignedHeader:
    """Sign that a call was diverted (RFC 8946 section 3).

    1. The claims: orig of the original; div and, in a div-o, opt; the new destination as dest.
       Nothing else is copied.
    2. The token and the Identity header as of `sign`, in full form.
    """
    ppt = "div-o" if isinstance(extension, DivO) else "div"
    frame = _frame(credential.x5u, ppt)
    passport = PASSporT(frame.header, original.orig, dest, iat, extension)
    return _sealed(passport, frame, credential)


def _sealed(passport: PASSporT, frame: _Frame, credential: Credential) -> SignedHeader:
    signing_input = frame.segment + b64url_encode(passport.payload())
    token = b"%b.%b" % (signing_input, b64url_encode(credential.key.sign(signing_input)))
    return SignedHeader(token.decode("ascii") + frame.parameters, passport)
