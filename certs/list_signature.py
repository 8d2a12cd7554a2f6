"""Checking the signature of a revocation list over the octets that were read (RFC 5280, 5.1.1).

The library's own check writes the list again: of 150,000 entries in 50 ms, for each who may have
signed it, in one piece and while calls wait. Here the octets are hashed once, when they are read.
"""

from __future__ import annotations

import itertools
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from msgspec import Struct
from pyasn1.codec.der import decoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import univ

from zhenxian.certs.reading import UNREADABLE

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    known.name: known
    for known in (
        hashes.SHA256(),
        hashes.SHA384(),
        hashes.SHA512(),
        hashes.SHA224(),
        hashes.SHA1(),  # noqa: S303 -- of lists that are signed so; what is taken is decided elsewhere
        hashes.MD5(),  # noqa: S303
        hashes.SHA3_224(),
        hashes.SHA3_256(),
        hashes.SHA3_384(),
        hashes.SHA3_512(),
    )
}
_LONGEST_SALT: Final = 2_048  # octets: the largest key that the library takes has so many
_PARTS: Final = 3  # of a list: what is signed, by which algorithm, and the signature


class _Parts(univ.SequenceOf):  # type: ignore[misc]
    """A SEQUENCE, its parts left as they are written."""

    componentType = univ.Any()  # noqa: N815 -- pyasn1's name


class Padded(Struct, frozen=True):
    """How an RSA signature is padded: PKCS #1 v1.5 without a mask, PSS with one (RFC 8017).

    Attributes:
        mask: the hash of its mask. salt: octets.
    """

    mask: str = ""
    salt: int = 0

    def padding(self) -> padding.PKCS1v15 | padding.PSS:
        """As the library has it."""
        if not self.mask:
            return padding.PKCS1v15()
        return padding.PSS(padding.MGF1(_HASHES[self.mask]), self.salt)


class ListSignature(Struct, frozen=True):
    """A list's signature, and the hash of what it is over.

    Attributes:
        hashed: what hash it is.
        padded: None for ECDSA.
    """

    signature: bytes
    digest: bytes
    hashed: str
    padded: Padded | None

    def made_by(self, key: object) -> bool:
        """True when the key made it, and is one of ECDSA or RSA."""
        how = Prehashed(_HASHES[self.hashed])
        try:
            if isinstance(key, EllipticCurvePublicKey) and self.padded is None:
                key.verify(self.signature, self.digest, ECDSA(how))
            elif isinstance(key, RSAPublicKey) and self.padded is not None:
                key.verify(self.signature, self.digest, self.padded.padding(), how)
            else:
                return False
        except (InvalidSignature, *UNREADABLE):
            return False
        return True


def list_signature(crl: x509.CertificateRevocationList, der: bytes) -> ListSignature | None:
    """The signature of a list that was read from these octets; None when nobody can have made it.

    So it is where the algorithm is not supported. The library has seen that the one beside what is
    signed is the one within (RFC 5280 section 5.1.1.2).
    """
    try:
        hashed, parameters = crl.signature_hash_algorithm, crl.signature_algorithm_parameters
        parts, rest = decoder.decode(der, asn1Spec=_Parts())
    except (PyAsn1Error, *UNREADABLE):
        return None
    if rest or len(parts) != _PARTS or hashed is None or hashed.name not in _HASHES:
        return None
    padded = None if isinstance(parameters, ECDSA) else _padded(parameters, hashed)
    if padded is None and not isinstance(parameters, ECDSA):
        return None
    digest = hashes.Hash(hashed)
    digest.update(bytes(parts[0]))
    return ListSignature(crl.signature, digest.finalize(), hashed.name, padded)


def _padded(parameters: object, hashed: hashes.HashAlgorithm) -> Padded | None:
    """The padding in plain values; None when it is none of RSA's.

    The library does not tell a mask's hash or a salt's length, but whether two are equal.
    """
    usual = Padded(hashed.name, hashed.digest_size)
    others = itertools.starmap(Padded, itertools.product(_HASHES, range(_LONGEST_SALT + 1)))
    known = itertools.chain((Padded(), usual), others)
    return next((each for each in known if each.padding() == parameters), None)
