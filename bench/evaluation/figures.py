"""Proportions, medians and rates with their confidence intervals, all by scipy."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import Any

import numpy as np
from msgspec import Struct
from scipy.stats import binomtest, bootstrap, quantile_test

CONFIDENCE = 0.95
_LEAST = 2  # clusters that a bootstrap needs


class Figure(Struct, frozen=True):
    """One figure and its 95 % interval; `inf` stands for "not within the day"."""

    value: float
    low: float
    high: float
    of: int

    def text(self, form: str = "{:.3g}") -> str:
        """For a table's cell."""
        if not self.of:
            return "-"
        value, low, high = (
            _formatted(number, form) for number in (self.value, self.low, self.high)
        )
        return f"{value} [{low}, {high}]"

    def plain(self) -> dict[str, Any]:
        """For JSON, which has neither infinity nor nan."""
        rest = {"value": self.value, "low": self.low, "high": self.high}
        return {k: v if isfinite(v) else None for k, v in rest.items()} | {"of": self.of}


def _formatted(number: float, form: str) -> str:
    if isfinite(number):
        return form.format(number)
    return "never" if number == inf else "?"


def proportion(found: int, of: int) -> Figure:
    """A share, with the exact interval of Clopper and Pearson."""
    if not of:
        return Figure(nan, nan, nan, 0)
    interval = binomtest(found, of).proportion_ci(CONFIDENCE, method="exact")
    return Figure(found / of, float(interval.low), float(interval.high), of)


def quantile(values: Sequence[float], share: float) -> Figure:
    """A quantile, with the interval between order statistics; what was never found is infinite.

    The interval is open ("?") where there are too few values for it.
    """
    if not values:
        return Figure(nan, nan, nan, 0)
    ordered = sorted(values)
    value = ordered[min(len(ordered) - 1, max(0, int(np.ceil(share * len(ordered))) - 1))]
    # The test sorts and counts; a number beyond all others stands in for infinity.
    beyond = 1e18
    finite = [beyond if number == inf else number for number in ordered]
    interval = quantile_test(finite, p=share).confidence_interval(CONFIDENCE)
    low, high = (inf if number == beyond else float(number) for number in interval)
    return Figure(value, low, high, len(ordered))


def per_ten_thousand(events: Sequence[int], calls: Sequence[int]) -> Figure:
    """Events per 10,000 calls, each element one seed.

    Calls of one caller hang together, so that the seeds are what is resampled (bootstrap,
    percentile). Where nothing happened at all, the upper end is that of independent calls.
    """
    total, happened = sum(calls), sum(events)
    if not total:
        return Figure(nan, nan, nan, 0)
    if not happened or len(calls) < _LEAST:
        share = proportion(happened, total)
        return Figure(share.value * 1e4, share.low * 1e4, share.high * 1e4, total)
    if min(events) == max(events) and min(calls) == max(calls):
        return Figure(happened / total * 1e4, nan, nan, total)

    def rate(some: Any, among: Any, axis: int = -1) -> Any:
        return np.sum(some, axis=axis) / np.sum(among, axis=axis) * 1e4

    interval = bootstrap(
        (np.array(events), np.array(calls)), rate, paired=True, method="percentile",
        confidence_level=CONFIDENCE, n_resamples=2_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    return Figure(happened / total * 1e4, float(interval.low), float(interval.high), total)
