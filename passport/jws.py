"""JSON Web Signature, compact serialisation, ES256 only (RFC 7515, RFC 7518 section 3.4).

PyJWT's ES256 prepares keys and pins the curve; passport/es256.py computes, beside PyJWT, which
looks the curve up anew on every call (docs/decisions/0002-es256-in-the-hot-path.md). For the same
reason the input is hashed by hashlib: 1.4 us against 3.5 us for `cryptography` to do it.

Nonces are random, not the deterministic ones that RFC 8225 section 4 recommends:
two calls between the same numbers in one second have equal claims, and only a random nonce makes
them two tokens instead of one token and its replay (RFC 8224 section 12.1).
"""

from __future__ import annotations

import binascii
from hashlib import sha256
from typing import Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from msgspec import Struct

from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.passport.es256 import SIGNATURE_LENGTH, library

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # "!" is refused by the decoder
_PADDING: Final = (b"", b"===", b"==", b"=")
_LAST: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")  # a last character without unused bits
_ES256: Final = ECAlgorithm(ECAlgorithm.SHA256, SECP256R1)


def b64url_encode(data: bytes) -> bytes:
    """Write base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def b64url_decode(text: bytes, where: str) -> bytes:
    """Decode base64url without padding; only the one canonical spelling is accepted.

    Padding, "+" and "/", white space, and bits after the last octet are refused: two spellings
    of one token would pass for two tokens.

    Raises:
        ParseError: TOKEN_BASE64 (438).
    """
    excess = len(text) % 4
    if excess and text[-1] not in _LAST[excess]:
        raise ParseError(Reason.TOKEN_BASE64, where)
    try:
        return binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[excess], strict_mode=True)
    except binascii.Error:
        raise ParseError(Reason.TOKEN_BASE64, where) from None


class Token(Struct, frozen=True, gc=False):
    """The three segments of a compact JWS, still in base64url; syntax known, nothing believed."""

    header: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: bytes) -> Token:
        """Split "header.payload.signature" (RFC 7515 section 3.1); segments may be empty.

        Raises:
            ParseError: TOKEN_SYNTAX (438).
        """
        segments = text.split(b".")
        if len(segments) != 3:
            raise ParseError(
                Reason.TOKEN_SYNTAX, "token", f"{len(segments)} segments instead of three"
            )
        return cls(*segments)

    @property
    def signing_input(self) -> bytes:
        """The octets that are signed (RFC 7515 section 5.1)."""
        return self.header + b"." + self.payload

    @property
    def signature_octets(self) -> bytes:
        """Decode the signature: 64 octets, R and S (RFC 7518 section 3.4).

        Raises:
            ParseError: TOKEN_BASE64, TOKEN_SIGNATURE_LENGTH (438).
        """
        octets = b64url_decode(self.signature, "signature")
        if len(octets) != SIGNATURE_LENGTH:
            raise ParseError(
                Reason.TOKEN_SIGNATURE_LENGTH, "signature", f"{len(octets)} octets instead of 64"
            )
        return octets

    def dumps(self) -> bytes:
        """Write the compact serialisation."""
        return b".".join((self.header, self.payload, self.signature))


class SigningKey:
    """A P-256 private key. Its repr never shows key material."""

    __slots__ = ("_public", "_signs")

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        """Take a key on P-256. Raises ConfigError."""
        self._signs = library().signs(_prepared(key))
        self._public = key.public_key()

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Read an unencrypted PEM private key. Raises ConfigError."""
        try:
            key = _ES256.prepare_key(pem)
        except (ValueError, TypeError, InvalidKeyError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ConfigError("the file holds no unencrypted P-256 private key in PEM form")
        return cls(key)

    @property
    def verifying_key(self) -> VerifyingKey:
        """The public half."""
        return VerifyingKey(self._public)

    def sign(self, signing_input: bytes) -> bytes:
        """Return the raw ES256 signature R || S, 64 octets (RFC 7518 section 3.4)."""
        return self._signs.sign(sha256(signing_input).digest())


class VerifyingKey:
    """A P-256 public key.

    Attributes:
        public_bytes: SubjectPublicKeyInfo in DER, to compare keys by.
    """

    __slots__ = ("_verifies", "public_bytes")

    def __init__(self, key: EllipticCurvePublicKey) -> None:
        """Take a key on P-256. Raises ConfigError."""
        self._verifies = library().verifies(_prepared(key))
        # Not the key itself: signers are remembered by the thousand, and a key takes kilobytes.
        self.public_bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM."""
        key = load_der_public_key(self.public_bytes)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Tell whether the 64 octets are the key's ES256 signature of the input."""
        return self.verifies_digest(sha256(signing_input).digest(), signature)

    def verifies_digest(self, digest: bytes, signature: bytes) -> bool:
        """As `verifies`, of an input that is hashed already, with SHA-256."""
        return self._verifies.verifies(digest, signature)


_Key = TypeVar("_Key", EllipticCurvePrivateKey, EllipticCurvePublicKey)


def _prepared(key: _Key) -> _Key:
    try:
        _ES256.prepare_key(key)
    except (TypeError, InvalidKeyError):
        raise ConfigError("not a P-256 key") from None
    return key
