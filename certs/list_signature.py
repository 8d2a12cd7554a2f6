"""Checking the signature of a revocation list over the octets that were read (RFC 5280, 5.1.1).

The library's own check writes the list again: of 150,000 entries in 50 ms, for each who may have
signed it, in one piece and while calls wait. Here the octets are hashed once, when they are read.
"""

from __future__ import annotations

from typing import Final, TypeAlias

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

_Parameters: TypeAlias = ECDSA | padding.PKCS1v15 | padding.PSS

_PARTS: Final = 3  # of a list: what is signed, by which algorithm, and the signature


class _Parts(univ.SequenceOf):  # type: ignore[misc]
    """A SEQUENCE, its parts left as they are written."""

    componentType = univ.Any()  # noqa: N815 -- pyasn1's name


class ListSignature(Struct, frozen=True):
    """A list's signature, and the hash of what it is over.

    Attributes:
        parameters: those of the algorithm that the list names.
    """

    signature: bytes
    digest: bytes
    hashed: hashes.HashAlgorithm
    parameters: _Parameters

    def made_by(self, key: object) -> bool:
        """True when the key made it, and is one of ECDSA or RSA."""
        how = Prehashed(self.hashed)
        try:
            if isinstance(key, EllipticCurvePublicKey) and isinstance(self.parameters, ECDSA):
                key.verify(self.signature, self.digest, ECDSA(how))
            elif isinstance(key, RSAPublicKey) and not isinstance(self.parameters, ECDSA):
                key.verify(self.signature, self.digest, self.parameters, how)
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
    if rest or len(parts) != _PARTS or hashed is None or not isinstance(parameters, _Parameters):
        return None
    digest = hashes.Hash(hashed)
    digest.update(bytes(parts[0]))
    return ListSignature(crl.signature, digest.finalize(), hashed, parameters)
