"""Credentials: hashed keys and client certificates in a file, roles, constant-time comparison.

A key is "zx_<id>_<secret>" with 256 bits of secret, so a plain SHA-256 of it resists guessing and
costs the call path one microsecond; a slow password hash would only slow the calls down.

A client certificate, which TLS has checked against server.tls_client_ca, is known by the SHA-256 of
its octets or by its subject's name (RFC 4514). A request that carries a key is judged by the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import tomllib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from zhenxian.api.calls.requests import Dialect
from zhenxian.certs.files import read_file, stamp
from zhenxian.core.errors import ConfigError
from zhenxian.passport.words import said

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
    COMPLAINTS = "complaints"


class Principal(Struct, frozen=True, kw_only=True):
    """Who asks: the key's id and name, its roles, and the dialect its client speaks.

    Attributes:
        subject: the subject a platform's key acts for; empty for none.
    """

    id: str
    name: str
    roles: frozenset[Role]
    dialect: Dialect | None = None
    subject: str = ""


class Peer(Struct, frozen=True):
    """The client certificate of a connection.

    Attributes:
        fingerprint: SHA-256 of the certificate. name: SHA-256 of its subject's name, RFC 4514.
    """

    fingerprint: bytes
    name: bytes

    @classmethod
    def of(cls, der: bytes) -> Peer:
        """Read a certificate. Raises ValueError for octets that are none."""
        return cls(hashlib.sha256(der).digest(), _named(subject_name(der)))


class _Stored(Struct, frozen=True):
    digest: bytes
    principal: Principal


class _Certificate(Struct, frozen=True):
    """An entry: `digest` is that of the certificate, or of its subject's name when `by_name`."""

    digest: bytes
    by_name: bool
    principal: Principal


class Credentials(Struct, frozen=True):
    """What a key file holds.

    Attributes:
        others: who a client certificate is that no entry names; None for nobody.
        names_clients: the file says who it is, by entries of certificates or by other_certificates.
    """

    keys: dict[str, _Stored]
    certificates: tuple[_Certificate, ...]
    others: Principal | None
    names_clients: bool


LOCAL: Final = Principal(id="local", name="local", roles=frozenset(Role))
_MTLS: Final = Principal(id="mtls", name="client certificate", roles=frozenset({Role.PROXY}))
PEER: Final = "peer"  # of a request's state: the connection's Peer
ADDRESS: Final = "address"  # of a request's state: where the connection comes from, as accepted
ADMITTED: Final = "admitted"  # of a request's state: True when its credentials were known
_OTHERS: Final = "other_certificates"
_NOTHING: Final = Credentials({}, (), None, names_clients=False)
_TABLES: Final = ("key", "certificate", _OTHERS)
_MAX_FILE: Final = 4 * 1024 * 1024  # octets; some 15,000 keys


