"""Prometheus metrics: counts and latencies of calls, bounded in cardinality."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from zhenxian.core.errors import ZhenxianError
from zhenxian.telemetry.tally import (
    Counts,
    SharedCounts,
    SharedTimes,
    Shares,
    TalliedCounts,
    TalliedTimes,
    Times,
)

MAX_SPCS: Final = 1000  # service provider codes with a series of their own; others are "other"
_BUCKETS: Final = (
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
)  # fmt: skip


class _Node:
    """What is true of the node, so that any of its workers can tell it."""

    def __init__(self) -> None:
        self.figures: list[tuple[str, str, Callable[[], float | None]]] = []
        self.infos: list[tuple[str, str, dict[str, str]]] = []
        self.states: list[tuple[str, str, tuple[str, ...], Callable[[], str]]] = []

    def collect(self) -> Iterable[Metric]:
        """The figures that there are now."""
        for name, text, labels in self.infos:
            yield InfoMetricFamily(name, text, value=labels)
        for name, text, states, state in self.states:
            family, now = GaugeMetricFamily(name, text, labels=("state",)), state()
            for one in states:
                family.add_metric((one,), float(one == now))
            yield family
        for name, text, value in self.figures:
            try:
                figure = value()
            except (ValueError, LookupError, RuntimeError, ZhenxianError):  # not there now
                continue
            if figure is not None:
                yield GaugeMetricFamily(name, text, value=figure)


class _Workers(MultiProcessCollector):
    """What all workers counted, those left out that are only about to make their files."""

    def collect(self) -> Iterable[Metric]:
        """The sums so far."""
        files = [str(file) for file in Path(self._path).glob("*.db") if file.stat().st_size]
        found: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
        return found


class Metrics:
    """All series of the service, in one registry. Label children are looked up once and kept."""

    def __init__(self, folder: str | None = None) -> None:
        """With a folder, series are shared by the worker processes that name the same one."""
        self.registry = CollectorRegistry()
        self._folder = folder
        self._node = _Node()
        self._shared: list[Shares] = []
        self._own(self.registry)
        self._signings = self._counts(
            "zhenxian_signings",
            "Signing requests by attestation given and reason.",
            ("attest", "reason"),
        )
        self._verifications = self._counts(
            "zhenxian_verifications",
            "Verification requests by verstat and reason.",
            ("verstat", "reason"),
        )
        self._passed = self._counts(
            "zhenxian_passed",
            "Calls whose token passed, by attestation and the service provider code that signed.",
            ("attest", "spc"),
        )
        self._labels = self._counts(
            "zhenxian_labels",
            "Labels given to calls, by label and verstat.",
            ("label", "verstat"),
        )
        self._unchecked = Counter(
            "zhenxian_revocation_unchecked",
            "Passed calls whose certificate no fresh revocation list covered.",
            registry=self.registry,
        )
        self._repeats = Counter(
            "zhenxian_repeats",
            "Verifications that were asked for again, by what told: call (callId) or request"
            " (X-RequestID and body).",
            ("by",),
            registry=self.registry,
        )
        self._lists = Counter(
            "zhenxian_lists",
            "Fetches of revocation lists by outcome: fetched, unchanged, failed; no_place for an"
            " address that a certificate names and that is not asked.",
            ("outcome",),
            registry=self.registry,
        )
        self._certificates = Counter(
            "zhenxian_certificates",
            "Fetches of certificates by outcome: fetched, unchanged, failed; refused for one that"
            " is not made; evicted for a chain that gives way to another.",
            ("outcome",),
            registry=self.registry,
        )
        self._departures = self._counts(
            "zhenxian_profile_departures",
            "Departures from the SHAKEN profile in the certificates of passed calls, by the"
            " certificate's role and the departure's code.",
            ("role", "code"),
        )
        self._errors = self._counts(
            "zhenxian_request_errors",
            "Requests refused before a decision, by route and reason.",
            ("route", "reason"),
        )
        self._seconds = self._times(
            "zhenxian_request_seconds",
            "Time from complete request to answer, by route and outcome (attestation or verstat).",
            ("route", "outcome"),
        )
        self._sip = self._counts(
            "zhenxian_sip_responses",
            "Responses of the SIP redirect service, by method and code; a message that could not be"
            " answered has code 0. Those sent again are not counted.",
            ("method", "code"),
        )
        self._connections = Counter(
            "zhenxian_connections_refused",
            "Connections beyond a bound: of all, of strangers, of strangers from one address.",
            ("bound",),
            registry=self.registry,
        )
        self._spcs: set[str] = set()

    def signing(self, attest: str, reason: str, seconds: float) -> None:
        """Count one decision."""
        self._signings.add(attest, reason)
        self._seconds.add("signing", attest, seconds)

    def verification(self, verstat: str, reason: str, seconds: float) -> None:
        """Count one verdict."""
        self._verifications.add(verstat, reason)
        self._seconds.add("verification", verstat, seconds)

    def sip(self, method: str, code: int) -> None:
        """Count one response to a SIP request."""
        self._sip.add(method, str(code))

    def label(self, label: str, verstat: str) -> None:
        """Count one label of a call."""
        self._labels.add(label, verstat)

    def passed(self, attest: str, spc: str | None, *, unchecked: bool) -> None:
        """Count a passed call at its signer."""
        name = spc or "none"
        if name not in self._spcs:
            if len(self._spcs) >= MAX_SPCS:
                name = "other"
            self._spcs.add(name)
        self._passed.add(attest, name)
        if unchecked:
            self._unchecked.inc()

    def repeated(self, by: str) -> None:
        """Count a question that was asked again."""
        self._repeats.labels(by).inc()

    def lists(self, outcome: str) -> None:
        """Count one fetch of a revocation list."""
        self._lists.labels(outcome).inc()

    def certificates(self, outcome: str) -> None:
        """Count one fetch of a certificate chain."""
        self._certificates.labels(outcome).inc()

    def departure(self, role: str, code: str) -> None:
        """Count one departure from the profile that was forgiven."""
        self._departures.add(role, code)

    def error(self, route: str, reason: str) -> None:
        """Count a request that got no decision."""
        self._errors.add(route, reason)

    def connection_refused(self, bound: str) -> None:
        """Count a connection that was one too many: all, strangers or address."""
        self._connections.labels(bound).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Publish a figure that is read when asked for; only a single process can."""
        if self._folder is None:
            Gauge(name, text, registry=self.registry).set_function(value)

    def figure(self, name: str, text: str, value: Callable[[], float | None]) -> None:
        """Publish a figure of the node; None while there is none."""
        self._node.figures.append((name, text, value))

    def state(self, name: str, text: str, states: Iterable[str], now: Callable[[], str]) -> None:
        """Publish which of some states the node is in: 1 for that one, 0 for the others."""
        self._node.states.append((name, text, tuple(states), now))

    def info(self, name: str, text: str, **labels: str) -> None:
        """Publish what the node is: a series of value 1 with these labels."""
        self._node.infos.append((name, text, labels))

    def _own(self, registry: CollectorRegistry) -> None:
        """Let a registry tell the node's figures and the process that answers."""
        registry.register(self._node)
        ProcessCollector(registry=registry)

    def collected(self) -> CollectorRegistry:
        """What is to be exposed: this process's series, or those of all workers.

        With several workers the processes write to files in a folder of the run
        (PROMETHEUS_MULTIPROC_DIR, set by the supervisor), and any of them can tell the sum.
        """
        if self._folder is None:
            return self.registry
        self.flush()
        together = CollectorRegistry()
        self._own(together)
        _Workers(together, path=self._folder)  # type: ignore[no-untyped-call]
        return together

    def flush(self) -> None:
        """Let the other workers know what was counted here; to be called a few times a second."""
        for shared in self._shared:
            shared.flush()

    def _counts(self, name: str, text: str, labels: tuple[str, str]) -> Counts:
        """A counter that every call adds to."""
        if self._folder is None:
            return TalliedCounts(name, text, labels, self.registry)
        shared = SharedCounts(Counter(name, text, labels, registry=self.registry))
        self._shared.append(shared)
        return shared

    def _times(self, name: str, text: str, labels: tuple[str, str]) -> Times:
        """A histogram that every call adds to."""
        if self._folder is None:
            return TalliedTimes(name, text, labels, _BUCKETS, self.registry)
        histogram = Histogram(name, text, labels, buckets=_BUCKETS, registry=self.registry)
        shared = SharedTimes(histogram, _BUCKETS)
        self._shared.append(shared)
        return shared
