"""The embedded engine's hot state for one process."""

from __future__ import annotations

from collections import deque
from typing import Final

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.replay.recent import Recent
from zhenxian.verifier.replay import NEW, REPEAT_SECONDS, Sighted, Sighting

MAX_TOKENS: Final = 2_000_000  # remembered tokens; ten minutes at 3,000 calls a second


class MemoryReplayStore:
    """A verifier.replay.ReplayStore in memory; empty after a restart.

    Tokens signed before the start are still refused once stale, so what a restart forgets is at
    most one freshness window. When the store is full, the verifier is told it cannot be asked.
    """

    def __init__(self, limit: int = MAX_TOKENS, window: float = REPEAT_SECONDS) -> None:
        self._seen: set[bytes] = set()
        self._expiry: deque[tuple[int, bytes]] = deque()
        self._limit = limit
        self._recent = Recent(window)

    @property
    def problem(self) -> str | None:
        """Why tokens are not recorded; None when they are."""
        return "the replay store is full" if len(self._seen) >= self._limit else None

    def __len__(self) -> int:
        return len(self._seen)

    def sight(self, sighting: Sighting, now: int) -> Sighted:
        """See ReplayStore. Raises StoreUnavailableError when full."""
        expiry = self._expiry
        while expiry and expiry[0][0] < now:
            self._seen.discard(expiry.popleft()[1])
        key = sighting.key
        if key in self._seen:
            return self._recent.again(key, sighting.question)
        if len(self._seen) >= self._limit:
            raise StoreUnavailableError("the replay store is full")
        self._seen.add(key)
        expiry.append((sighting.until, key))
        if sighting.question is not None:
            self._recent.keep(key, sighting.question, sighting.answer)
        return NEW
