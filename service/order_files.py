"""The files of who may give orders, and of the nodes that acknowledge them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError, shown
from zhenxian.passport.jws import VerifyingKey
from zhenxian.passport.words import said
from zhenxian.registry.model import TargetKind
from zhenxian.registry.node_key import Pins
from zhenxian.registry.orders import Issuer

_PEM: Final = "-----BEGIN "
_MEMBERS: Final = frozenset({"name", "key", "may"})  # of an issuer's entry
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # base64url of 32 octets


def load_issuers(path: Path | None) -> dict[str, Issuer]:
    """Read who may give orders: TOML, [[issuer]] with name, key and may.

    `key` is a PEM file, sought from the file's folder, or the PEM itself, or a list of these.
    `may` lists target kinds; without it the issuer may stop all. No file: nobody may.

    Raises:
        ConfigError: names the entry.
    """
    if path is None:
        return {}
    try:
        entries = tomllib.loads(octets_of(path).decode()).get("issuer", [])
    except OSError as error:
        raise ConfigError(f"issuers {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"issuers {path}: {error}") from None
    if not isinstance(entries, list):
        raise ConfigError(f"issuers {path}: entries begin with [[issuer]]")
    issuers: dict[str, Issuer] = {}
    for number, entry in enumerate(entries, 1):
        try:
            issuer = _issuer(entry, path.parent)
        except ConfigError as error:
            raise ConfigError(f"issuers {path}, entry {number}: {error}") from None
        if issuer.name in issuers:
            raise ConfigError(f"issuers {path}, entry {number}: {issuer.name} stands twice")
        issuers[issuer.name] = issuer
    return issuers


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
        entries = tomllib.loads(octets_of(path).decode()).get("node", [])
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


def _issuer(entry: Any, folder: Path) -> Issuer:
    if not isinstance(entry, dict):
        raise ConfigError("a table expected")
    unknown = entry.keys() - _MEMBERS
    if unknown:
        raise ConfigError(f"{', '.join(sorted(unknown))}: not known here")
    name, keys, may = entry.get("name"), entry.get("key"), entry.get("may", list(TargetKind))
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(name, str) or not name:
        raise ConfigError("name: text expected")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise ConfigError("key: a PEM file, a PEM text, or a list of these expected")
    kinds = [kind.value for kind in TargetKind]
    if not isinstance(may, list) or not all(kind in kinds for kind in may):
        raise ConfigError(f"may: a list of {', '.join(kinds)} expected, not {shown(may)}")
    return Issuer(
        name,
        tuple(_public_key(key, folder) for key in keys),
        frozenset(TargetKind(kind) for kind in may),
    )


def _public_key(text: str, folder: Path) -> VerifyingKey:
    inline = text.lstrip().startswith(_PEM)
    name = "key" if inline else str(folder / text)
    try:
        pem = text.encode() if inline else octets_of(folder / text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {said(error)}") from None
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ConfigError(f"{name}: not a P-256 public key in PEM form")
    return VerifyingKey(key)
