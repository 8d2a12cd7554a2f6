"""Whether a verification is asked for again: what says that it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from zhenxian.verifier.replay import Question, Sight, Sighted

_LONG: Final = 64  # octets of a Call-ID above which its digest stands for it
_ASKED_AGAIN: Final = (Sight.CALL, Sight.REQUEST)


def question_of(
    by: bytes, call_id: str | None, request_id: bytes | None, body: bytes, at: float
) -> Question:
    """What shows a repetition: asker and Call-ID, or asker and all that came with its id."""
    return Question(
        at,
        (by, *_bounded(call_id)) if call_id is not None else None,
        (by, request_id, body) if request_id is not None else None,
    )


def _bounded(call_id: str) -> tuple[bytes, ...]:
    """A Call-ID, which may be of any length (RFC 3261 section 25.1), in so many octets."""
    octets = call_id.encode("utf-8", "surrogatepass")
    if len(octets) <= _LONG:
        return (octets,)
    return b"sha256", hashlib.sha256(octets).digest()


def asked_again(seen: Sequence[Sighted]) -> Sighted | None:
    """The first token's sighting if all tokens of the call show the same repetition, else None."""
    if not seen or seen[0].sight not in _ASKED_AGAIN:
        return None
    first = seen[0]
    return first if all(one.sight is first.sight for one in seen) else None
