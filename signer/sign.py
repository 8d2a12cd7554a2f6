"""From a decision to an Identity header (RFC 8224 section 6.1, RFC 8588)."""

from __future__ import annotations

import uuid
from functools import lru_cache

from msgspec import Struct

from zhenxian.certs.keys import Credential
from zhenxian.passport.claims import Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest


class SignedHeader(Struct, frozen=True):
    """A signed call: the Identity header field value and the token's claims."""

    identity: str
    passport: PASSporT


@lru_cache(maxsize=16)
def _header(x5u: str) -> tuple[Header, bytes]:
    """The header of all tokens one credential signs, as value and as base64url segment."""
    header = Header(x5u, "shaken")
    return header, b64url_encode(header.dumps())


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
    header, header_segment = _header(credential.x5u)
    passport = PASSporT(
        header,
        request.orig,
        request.dest,
        request.iat,
        Shaken(decision.attest, decision.origid or unknown_origid(credential.spc), request.crn),
    )
    signing_input = header_segment + b"." + b64url_encode(passport.payload())
    signature = b64url_encode(credential.key.sign(signing_input))
    token = Token(header_segment, signing_input[len(header_segment) + 1 :], signature)
    return SignedHeader(IdentityHeader(token, credential.x5u, "ES256", "shaken").dumps(), passport)
