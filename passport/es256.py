"""The libraries that make and check ES256 signatures, behind one protocol (RFC 7518 section 3.4).

OpenSSL inside `cryptography` is always there. AWS-LC inside `awscrt` (the extra `aws-lc`) takes a
quarter less time, and is used where it is installed. Keys are read, and the curve is pinned, by
`cryptography` alone, whichever library computes. It also writes the DER form of signatures, since
awscrt writes a zero without octets, which no reader takes.

A private key that is kept elsewhere, as by PKCS#11, is another Signs: CKM_ECDSA takes the digest
and gives the raw form, too.

Which library computes is one choice for the process: no signature tells which one made it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from zhenxian.core.errors import ConfigError

SIGNATURE_LENGTH: Final = 64  # octets: R and S, 32 each
DIGEST_LENGTH: Final = 32  # octets of SHA-256
_HALF: Final = 32
_PREHASHED: Final = ECDSA(Prehashed(hashes.SHA256()))
_PROBE: Final = bytes(range(DIGEST_LENGTH))


class Signs(Protocol):
    """A private key on P-256, wherever it is kept."""

    def sign(self, digest: bytes) -> bytes:
        """The raw signature R || S, 64 octets, of a SHA-256 digest."""
        ...


class Verifies(Protocol):
    """A public key on P-256."""

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        """Tell whether 64 octets are the key's signature of a SHA-256 digest; never raises."""
        ...


class Library(Protocol):
    """What computes with keys that `cryptography` has read."""

    def signs(self, key: EllipticCurvePrivateKey) -> Signs:
        """The private key, ready to sign. Raises ConfigError where the library refuses it."""
        ...

    def verifies(self, key: EllipticCurvePublicKey) -> Verifies:
        """The public key, ready to verify. Raises ConfigError likewise."""
        ...

    def version(self) -> str:
        """What it is, for people."""
        ...


class Choice(str, Enum):
    """Which library computes; AUTO is AWS-LC where it is installed."""

    AUTO = "auto"
    OPENSSL = "openssl"
    AWS_LC = "aws-lc"


def _der(signature: bytes) -> bytes:
    first, second = signature[:_HALF], signature[_HALF:]
    return encode_dss_signature(int.from_bytes(first, "big"), int.from_bytes(second, "big"))


class _OpensslSigns:
    __slots__ = ("_key",)

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(digest, _PREHASHED))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


class _OpensslVerifies:
    __slots__ = ("_key",)

    def __init__(self, key: EllipticCurvePublicKey) -> None:
        self._key = key

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        if len(digest) != DIGEST_LENGTH or len(signature) != SIGNATURE_LENGTH:
            return False
        try:
            self._key.verify(_der(signature), digest, _PREHASHED)
        except InvalidSignature:
            return False
        return True


class OpenSsl:
    """OpenSSL, inside the `cryptography` package."""

    def signs(self, key: EllipticCurvePrivateKey) -> Signs:
        """As of Library."""
        return _OpensslSigns(key)

    def verifies(self, key: EllipticCurvePublicKey) -> Verifies:
        """As of Library."""
        return _OpensslVerifies(key)

    def version(self) -> str:
        """As of Library."""
        return f"{backend.openssl_version_text()} in cryptography"


class _Ec(Protocol):
    """awscrt.crypto.EC, as far as it is used here."""

    def sign(self, digest: bytes) -> bytes: ...

    def verify(self, digest: bytes, signature: bytes) -> bool: ...


class _AwsLcSigns:
    __slots__ = ("_key", "_raw")

    def __init__(self, key: _Ec, raw: Callable[[bytes, int], bytes]) -> None:
        self._key = key
        self._raw = raw

    def sign(self, digest: bytes) -> bytes:
        return self._raw(self._key.sign(digest), _HALF)


class _AwsLcVerifies:
    __slots__ = ("_key",)

    def __init__(self, key: _Ec) -> None:
        self._key = key

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        # It would cut a digest that is longer, and pad a shorter one.
        if len(digest) != DIGEST_LENGTH or len(signature) != SIGNATURE_LENGTH:
            return False
        try:
            return self._key.verify(digest, _der(signature)) is True
        except RuntimeError:
            return False


class AwsLc:
    """AWS-LC, inside the `awscrt` package. Raises ImportError where that is not installed."""

    def __init__(self) -> None:
        from awscrt import __version__, crypto  # noqa: PLC0415, it need not be installed

        self._ec = crypto.EC
        self._version = __version__

    def signs(self, key: EllipticCurvePrivateKey) -> Signs:
        """As of Library. The key signs once here, and `cryptography` must find that right."""
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        try:
            loaded = self._ec.new_key_from_der_data(der)
            signing = _AwsLcSigns(loaded, self._ec.decode_der_signature_to_padded_pair)
            signature = signing.sign(_PROBE)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"AWS-LC does not take the key: {error}") from None
        if not _OpensslVerifies(key.public_key()).verifies(_PROBE, signature):
            raise ConfigError("AWS-LC signs with another key than the one it was given")
        return signing

    def verifies(self, key: EllipticCurvePublicKey) -> Verifies:
        """As of Library. The point it holds must be the one that `cryptography` read."""
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            loaded = self._ec.new_key_from_der_data(der)
            point = loaded.get_public_coords()
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"AWS-LC does not take the key: {error}") from None
        numbers = key.public_numbers()
        if (int.from_bytes(point.x, "big"), int.from_bytes(point.y, "big")) != (
            numbers.x,
            numbers.y,
        ):
            raise ConfigError("AWS-LC holds another key than the one it was given")
        return _AwsLcVerifies(loaded)

    def version(self) -> str:
        """As of Library."""
        return f"AWS-LC in awscrt {self._version}"


@lru_cache
def _aws_lc() -> AwsLc | None:
    try:
        return AwsLc()
    except ImportError:
        return None


_openssl: Final = OpenSsl()
_chosen = Choice.AUTO


def use(choice: Choice) -> None:
    """Choose the library of keys that are made from now on. Raises ConfigError."""
    global _chosen  # noqa: PLW0603, one for the process
    if not available(choice):
        raise ConfigError(
            "server.es256 is aws-lc, which is not installed: pip install 'zhenxian[aws-lc]'"
        )
    _chosen = choice


def available(choice: Choice) -> bool:
    """True when it can be used."""
    return choice is not Choice.AWS_LC or _aws_lc() is not None


def library() -> Library:
    """The library in use."""
    found = _aws_lc() if _chosen is not Choice.OPENSSL else None
    return _openssl if found is None else found
