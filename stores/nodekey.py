"""A node's own key: it signs the node's acknowledgements of orders."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from msgspec import Struct

from passport.errors import ConfigError, StoreUnavailableError
from passport.jws import SigningKey, VerifyingKey, b64url_encode
from registry.model import Order
from registry.orders import Acknowledgement, order_digest, sign_acknowledgement


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
    def load_or_create(cls, path: Path, name: str) -> NodeKey:
        """Read the key file, or make it: PEM, mode 0600.

        Raises:
            ConfigError: the file holds no P-256 key, or others may read it.
            StoreUnavailableError: it cannot be written.
        """
        try:
            if not path.exists():
                _create(path)
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{path} is readable by others: chmod 600 {path}")
            pem = path.read_bytes()
        except OSError as error:
            raise StoreUnavailableError(f"{path}: {error.strerror}") from None
        key = SigningKey.from_pem(pem)
        return cls(name, key, _jwk(key.verifying_key), thumbprint(key.verifying_key))

    def acknowledge(self, order: Order, since_ms: int, cursor: int) -> str:
        """Sign that an order, or its lifting, is in force here."""
        return sign_acknowledgement(
            Acknowledgement(order.id, order_digest(order), self.name, since_ms, cursor),
            self.key,
            self.thumbprint,
        )


def public_key(jwk: str) -> VerifyingKey:
    """The key of a node's JWK. Raises ConfigError."""
    try:
        members = json.loads(jwk)
        key = ECAlgorithm.from_jwk(members) if isinstance(members, dict) else None
    except (InvalidKeyError, ValueError, TypeError) as error:
        raise ConfigError(f"not a key: {error}") from None
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


def _create(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # the first of several processes wins
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
