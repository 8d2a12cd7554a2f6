"""A node's own key: it signs the node's acknowledgements of orders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from msgspec import Struct

from zhenxian.core.errors import ConfigError
from zhenxian.passport.jws import SigningKey, VerifyingKey, b64url_encode
from zhenxian.registry.model import Order
from zhenxian.registry.orders import Acknowledgement, order_digest, sign_acknowledgement

Pins: TypeAlias = Mapping[str, frozenset[str]]  # thumbprints of the keys of each node, by its name


class NodeKey(Struct, frozen=True):
    """Name and key of a node.

    Attributes:
        jwk: the public key as JSON (RFC 7517). thumbprint: of RFC 7638, base64url.
    """

    name: str
    key: SigningKey
    jwk: str
    thumbprint: str

    @classmethod
    def of(cls, name: str, pem: bytes) -> NodeKey:
        """The node's key from its PEM. Raises ConfigError: it is no P-256 key."""
        key = SigningKey.from_pem(pem)
        return cls(name, key, _jwk(key.verifying_key), thumbprint(key.verifying_key))

    def acknowledge(self, order: Order, since_ms: int, cursor: int) -> str:
        """Sign that an order, or its lifting, is in force here."""
        return sign_acknowledgement(
            Acknowledgement(
                order=order.id,
                digest=order_digest(order),
                node=self.name,
                since=since_ms,
                cursor=cursor,
            ),
            self.key,
            self.thumbprint,
        )


def public_key(jwk: str) -> VerifyingKey:
    """The key of a node's JWK. Raises ConfigError."""
    try:
        members = json.loads(jwk)
        key = ECAlgorithm.from_jwk(members) if isinstance(members, dict) else None
    except (InvalidKeyError, ValueError, TypeError):
        raise ConfigError("not a key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError("not a public key")
    return VerifyingKey(key)


def thumbprint(key: VerifyingKey) -> str:
    """The key's thumbprint: base64url of the SHA-256 of its JWK (RFC 7638 section 3)."""
    return b64url_encode(hashlib.sha256(_jwk(key).encode()).digest()).decode()


def _jwk(key: VerifyingKey) -> str:
    """The members RFC 7638 section 3.2 requires, in its order, without white space."""
    public = load_pem_public_key(key.public_pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return json.dumps(members, sort_keys=True, separators=(",", ":"))