class Authenticator:
    """Knows the keys of one file.

    Without a file everybody is LOCAL, which start-up permits on loopback only.

    Attributes:
        known: what the file said; another object whenever it was read anew.
    """

    def __init__(self, path: Path | None, *, mtls: bool = False) -> None:
        """Raises ConfigError for a file that cannot be read or is readable by others."""
        self._path = path
        self._mtls = mtls
        self._taken: object = None
        self.known = _NOTHING
        self.problem: str | None = None
        if path is not None:
            self._taken = stamp(path)  # before reading: what changes meanwhile is read again
            self.known = load_credentials(path)

    @property
    def anonymous(self) -> bool:
        """True when callers need no credentials."""
        return self._path is None and not self._mtls

    def stamps(self) -> object:
        """What changes when the file does."""
        return stamp(self._path) if self._path is not None else None

    def certified(self, peer: Peer) -> bool:
        """True for a client certificate that is somebody's, and for any where it opens all."""
        return self._mtls and (self._path is None or self._certified(peer) is not None)

    def refresh(self) -> None:
        """Take over a changed file; a bad one leaves the keys before it in force."""
        if self._path is None:
            return
        found = self.stamps()
        if found == self._taken and self.problem is None:
            return
        try:
            known = load_credentials(self._path)
        except ConfigError as error:
            self.problem = f"{error} (the keys read before are still in force)"
            return
        if self.known.names_clients and not known.names_clients:
            # Every client certificate would become a proxy.
            self.problem = (
                f"API keys {self._path}: names no client certificates any more (the keys read"
                " before are still in force); if all of them are to be proxies, say"
                f' {_OTHERS} = ["proxy"]'
            )
            return
        self.known = known
        self._taken = found
        self.problem = None

    def principal(
        self, authorization: bytes | None, api_key: bytes | None, peer: Peer | None = None
    ) -> Principal | None:
        """Who sent these header values; None for unknown or missing credentials.

        Accepted: "Authorization: Bearer KEY", "Authorization: Basic" with the key as password,
        and "X-API-Key: KEY"; without any of them, the connection's client certificate.
        """
        if self._path is None:
            return _MTLS if self._mtls else LOCAL
        key = _presented(authorization, api_key)
        if key is None:
            return self._certified(peer) if self._mtls else None
        stored = self.known.keys.get(key.split("_", 2)[1] if key.startswith(_PREFIX) else "")
        given = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        expected = stored.digest if stored is not None else bytes(32)
        if hmac.compare_digest(given, expected) and stored is not None:
            return stored.principal
        return None

    def _certified(self, peer: Peer | None) -> Principal | None:
        """Whose the certificate is. An entry of the certificate itself comes before one by name."""
        known = self.known
        if peer is None:
            return None
        found = named = None
        for entry in known.certificates:  # all of them: how long it takes tells nothing
            digest = peer.name if entry.by_name else peer.fingerprint
            if hmac.compare_digest(digest, entry.digest):
                if entry.by_name:
                    named = named or entry.principal
                else:
                    found = found or entry.principal
        return found or named or known.others


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


def _private(path: Path) -> Callable[[os.stat_result], None]:
    def check(status: os.stat_result) -> None:
        if status.st_mode & 0o077:
            raise ConfigError(f"{path} is readable by others: chmod 600 {path}")

    return check


def load_credentials(path: Path) -> Credentials:
    """Read the key file: [[key]], [[certificate]], and other_certificates, a list of roles.

    Without other_certificates a client certificate that no entry names is a proxy as long as there
    are no entries of certificates, and nobody once there is one. A file with nothing at all is one
    that is being written; who wants no keys says `key = []`.

    Raises:
        ConfigError: names the entry.
    """
    try:
        found = tomllib.loads(read_file(path, _MAX_FILE, _private(path)).decode())
    except ConfigError as error:
        raise ConfigError(f"API keys {error}") from None
    except ValueError as error:
        raise ConfigError(f"API keys {path}: {said(error)}") from None
    if not any(table in found for table in _TABLES):
        raise ConfigError(f"API keys {path}: nothing is in it; for no keys at all, say key = []")
    for table in _TABLES:
        if not isinstance(found.get(table, []), list):
            raise ConfigError(f"API keys {path}: {table}: a list expected")
    keys: dict[str, _Stored] = {}
    certificates: list[_Certificate] = []
    for number, entry in enumerate(found.get("key", []), 1):
        try:
            digest = bytes.fromhex(entry["sha256"])
            principal = _principal(entry["id"], entry)
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"API keys {path}, entry {number}: {_unusable(error)}") from None
        if len(digest) != hashlib.sha256().digest_size or not principal.roles:
            raise ConfigError(f"API keys {path}, entry {number}: sha256 or roles unusable")
        keys[principal.id] = _Stored(digest, principal)
    for number, entry in enumerate(found.get("certificate", []), 1):
        try:
            certificates.append(_certificate(entry))
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"API keys {path}, certificate {number}: {_unusable(error)}"
            ) from None
    others = None if certificates or found.get("certificate") == [] else _MTLS
    if _OTHERS in found:
        try:
            roles = frozenset(Role(role) for role in found[_OTHERS])
        except (ValueError, TypeError):
            raise ConfigError(f"API keys {path}: {_OTHERS}: a list of roles expected") from None
        others = Principal(id="mtls", name="client certificate", roles=roles) if roles else None
    names_clients = "certificate" in found or _OTHERS in found
    return Credentials(keys, tuple(certificates), others, names_clients)


