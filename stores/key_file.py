"""The file of a node's key: made on first use, of mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.registry.node_key import NodeKey


def load_node_key(path: Path, name: str) -> NodeKey:
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
    return NodeKey.of(name, pem)


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
