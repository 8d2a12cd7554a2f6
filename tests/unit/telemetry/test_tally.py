"""The service's own tallies read as prometheus-client's counters do."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from zhenxian.telemetry.tally import SharedCounts, SharedTimes, TalliedCounts, TalliedTimes

_LABELS = ("first", "second")
_BOUNDS = (0.000_05, 0.1, 1.0)
_KEYS = st.sampled_from([("a", "b"), ("a", 'c"\n'), ("", "真")])


def _text(registry):
    """What is exposed, but for when a series began; sums as far as their order does not matter."""
    text = re.sub(r"(_created{.*}) .*", r"\1", generate_latest(registry).decode())
    return re.sub(r"(_sum{.*}) (.*)", lambda found: f"{found[1]} {float(found[2]):.9f}", text)


@given(st.lists(_KEYS))
def test_counts_read_alike(keys):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallied = TalliedCounts("calls", "Calls.", _LABELS, ours)
    shared = SharedCounts(Counter("calls", "Calls.", _LABELS, registry=theirs))
    for key in keys:
        tallied.add(*key)
        shared.add(*key)
        if len(key[0]):
            shared.flush()
    shared.flush()
    assert _text(ours) == _text(theirs)


@given(st.lists(st.tuples(_KEYS, st.sampled_from([0.0, 0.000_05, 0.000_051, 0.1, 0.7, 1.0, 9.5]))))
def test_times_read_alike(durations):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallied = TalliedTimes("seconds", "Seconds.", _LABELS, _BOUNDS, ours)
    shared = SharedTimes(
        Histogram("seconds", "Seconds.", _LABELS, buckets=_BOUNDS, registry=theirs), _BOUNDS
    )
    for key, seconds in durations:
        tallied.add(*key, seconds)
        shared.add(*key, seconds)
        if seconds > 0.1:
            shared.flush()
    shared.flush()
    assert _text(ours) == _text(theirs)
