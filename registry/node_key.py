"""A node's own key: it signs the node's acknowledgements of orders."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from msgspec import Struct

from zhenxian.core.errors import ConfigError
from zhenxian.passport.jws import SigningKey, VerifyingKey, b64url_encode
from zhenxian.passport.words import said
from zhenxian.registry.model import Order
from zhenxian.registry.orders import Acknowledgement, order_digest, sign_acknowledgement

_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # base64url of 32 octets

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


def load_pins(path: Path | None) -> Pins | None:
    """Read which nodes there are, and the keys they sign acknowledgements with.

    TOML: [[node]] with name and key, a thumbprint or a list of these (the old one beside the new
    one while a key is replaced). None without a file: no node's key is known beforehand.

    Raises:
        ConfigError: names the entry.
    """
    if path is None:
        return None
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("node", [])
    except (OSError, ValueError) as error:
        raise ConfigError(f"nodes {path}: {said(error)}") from None
    pins: dict[str, frozenset[str]] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        keys = entry.get("key") if isinstance(entry, dict) else None
        keys = [keys] if isinstance(keys, str) else keys
        if not isinstance(name, str) or not name or name in pins or len(entry) != 2:
            raise ConfigError(f"nodes {path}, entry {number}: name (of its own) and key expected")
        if (
            not isinstance(keys, list)
            or not keys
            or not all(isinstance(key, str) and _THUMBPRINT.match(key) for key in keys)
        ):
            raise ConfigError(
                f"nodes {path}, entry {number}: key: a thumbprint of `zhenxian fleet node`, or a"
                " list of these, expected"
            )
        pins[name] = frozenset(keys)
    return pins


def _jwk(key: VerifyingKey) -> str:
    """The members RFC 7638 section 3.2 requires, in its order, without white space."""
    public = load_pem_public_key(key.public_pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return json.dumps(members, sort_keys=True, separators=(",", ":"))
