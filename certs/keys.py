"""The key and chain that sign: read from files, checked as a pair, replaced without a pause."""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from zhenxian.certs.chain import Chain, parse_chain
from zhenxian.certs.files import Stamp, read_file, stamp
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.passport.jws import SigningKey

MAX_FILE: Final = 64 * 1024  # octets of a key or chain file; real ones have less than 8 KiB

X5u: TypeAlias = str | Callable[[Chain, bytes], str]


class Credential(Struct, frozen=True, kw_only=True):
    """A key with the chain of its certificate. The key never shows in repr.

    Attributes:
        chain_pem: the chain file as it is published.
        spc: the service provider code the certificate speaks for; None for a list of numbers.
        x5u: where others fetch the chain.
        not_before: epoch second from which on all certificates of the chain are valid.
        not_after: epoch second from which on some certificate of the chain has expired.
    """

    key: SigningKey
    chain: Chain
    chain_pem: bytes
    spc: str | None
    x5u: str
    not_after: int
    not_before: int = 0

    def __repr__(self) -> str:
        return f"Credential(spc={self.spc!r}, x5u={self.x5u!r}, not_after={self.not_after})"


def load_credential(key_path: Path, chain_path: Path, *, x5u: X5u) -> Credential:
    """Read a key and its chain, and check that they belong together.

    Args:
        key_path: PEM, unencrypted, P-256; readable by its owner alone.
        chain_path: PEM, the signing certificate first.
        x5u: where the chain is published, or a function of chain and file that tells.

    Raises:
        ConfigError: says what is wrong and what to do. Not checked: whether the chain is trusted
            or has expired (there is no clock here).
    """
    key_pem = _read(key_path, secret=True)
    chain_pem = _read(chain_path, secret=False)
    try:
        key = SigningKey.from_pem(key_pem)
    except ConfigError as error:
        raise ConfigError(f"{key_path}: {error}") from None
    try:
        chain = parse_chain(chain_pem)
    except ParseError as error:
        raise ConfigError(f"{chain_path}: not a PEM certificate chain: {error.detail}") from None
    if chain.public_key_der != key.verifying_key.public_bytes:
        raise ConfigError(
            f"{key_path} is not the key of the first certificate in {chain_path}: give the key that"
            " the certificate was issued for, and put that certificate first"
        )
    return Credential(
        key=key,
        chain=chain,
        chain_pem=chain_pem,
        spc=chain.spc,
        x5u=x5u if isinstance(x5u, str) else x5u(chain, chain_pem),
        not_after=chain.not_after,
        not_before=max(int(one.not_valid_before_utc.timestamp()) for one in chain.certificates),
    )


def _read(path: Path, *, secret: bool) -> bytes:
    return read_file(
        path, MAX_FILE, (lambda status: check_private(path, status)) if secret else None
    )


def check_private(path: Path, status: os.stat_result) -> None:
    """Raises ConfigError for a key that others than its owner could read or replace."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{path} has mode {mode:04o}, so others than its owner may use the key;"
            f" run: chmod 600 {path}"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}, who can replace the key;"
            f" run: chown {os.geteuid()} {path}"
        )


def moment(second: int) -> str:
    """An epoch second as people read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


class KeyStore:
    """The credential in use, and its replacement when the files change.

    Attributes:
        current: read by every signature; a plain attribute, no I/O.
        problem: why the files' present content is not in use; None when it is.
    """

    def __init__(self, key_path: Path, chain_path: Path, *, x5u: X5u) -> None:
        """Load the pair. Raises ConfigError."""
        self._key_path = key_path
        self._chain_path = chain_path
        self._x5u = x5u
        self._seen = self.stamps()
        self.current: Credential = load_credential(key_path, chain_path, x5u=x5u)
        self.problem: str | None = None

    def reload_if_changed(self, now: float = math.inf) -> bool:
        """Look at the files, and take a new good pair over; True when `current` was replaced.

        Two files cannot be replaced at once, so a key without its certificate is an ordinary
        passing state: the old pair signs on, and the next call looks again. So it does until a
        certificate that was installed beforehand is valid.

        Args:
            now: seconds since the epoch.
        """
        stamps = self.stamps()
        if stamps == self._seen and self.problem is None:
            return False
        # Noted before reading: what changes while it is read is read again.
        self._seen = stamps
        try:
            credential = load_credential(self._key_path, self._chain_path, x5u=self._x5u)
        except ConfigError as error:
            self.problem = f"{error} (the key loaded before is still in use)"
            return False
        if now < credential.not_before and self.current.not_before <= now:
            self.problem = (
                f"{self._chain_path} is not valid before {moment(credential.not_before)}"
                " (the key loaded before is still in use)"
            )
            return False
        self.problem = None
        if (credential.chain_pem, credential.x5u) == (self.current.chain_pem, self.current.x5u):
            return False
        self.current = credential
        return True

    def stamps(self) -> tuple[Stamp, ...]:
        """What changes when one of the files does."""
        return (stamp(self._key_path), stamp(self._chain_path))
