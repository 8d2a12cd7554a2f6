"""Holdings and accesses as frozen values, and the protocol that signer and verifier ask."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from msgspec import Struct

from passport.tn import TN, TNRange


class Verification(str, Enum):
    """How far the real name behind a holding is established (实名核验)."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Use(str, Enum):
    """What a held number may be used for."""

    DIRECT = "direct"
    DO_NOT_ORIGINATE = "do-not-originate"


class Standing(str, Enum):
    """Whether a subject may originate calls at all."""

    GOOD = "good"
    SUSPENDED = "suspended"


class Holding(Struct, frozen=True):
    """One number or range held by one subject.

    Attributes:
        subject: opaque id of the real-name holder; never a name or document number.
        spcs: service provider codes that may sign for the numbers; empty when not known.
    """

    numbers: TNRange
    subject: str
    verification: Verification = Verification.UNVERIFIED
    use: Use = Use.DIRECT
    spcs: tuple[str, ...] = ()


class Access(Struct, frozen=True):
    """The trunk, account or device a subject's calls come in by.

    Attributes:
        id: how the proxy names it.
        origid: its opaque id in tokens (RFC 8588 section 5).
        standing: a subject with one suspended access is suspended.
    """

    id: str
    origid: str
    subject: str
    standing: Standing = Standing.GOOD


class Registry(Protocol):
    """What signing and verifying ask. Local memory: no wait, no round trip.

    When the registry cannot be asked every method raises StoreUnavailableError; signing then
    gives nothing above C, and verifying leaves the holder's check out and says so.
    """

    def holding(self, tn: TN) -> Holding | None:
        """The holding that covers the number."""
        ...

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid."""
        ...

    def suspended(self, subject: str) -> bool:
        """True when the subject may not originate calls."""
        ...
