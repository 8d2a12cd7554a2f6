"""Conduct as told: what stands against whom, and a note of each call that was counted."""

from __future__ import annotations

from zhenxian.analytics.model import Finding, Key, KeyKind, Measure, Sample, State


def finding(kind=KeyKind.ACCESS, name="bank-trunk", state=State.POOLED, **more):
    fields = {
        "measure": Measure.SPREAD,
        "strength": 2.0,
        "figures": {"displays": 80.0},
        "thresholds": {"displays": 40.0},
        "window": 86_400,
        "samples": (Sample(1, "8675588880001", None),),
        "since": 1,
        "until": 1 << 40,
    } | more
    return Finding(key=Key(kind, name), state=state, **fields)


class Found:
    """An analytics.model.DisplayConduct with these findings."""

    def __init__(self, *findings):
        self.findings = {found.key: found for found in findings}
        self.observed = []
        self.well_known = set()
        self.alike = set()
        self.within_cap = True
        self.asked = []

    def finding(self, key, now):
        found = self.findings.get(key)
        return found if found is not None and now < found.until else None

    def known(self, key, now):
        return key in self.well_known

    def resembles(self, key, since):
        return key in self.alike

    def admits(self, key, now, *, count=True):
        self.asked.append(key)
        return self.within_cap

    def observe(self, observation):
        self.observed.append(observation)
