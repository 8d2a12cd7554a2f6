"""Figures of a node that are read when somebody asks for its metrics."""

from __future__ import annotations

import platform

from zhenxian import __version__
from zhenxian.analytics.model import State
from zhenxian.passport.es256 import library
from zhenxian.service.problems import problems, remarks
from zhenxian.service.service import Service
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.fleet.states import NodeState
from zhenxian.stores.sqlite.registry import EmbeddedRegistry


def publish(service: Service) -> None:
    """Have the metrics of a service tell what it is, and how it is now."""
    metrics = service.metrics
    metrics.gauge(
        "zhenxian_calls_waiting",
        "Calls that wait for a certificate.",
        lambda: service.pipeline.waiting,
    )
    registry = service.registry
    metrics.info(
        "zhenxian_build",
        "Which release runs, on what.",
        version=__version__,
        python=platform.python_version(),
        engine="fleet" if isinstance(registry, FleetRegistry) else "embedded",
        es256=library().version(),
    )
    metrics.figure(
        "zhenxian_ready",
        "1 when /readyz answers 200, else 0.",
        lambda: float(not problems(service)),
    )
    metrics.figure(
        "zhenxian_remarks",
        "What is to be looked at, and keeps this node neither from signing nor from verifying.",
        lambda: float(len(remarks(service))),
    )
    metrics.figure(
        "zhenxian_clock_doubts",
        "What contradicts the clock of this node; nothing is registered while there is any.",
        lambda: float(len(registry.clock_doubts())),
    )
    metrics.figure(
        "zhenxian_disk_free_bytes",
        "What the disk of the data folder has left.",
        lambda: service.disk.free,
    )
    metrics.figure(
        "zhenxian_disk_full",
        "1 when the data folder, or the registry's file in it, takes nothing, else 0.",
        lambda: float(service.disk.problem is not None or _unwritable(service)),
    )
    metrics.figure(
        "zhenxian_replays_unrecorded",
        "1 when tokens that were seen cannot be recorded, so that none verifies, else 0.",
        lambda: float(_recording(service) is not None),
    )
    metrics.figure(
        "zhenxian_certificate_age_seconds",
        "Since when the signing certificate is valid.",
        lambda: _certificate_age(service),
    )
    metrics.figure(
        "zhenxian_certificate_left_seconds",
        "Until the signing certificate, or one above it, expires; below 0 when it has.",
        lambda: (
            service.keys.current.not_after - service.clock() if service.keys is not None else None
        ),
    )
    metrics.figure(
        "zhenxian_revocation_lists",
        "Revocation lists in use.",
        lambda: len(service.verifier.trust.revocation.issued),
    )
    metrics.figure(
        "zhenxian_revocation_list_age_seconds",
        "Since the oldest revocation list in use was issued.",
        lambda: service.clock() - min(service.verifier.trust.revocation.issued),
    )
    if isinstance(registry, FleetRegistry):
        metrics.figure(
            "zhenxian_fleet_lag_seconds",
            "For how long commits of the fleet may be missing here.",
            lambda: registry.lag,
        )
        metrics.figure(
            "zhenxian_fleet_lost_commits",
            "Commits that Redis lost, until somebody has looked.",
            lambda: registry.losses.count,
        )
        metrics.state(
            "zhenxian_fleet_state",
            "How this node's replica stands to the fleet's journal; see docs/fleet.md.",
            [state.value for state in NodeState],
            lambda: registry.state.value,
        )
    metrics.gauge(
        "zhenxian_origids_unsent",
        "Origids of calls that the fleet does not know yet.",
        service.origids.unsent,
    )
    metrics.figure(
        "zhenxian_origids_failing",
        "1 when calls are signed with origids of accesses, or the fleet learns of none, else 0.",
        lambda: float(service.origids.problem is not None),
    )
    keeper = service.keeper
    if keeper is None:
        return
    metrics.gauge(
        "zhenxian_conduct_keys", "Callers and signers remembered.", lambda: len(keeper.conduct)
    )
    metrics.gauge(
        "zhenxian_conduct_pooled",
        "Keys found pooled now.",
        lambda: keeper.standing(State.POOLED),
    )
    metrics.gauge(
        "zhenxian_conduct_suspected",
        "Keys suspected now.",
        lambda: keeper.standing(State.SUSPECTED),
    )
    metrics.gauge(
        "zhenxian_conduct_lost",
        "Calls that other nodes will not learn of.",
        lambda: keeper.conduct.lost,
    )


def _unwritable(service: Service) -> bool:
    registry = service.registry
    return isinstance(registry, EmbeddedRegistry) and registry.problem is not None


def _recording(service: Service) -> str | None:
    """Why tokens that were seen are not recorded; None when they are."""
    return service.seen.problem if service.replays is None else service.replays.problem


def _certificate_age(service: Service) -> float | None:
    if service.keys is None:
        return None
    leaf = service.keys.current.chain.certificates[0]
    return service.clock() - leaf.not_valid_before_utc.timestamp()
