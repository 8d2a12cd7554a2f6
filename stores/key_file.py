"""Files of keys: made on first use, whole at once, of mode 0600.

Workers that start at the same moment find none at the same moment: the first one's stays.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.registry.node_key import NodeKey

_OCTETS: Final = 32  # of a secret


def load_secret(path: Path) -> bytes:
    """The octets of a key file, which is made if there is none.

    Raises:
        ConfigError: the file is empty: what is hashed with nothing is no secret.
        StoreUnavailableError: it cannot be read or written.
    """
    try:
        if not path.exists():
            _create(path, secrets.token_bytes(_OCTETS))
        found = octets_of(path)
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error.strerror}") from None
    if not found:
        raise ConfigError(
            f"{path} is empty: put back what was in it, or remove it; then another is made, and"
            " what was hashed with the old one is not found again"
        )
    return found


def load_node_key(path: Path, name: str) -> NodeKey:
    """Read the key file, or make it: PEM, mode 0600.

    Raises:
        ConfigError: the file holds no P-256 key, or others may read it.
        StoreUnavailableError: it cannot be written.
    """
    try:
        if not path.exists():
            _create(path, _private_key())
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is readable by others: chmod 600 {path}")
        pem = octets_of(path)
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error.strerror}") from None
    return NodeKey.of(name, pem)


def _private_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _create(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)  # the first of several processes wins
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