def _unusable(error: Exception) -> str:
    """Why an entry cannot be read."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, _EntryError):
        return str(error)
    return "a member is unusable: id, name, sha256 in hexadecimal, roles and dialect expected"


class _EntryError(ValueError):
    """An entry that cannot be, with a sentence."""


def _principal(identifier: str, entry: Mapping[str, Any]) -> Principal:
    dialect = Dialect(entry["dialect"]) if "dialect" in entry else None
    roles = frozenset(Role(role) for role in entry["roles"])
    return Principal(
        id=identifier,
        name=entry["name"],
        roles=roles,
        dialect=dialect,
        subject=str(entry.get("subject", "")),
    )


def _certificate(entry: Mapping[str, Any]) -> _Certificate:
    """Raises KeyError, ValueError or TypeError."""
    if ("fingerprint" in entry) == ("distinguished_name" in entry):
        raise _EntryError("either fingerprint or distinguished_name expected")
    by_name = "distinguished_name" in entry
    if by_name:
        digest = _named(canonical_name(entry["distinguished_name"]))
    else:
        digest = bytes.fromhex(entry["fingerprint"].replace(":", ""))
    principal = _principal(f"cert-{digest.hex()[: 2 * _ID_BYTES]}", entry)
    if len(digest) != hashlib.sha256().digest_size or not principal.roles:
        raise _EntryError("fingerprint or roles unusable")
    return _Certificate(digest, by_name, principal)


def subject_name(der: bytes) -> str:
    """The name of a certificate's subject, RFC 4514. Raises ValueError."""
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


def canonical_name(text: str) -> str:
    """A name as `subject_name` writes it. Raises ValueError for what is none."""
    name = x509.Name.from_rfc4514_string(text).rfc4514_string()
    if not name:
        raise ValueError("a certificate without a name is known by its fingerprint")
    return name


def _named(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


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
    identifier = secrets.token_hex(_ID_BYTES)
    key = f"{_PREFIX}{identifier}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    known = f'id = "{identifier}"\nsha256 = "{digest}"\n'
    _append(path, f"[[key]]\n{known}{_entry(name, roles, dialect, subject)}")
    return key


def add_certificate(
    path: Path,
    name: str,
    roles: Iterable[Role],
    *,
    certificate: bytes | None = None,
    distinguished_name: str | None = None,
    dialect: Dialect | None = None,
    subject: str = "",
) -> str:
    """Append an entry of a client certificate to the file; what it is known by.

    Args:
        certificate: PEM: known by its fingerprint. Otherwise by distinguished_name, RFC 4514.

    Raises:
        ConfigError: no certificate or name, or the file cannot be written.
    """
    try:
        if certificate is not None:
            found = x509.load_pem_x509_certificate(certificate)
            mark = hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()
            known = f'fingerprint = "{mark}"\n'
        else:
            mark = canonical_name(distinguished_name or "")
            known = f'distinguished_name = "{_plain(mark)}"\n'
    except ValueError:
        raise ConfigError("no certificate, or no name of one, was given") from None
    _append(path, f"[[certificate]]\n{known}{_entry(name, roles, dialect, subject)}")
    return mark


def _plain(text: str) -> str:
    # TOML: quotes and backslashes would end the text, or mean something else.
    if not text.isprintable() or '"' in text or "\\" in text or not text:
        raise ConfigError("names and subject are printable text without quotes or backslashes")
    return text


def _entry(name: str, roles: Iterable[Role], dialect: Dialect | None, subject: str) -> str:
    listed = ", ".join(f'"{role.value}"' for role in sorted(roles, key=lambda r: r.value))
    entry = f'name = "{_plain(name)}"\nroles = [{listed}]\n'
    if dialect is not None:
        entry += f'dialect = "{dialect.value}"\n'
    if subject:
        entry += f'subject = "{_plain(subject)}"\n'
    return entry


def _append(path: Path, entry: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(entry + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"API keys {path}: {error.strerror}") from None
