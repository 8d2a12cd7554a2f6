"""Series that every call adds to, counted in plain dictionaries.

prometheus-client takes a lock for each addition, for calls that threads count; ours are counted by
the event loop alone, and the addition is cheaper than the lock. Workers that share a folder add
what they counted to prometheus-client's files a few times a second; any of them can read those.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric


class Counts(Protocol):
    """A counter with two labels."""

    def add(self, first: str, second: str) -> None:
        """Count one."""
        ...


class Times(Protocol):
    """A histogram of seconds with two labels."""

    def add(self, first: str, second: str, seconds: float) -> None:
        """Count one duration."""
        ...


class Shares(Protocol):
    """What is shared with other workers once in a while."""

    def flush(self) -> None:
        """Share what was counted since."""
        ...


class TalliedCounts:
    """Counts of this process. The name is without "_total"."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, str], registry: CollectorRegistry
    ) -> None:
        self._named: Final = (name, text)
        self._labels: Final = labels
        self._counts: dict[tuple[str, str], int] = {}
        self._created: dict[tuple[str, str], float] = {}
        registry.register(self)

    def add(self, first: str, second: str) -> None:
        """Count one."""
        key = (first, second)
        count = self._counts.get(key)
        if count is None:
            count = 0
            self._created[key] = time.time()
        self._counts[key] = count + 1

    def collect(self) -> Iterable[Metric]:
        """The counts so far."""
        family = CounterMetricFamily(*self._named, labels=self._labels)
        for key, count in self._counts.items():
            family.add_metric(key, count, created=self._created[key])
        yield family


class _Timing:
    """Durations with the same labels: how many in each bucket, and their sum."""

    __slots__ = ("buckets", "created", "total")

    def __init__(self, bounds: int) -> None:
        self.buckets = [0] * (bounds + 1)
        self.total = 0.0
        self.created = time.time()


class TalliedTimes:
    """Durations of this process; `bounds` are the buckets' upper ones, in seconds."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._named: Final = (name, text)
        self._labels: Final = labels
        self._bounds: Final = tuple(bounds)
        self._timings: dict[tuple[str, str], _Timing] = {}
        registry.register(self)

    def add(self, first: str, second: str, seconds: float) -> None:
        """Count one duration."""
        key = (first, second)
        timing = self._timings.get(key)
        if timing is None:
            timing = self._timings[key] = _Timing(len(self._bounds))
        timing.buckets[bisect_left(self._bounds, seconds)] += 1
        timing.total += seconds

    def collect(self) -> Iterable[Metric]:
        """The durations so far."""
        family = HistogramMetricFamily(*self._named, labels=self._labels)
        for key, timing in self._timings.items():
            buckets, below = [], 0
            for bound, count in zip((*self._bounds, float("inf")), timing.buckets, strict=True):
                below += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
            family.add_metric(key, buckets, timing.total)
            labels = dict(zip(self._labels, key, strict=True))
            family.add_sample(f"{self._named[0]}_created", labels, timing.created)
        yield family


class SharedCounts:
    """Counts that workers share by prometheus-client's files, to which `flush` adds them."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._fresh: dict[tuple[str, str], int] = {}

    def add(self, first: str, second: str) -> None:
        """Count one."""
        fresh, key = self._fresh, (first, second)
        fresh[key] = fresh.get(key, 0) + 1

    def flush(self) -> None:
        """Add what was counted since to the file: in it, each addition costs a microsecond."""
        fresh, self._fresh = self._fresh, {}
        for key, count in fresh.items():
            self._counter.labels(*key).inc(count)


class SharedTimes:
    """Durations that workers share by prometheus-client's files, to which `flush` adds them."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds: Final = tuple(bounds)
        self._fresh: dict[tuple[str, str], _Timing] = {}

    def add(self, first: str, second: str, seconds: float) -> None:
        """Count one duration."""
        key = (first, second)
        timing = self._fresh.get(key)
        if timing is None:
            timing = self._fresh[key] = _Timing(len(self._bounds))
        timing.buckets[bisect_left(self._bounds, seconds)] += 1
        timing.total += seconds

    def flush(self) -> None:
        """Add what was counted since to the file."""
        fresh, self._fresh = self._fresh, {}
        for key, timing in fresh.items():
            child = self._histogram.labels(*key)
            # As `observe` does for one: the client has no addition of many.
            child._sum.inc(timing.total)  # noqa: SLF001
            for bucket, count in zip(child._buckets, timing.buckets, strict=True):  # noqa: SLF001
                if count:
                    bucket.inc(count)
