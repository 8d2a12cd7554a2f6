"""What makes two tokens the same one, and the store that remembers (RFC 8224 section 12.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from passport.jws import Token

_R_LENGTH = 32  # octets of the signature's first half


class ReplayStore(Protocol):
    """Remembers tokens for as long as they are fresh.

    When the store cannot be asked `first_seen` raises StoreUnavailableError, and the call gets
    No-TN-Validation: a token that may be a replay never passes.
    """

    def first_seen(self, key: bytes, call_id: str | None, until: int, now: int) -> bool:
        """Record the key and tell whether it is new, or was last seen with the same Call-ID.

        Args:
            key: 16 octets of replay_key.
            until: epoch second after which the token is stale anyway and may be forgotten.
        """
        ...


class Sighting(Struct, frozen=True):
    """A token that was seen now; members as the arguments of ReplayStore.first_seen."""

    key: bytes
    call_id: str | None
    until: int


class SharedReplayStore(Protocol):
    """A replay store of several machines: it is asked over the network."""

    async def first_seen_all(self, sightings: Sequence[Sighting], now: int) -> list[bool | None]:
        """See ReplayStore.first_seen; None where the store could not be asked. Never raises."""
        ...


def replay_key(token: Token, signature: bytes) -> bytes:
    """What identifies a token: its signed octets and R, the first half of its signature.

    Not the whole signature: (R, S) and (R, n - S) both verify, so an altered S would pass for
    a new token. Not the claims alone: one caller may rightly call one callee twice in a second.
    """
    digest = hashlib.sha256(token.signing_input)
    digest.update(signature[:_R_LENGTH])
    return digest.digest()[:16]
