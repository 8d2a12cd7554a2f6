"""The embedded engine's hot state for one process."""

from __future__ import annotations

from collections import deque
from typing import Final

from passport.errors import StoreUnavailableError

MAX_TOKENS: Final = 2_000_000  # remembered tokens; ten minutes at 3,000 calls a second


class MemoryReplayStore:
    """A verifier.replay.ReplayStore in memory; empty after a restart.

    Tokens signed before the start are still refused once stale, so what a restart forgets is at
    most one freshness window. When the store is full, the verifier is told it cannot be asked.
    """

    def __init__(self, limit: int = MAX_TOKENS) -> None:
        self._seen: dict[bytes, str | None] = {}
        self._expiry: deque[tuple[int, bytes]] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._seen)

    def first_seen(self, key: bytes, call_id: str | None, until: int, now: int) -> bool:
        """See ReplayStore. Raises StoreUnavailableError when full."""
        expiry = self._expiry
        while expiry and expiry[0][0] < now:
            self._seen.pop(expiry.popleft()[1], None)
        if key in self._seen:
            return call_id is not None and self._seen[key] == call_id
        if len(self._seen) >= self._limit:
            raise StoreUnavailableError("the replay store is full")
        self._seen[key] = call_id
        expiry.append((until, key))
        return True
