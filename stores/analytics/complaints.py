"""Complaints on record, told to a Detector: each once, on each node, and anew after a restart."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from zhenxian.analytics.detector import Detector
from zhenxian.analytics.thresholds import DAY
from zhenxian.registry.complaint import Complaint

_MOST: Final = 100_000  # complaints of the last days that are counted after a restart
_WAITING: Final = 10_000  # complaints of calls that nobody saw yet
_WAIT: Final = 3_600  # seconds that these are tried again: other nodes, or counts, may be late
_AGAIN: Final = 30  # seconds between two tries
_AT_ONCE: Final = 100


class Complained(Protocol):
    """What a registry tells of complaints; a stores.sqlite.view.RegistryView."""

    def complaints(self, since: int, limit: int) -> list[Complaint]:
        """Complaints that were made since they were last asked for."""
        ...


class HeardComplaints:
    """Tells a Detector what callees complained of. For one event loop."""

    def __init__(self, conduct: Detector, registry: Complained) -> None:
        self._conduct = conduct
        self._registry = registry
        self._waiting: deque[tuple[int, Complaint]] = deque(maxlen=_WAITING)
        self._tried = 0

    async def look(self, now: int) -> None:
        """Count complaints that are new, and those whose calls were not seen before.

        Raises:
            StoreUnavailableError: the registry cannot be read; it is asked again.
        """
        since = now - self._conduct.policy.complained.days * DAY
        for index, one in enumerate(self._registry.complaints(since, _MOST), 1):
            if one.at >= since and not self._count(one):
                self._waiting.append((now, one))
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)  # calls go first
        if self._waiting and not 0 <= now - self._tried < _AGAIN:
            self._tried = now
            waiting, self._waiting = self._waiting, deque(maxlen=_WAITING)
            for index, (heard, one) in enumerate(waiting, 1):
                if now - heard < _WAIT and not self._count(one):
                    self._waiting.append((heard, one))
                if index % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _count(self, one: Complaint) -> bool:
        return self._conduct.complained(one.orig, one.dest, one.at, one.source) > 0
