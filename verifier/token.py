"""From a screened token to a verified one: the only step that makes a VerifiedPASSporT."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from zhenxian.certs.chain import Chain, TrustedSigner
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import VerifyingKey, b64url_decode
from zhenxian.verifier.replay import replay_key_of
from zhenxian.verifier.screen import Diverting, Screened
from zhenxian.verifier.verdict import Check, Refusal

_MADE_HERE: Final = object()

TOKEN_CHECKS = (Check.TNAUTHLIST, Check.CONSTRAINTS, Check.SIGNATURE)


class VerifiedPASSporT:
    """Claims whose certificate chain and signature were checked. Made by check_token alone.

    `orig` is as of Screened: who calls, by the number if the token writes it as a URI. `key` is
    what a replay of the token is known by (verifier.replay.replay_key).
    """

    __slots__ = ("header", "key", "orig", "passport", "signer")

    def __init__(
        self,
        header: IdentityHeader,
        passport: PASSporT,
        orig: TN | URI,
        key: bytes,
        signer: TrustedSigner,
        witness: object,
    ) -> None:
        if witness is not _MADE_HERE:
            raise RuntimeError("a VerifiedPASSporT is made by check_token alone")
        self.header = header
        self.passport = passport
        self.orig = orig
        self.key = key
        self.signer = signer


def signed_by(screened: Screened, chain: Chain) -> bool:
    """True when the chain's key signed the token, whatever else is against either."""
    token, key = screened.header.token, chain.certificates[0].public_key()
    try:
        return isinstance(key, EllipticCurvePublicKey) and VerifyingKey(key).verifies(
            token.signing_input, b64url_decode(token.signature, "signature")
        )
    except (ConfigError, ParseError):
        return False


def check_token(screened: Screened, signer: TrustedSigner) -> VerifiedPASSporT | Refusal:
    """Steps 8 and 9 of the procedure, in the order of TOKEN_CHECKS.

    Not checked here: the chain (the signer is the result of certs.chain.validate), freshness,
    and whether the token was seen before.
    """
    passport = screened.passport
    orig = passport.orig if isinstance(passport.orig, TN) else screened.orig
    if type(screened) is Diverting:  # it vouches for who diverts (RFC 8946 section 3)
        orig = screened.diverting
    if signer.spc is None and not (isinstance(orig, TN) and signer.tnauthlist.covers(orig)):
        return Refusal(
            Check.TNAUTHLIST,
            Reason.TNAUTHLIST_NOT_COVERED,
            f"{Reason.TNAUTHLIST_NOT_COVERED.text} (certificate {signer.subject})",
        )
    if signer.constraints:
        claims = passport.claims()
        for constraints in signer.constraints:
            violation = constraints.violation(claims)
            if violation is not None:
                return Refusal(Check.CONSTRAINTS, Reason.CLAIM_CONSTRAINED, violation)
    token = screened.header.token
    signature = b64url_decode(token.signature, "signature")
    hashed = sha256(token.signing_input)
    if not signer.key.verifies_digest(hashed.digest(), signature):
        return Refusal(Check.SIGNATURE, Reason.SIGNATURE_INVALID, Reason.SIGNATURE_INVALID.text)
    key = replay_key_of(hashed, signature)
    return VerifiedPASSporT(screened.header, passport, screened.orig, key, signer, _MADE_HERE)
