"""API credentials: hashed keys in a file, roles, constant-time comparison.

A key is "zx_<id>_<secret>" with 256 bits of secret, so a plain SHA-256 of it resists guessing and
costs the call path one microsecond; a slow password hash would only slow the calls down.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import tomllib
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.dialects.bodies import Dialect
from passport.errors import ConfigError

_PREFIX: Final = "zx_"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32


class Role(str, Enum):
    """What a key may do. Every route names the roles that open it."""

    PROXY = "proxy"
    REGISTRAR = "registrar"
    PLATFORM = "platform"
    REGULATOR = "regulator"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class Principal(Struct, frozen=True):
    """Who asks: the key's id and name, its roles, and the dialect its client speaks.

    Attributes:
        subject: the subject a platform's key acts for; empty for none.
    """

    id: str
    name: str
    roles: frozenset[Role]
    dialect: Dialect | None = None
    subject: str = ""


class _Stored(Struct, frozen=True):
    digest: bytes
    principal: Principal


LOCAL: Final = Principal("local", "local", frozenset(Role))
_MTLS: Final = Principal("mtls", "client certificate", frozenset({Role.PROXY}))


class Authenticator:
    """Knows the keys of one file.

    Without a file everybody is LOCAL, which start-up permits on loopback only.
    """

    def __init__(self, path: Path | None, *, mtls: bool = False) -> None:
        """Raises ConfigError for a file that cannot be read or is readable by others."""
        self._path = path
        self._mtls = mtls
        self._stamp: object = None
        self._keys: dict[str, _Stored] = {}
        self.problem: str | None = None
        if path is not None:
            self._keys = load_keys(path)
            self._stamp = _stamp(path)

    @property
    def anonymous(self) -> bool:
        """True when callers need no credentials."""
        return self._path is None and not self._mtls

    def refresh(self) -> None:
        """Take over a changed file; a bad one leaves the keys before it in force."""
        if self._path is None:
            return
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._keys = load_keys(self._path)
                self._stamp = stamp
            self.problem = None
        except ConfigError as error:
            self.problem = str(error)

    def principal(self, authorization: bytes | None, api_key: bytes | None) -> Principal | None:
        """Who sent these header values; None for unknown or missing credentials.

        Accepted: "Authorization: Bearer KEY", "Authorization: Basic" with the key as password,
        and "X-API-Key: KEY".
        """
        if self._path is None:
            return _MTLS if self._mtls else LOCAL
        key = _presented(authorization, api_key)
        if key is None:
            return _MTLS if self._mtls else None
        stored = self._keys.get(key.split("_", 2)[1] if key.startswith(_PREFIX) else "")
        given = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        expected = stored.digest if stored is not None else bytes(32)
        if hmac.compare_digest(given, expected) and stored is not None:
            return stored.principal
        return None


def _presented(authorization: bytes | None, api_key: bytes | None) -> str | None:
    if api_key is not None:
        return api_key.decode("utf-8", "replace").strip()
    if authorization is None:
        return None
    scheme, _, value = authorization.decode("utf-8", "replace").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except ValueError:
            return None
        return decoded.partition(":")[2]
    return None


def _stamp(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"API keys {path}: {error.strerror}") from None
    if stat.st_mode & 0o077:
        raise ConfigError(f"API keys {path} are readable by others: chmod 600 {path}")
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def load_keys(path: Path) -> dict[str, _Stored]:
    """Read the key file. Raises ConfigError that names the entry."""
    _stamp(path)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("key", [])
    except (OSError, ValueError) as error:
        raise ConfigError(f"API keys {path}: {error}") from None
    keys: dict[str, _Stored] = {}
    for number, entry in enumerate(entries, 1):
        try:
            roles = frozenset(Role(role) for role in entry["roles"])
            dialect = Dialect(entry["dialect"]) if "dialect" in entry else None
            digest = bytes.fromhex(entry["sha256"])
            principal = Principal(
                entry["id"], entry["name"], roles, dialect, str(entry.get("subject", ""))
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"API keys {path}, entry {number}: {error!r}") from None
        if len(digest) != hashlib.sha256().digest_size or not roles:
            raise ConfigError(f"API keys {path}, entry {number}: sha256 or roles unusable")
        keys[principal.id] = _Stored(digest, principal)
    return keys


def add_key(
    path: Path,
    name: str,
    roles: Iterable[Role],
    dialect: Dialect | None = None,
    subject: str = "",
) -> str:
    """Make a key, append its hash to the file (mode 0600), and return the key: shown only once.

    Raises:
        ConfigError: the file cannot be written.
    """
    for text in (name, subject or "-"):
        if not text.isprintable() or '"' in text or "\\" in text or not text:
            raise ConfigError("name and subject are printable text without quotes or backslashes")
    identifier = secrets.token_hex(_ID_BYTES)
    key = f"{_PREFIX}{identifier}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    listed = ", ".join(f'"{role.value}"' for role in sorted(roles, key=lambda r: r.value))
    entry = (
        f'[[key]]\nid = "{identifier}"\nname = "{name}"\nroles = [{listed}]\n'
        f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'
    )
    if dialect is not None:
        entry += f'dialect = "{dialect.value}"\n'
    if subject:
        entry += f'subject = "{subject}"\n'
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(entry + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"API keys {path}: {error.strerror}") from None
    return key
