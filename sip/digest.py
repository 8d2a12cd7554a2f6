"""Digest authentication of whoever asks (RFC 3261 section 22, RFC 7616, RFC 8760).

Users stand in a file with the hash of name, realm and password alone. A nonce is its time of making
under a key of the process, which alone remembers how often it served: another process, or the same
after a restart, asks again with stale=true.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tomllib
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

from zhenxian.certs.files import read_file
from zhenxian.core.errors import ConfigError
from zhenxian.core.header_fields import unquoted
from zhenxian.sip.message import SipRequest

NONCE_SECONDS: Final = 300
MAX_NONCES: Final = 65_536  # whose counts are remembered
_MAX_FILE: Final = 1024 * 1024
_PARAMETER = re.compile(
    r'\s*([A-Za-z0-9\-_]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:,|\Z)', re.DOTALL
)
_HEX: Final = re.compile(r"[0-9a-f]{8}\Z")
_REALM: Final = re.compile(r'[^"\\\x00-\x1f\x7f]{1,128}\Z')


class Algorithm(str, Enum):
    """The hashes that are offered, the preferred first (RFC 8760 section 2.4)."""

    SHA256 = "SHA-256"
    MD5 = "MD5"

    def hash(self, text: str) -> str:
        """The hexadecimal hash of a text."""
        name = "sha256" if self is Algorithm.SHA256 else "md5"
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()


class Users(Struct, frozen=True):
    """Who may ask: by name, the hash of name, realm and password under each algorithm."""

    realm: str
    known: dict[str, dict[Algorithm, str]]


class Denied(Enum):
    """Why a request's credentials do not do."""

    UNKNOWN = "unknown"
    STALE = "stale"


class Digest:
    """Challenges, and looks at what answers them."""

    def __init__(self, users: Users, key: bytes, clock: Callable[[], float]) -> None:
        """Args: key makes nonces; each process has its own."""
        self._users = users
        self._key = key
        self._clock = clock
        self._algorithms = [
            each for each in Algorithm if any(each in known for known in users.known.values())
        ]
        self._counts: OrderedDict[str, int] = OrderedDict()

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """The WWW-Authenticate lines of a 401, one an algorithm."""
        nonce = self._nonce()
        again = ", stale=true" if stale else ""
        return tuple(
            f'WWW-Authenticate: Digest realm="{self._users.realm}", nonce="{nonce}",'
            f' algorithm={each.value}, qop="auth"{again}'
            for each in self._algorithms
        )

    def user(self, request: SipRequest) -> str | Denied:
        """Whose credentials a request carries."""
        found: str | Denied = Denied.UNKNOWN
        for value in request.all("authorization"):
            found = self._user(value, request)
            if isinstance(found, str):
                return found
        return found

    def _user(self, value: str, request: SipRequest) -> str | Denied:
        given = parameters(value)
        if given is None or given.get("realm") != self._users.realm:
            return Denied.UNKNOWN
        try:
            algorithm = Algorithm(given.get("algorithm", "MD5").upper())
        except ValueError:
            return Denied.UNKNOWN
        nonce, count, uri = given.get("nonce", ""), given.get("nc", ""), given.get("uri", "")
        if given.get("qop") != "auth" or _HEX.match(count) is None or uri != request.uri:
            return Denied.UNKNOWN
        name = given.get("username", "")
        own = self._users.known.get(name, {}).get(algorithm)
        secret = own or algorithm.hash("")  # somebody unknown costs as much
        asked = algorithm.hash(f"{request.method}:{uri}")
        wanted = algorithm.hash(f"{secret}:{nonce}:{count}:{given.get('cnonce', '')}:auth:{asked}")
        right = hmac.compare_digest(wanted.encode(), given.get("response", "").lower().encode())
        if not right or own is None:
            return Denied.UNKNOWN
        if not self._is_ours(nonce) or not self._counted(nonce, int(count, 16)):
            return Denied.STALE
        return name

    def _nonce(self) -> str:
        at = f"{int(self._clock()):x}-{secrets.token_hex(8)}"
        return f"{at}-{self._mark(at)}"

    def _mark(self, at: str) -> str:
        return hmac.new(self._key, at.encode(), hashlib.sha256).hexdigest()[:32]

    def _is_ours(self, nonce: str) -> bool:
        at, _, mark = nonce.rpartition("-")
        if not hmac.compare_digest(mark.encode(), self._mark(at).encode()):
            return False
        return 0 <= self._clock() - int(at.partition("-")[0], 16) <= NONCE_SECONDS

    def _counted(self, nonce: str, count: int) -> bool:
        """Whether the nonce is used with this count for the first time."""
        if count <= self._counts.get(nonce, 0):
            return False
        self._counts[nonce] = count
        self._counts.move_to_end(nonce)
        if len(self._counts) > MAX_NONCES:
            self._counts.popitem(last=False)
        return True


def parameters(value: str) -> dict[str, str] | None:
    """The parameters of Digest credentials; None for what are none."""
    scheme, _, text = value.partition(" ")
    if scheme.lower() != "digest":
        return None
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = unquoted(match[2])
        at = match.end()
    return found


def load_users(path: Path) -> Users:
    """Read the file of users. Raises ConfigError."""
    try:
        found = tomllib.loads(read_file(path, _MAX_FILE, _private(path)).decode())
        realm = str(found["realm"])
        known = {
            str(entry["name"]): {
                each: str(entry[key]).lower()
                for each, key in ((Algorithm.SHA256, "sha256"), (Algorithm.MD5, "md5"))
                if key in entry
            }
            for entry in found.get("user", [])
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"users of SIP {path}: {error!r}") from None
    if not known or not all(known.values()) or _REALM.match(realm) is None:
        raise ConfigError(f"users of SIP {path}: realm, and users with sha256 or md5, expected")
    return Users(realm, known)


def add_user(path: Path, name: str, realm: str, password: str) -> None:
    """Append a user to the file (mode 0600), which is made with the realm when there is none.

    Raises:
        ConfigError: the file is of another realm, has the name, or cannot be written.
    """
    if _REALM.match(realm) is None or _REALM.match(name) is None or ":" in name:
        raise ConfigError("realm and name are printable text without quotes, the name without :")
    first = not path.exists()
    if not first:
        users = load_users(path)
        if users.realm != realm:
            raise ConfigError(f"users of SIP {path}: its realm is {users.realm}")
        if name in users.known:
            raise ConfigError(f"users of SIP {path}: {name} is there")
    secret = f"{name}:{realm}:{password}"
    entry = f'realm = "{realm}"\n\n' if first else "\n"
    entry += f'[[user]]\nname = "{name}"\n'
    entry += f'sha256 = "{Algorithm.SHA256.hash(secret)}"\nmd5 = "{Algorithm.MD5.hash(secret)}"\n'
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(entry)
    except OSError as error:
        raise ConfigError(f"users of SIP {path}: {error.strerror}") from None


def _private(path: Path) -> Callable[[os.stat_result], None]:
    def check(status: os.stat_result) -> None:
        if status.st_mode & 0o077:
            raise ConfigError(f"{path} is readable by others: chmod 600 {path}")

    return check
