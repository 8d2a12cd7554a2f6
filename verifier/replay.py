"""What makes two tokens the same one, and the store that remembers (RFC 8224 section 12.1).

A proxy may ask about one call twice: its HTTP request timed out, or the call was forked. What it
asks again is no replay, if the same asker asks shortly after: `again` says when. Whatever somebody
else asks about a token that was seen is one, however much of the call they copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct

from zhenxian.passport.jws import Token


class Updatable(Protocol):
    """A hash under way, of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Go on with more octets."""
        ...

    def digest(self) -> bytes:
        """Of the octets so far."""
        ...


REPEAT_SECONDS: Final = 2.0  # how long a question may be asked again

_R_LENGTH = 32  # octets of the signature's first half


class Sight(Enum):
    """What a store says of a token.

    Values are stable: metrics name the two that are repetitions.
    """

    NEW = "new"
    CALL = "call"  # seen a moment ago with the same call, from the same asker
    REQUEST = "request"  # seen a moment ago with the very same request, from the same asker
    REPLAY = "replay"
    UNKNOWN = "unknown"  # the store could not be asked


class Sighted(Struct, frozen=True):
    """A store's word on a token.

    Attributes:
        answer: of a REQUEST, what the first was answered; empty if that is not kept.
    """

    sight: Sight
    answer: bytes = b""


NEW: Final = Sighted(Sight.NEW)
CALL: Final = Sighted(Sight.CALL)
REPLAY: Final = Sighted(Sight.REPLAY)
UNKNOWN: Final = Sighted(Sight.UNKNOWN)


class Question(Struct, frozen=True):
    """What a repeated question is recognised by: equal members, neither of them None.

    Attributes:
        at: when it is asked, seconds since the epoch.
        call: asker and Call-ID; None without a Call-ID.
        request: asker and all that was sent, with its id; None without an id. Stores that keep
            questions outside of this process keep `mark` of these.
    """

    at: float
    call: tuple[bytes, ...] | bytes | None = None
    request: tuple[bytes, ...] | bytes | None = None


class Sighting(Struct, frozen=True):
    """A token that was seen now.

    Attributes:
        key: 16 octets of replay_key.
        until: epoch second after which the token is stale anyway and may be forgotten.
        question: None when a repetition could not be recognised.
        answer: what is answered if every token of the call is new.
    """

    key: bytes
    until: int
    question: Question | None = None
    answer: bytes = b""


class ReplayStore(Protocol):
    """Remembers tokens for as long as they are fresh, and questions for a moment.

    When the store cannot be asked `sight` raises StoreUnavailableError, and the call gets
    No-TN-Validation: a token that may be a replay never passes.
    """

    def sight(self, sighting: Sighting, now: int) -> Sighted:
        """Record the token if it is new; otherwise say how it was seen before."""
        ...


class BatchReplayStore(Protocol):
    """A ReplayStore that is asked about the tokens of several calls for little more than of one."""

    def sight_all(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """See ReplayStore.sight; UNKNOWN where the store could not be asked. Never raises."""
        ...


class SharedReplayStore(Protocol):
    """A replay store of several machines: it is asked over the network."""

    async def sight_all(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """See ReplayStore.sight; UNKNOWN where the store could not be asked. Never raises."""
        ...


def again(before: Question, answer: bytes, now: Question | None, window: float) -> Sighted:
    """Whether a question about a token that was seen before repeats the first one, or is a replay.

    Args:
        before, answer: the question that the token was first seen with, and its answer.
        window: seconds from `before` within which it may be asked again. Clocks of two machines
            may differ by as much either way.
    """
    if now is None or abs(now.at - before.at) >= window:
        return REPLAY
    if now.request is not None and now.request == before.request:
        return Sighted(Sight.REQUEST, answer)
    if now.call is not None and now.call == before.call:
        return CALL
    return REPLAY


def mark(parts: tuple[bytes, ...]) -> bytes:
    """A Question's member as stores outside of this process keep it: 16 octets, never zeros."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()[:16]


def replay_key(token: Token, signature: bytes) -> bytes:
    """What identifies a token: its signed octets and R, the first half of its signature.

    Not the whole signature: (R, S) and (R, n - S) both verify, so an altered S would pass for
    a new token. Not the claims alone: one caller may rightly call one callee twice in a second.
    """
    return replay_key_of(hashlib.sha256(token.signing_input), signature)


def replay_key_of(hashed: Updatable, signature: bytes) -> bytes:
    """As `replay_key`, of signed octets that are hashed already; goes on with that hash."""
    hashed.update(signature[:_R_LENGTH])
    return hashed.digest()[:16]
