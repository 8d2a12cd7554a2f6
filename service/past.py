"""What a replay of past calls works with: thresholds, and the registry of a data folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from zhenxian.analytics.detector import Detector
from zhenxian.calls.records import Replay
from zhenxian.core.errors import ConfigError
from zhenxian.stores.analytics.holders import HeldNumbers, held_by
from zhenxian.stores.analytics.sync import load_policy
from zhenxian.stores.sqlite.registry import REGISTRY_FILE
from zhenxian.stores.sqlite.view import RegistryView


def replay_of(data: Path | None, thresholds: Path | None, cap: int = 0) -> Replay:
    """A replay that has seen nothing yet.

    Args:
        data: a data folder whose registry is asked; None for none.
        thresholds, cap: as `displays.thresholds` and `displays.cap`.

    Raises:
        ConfigError: there is no registry, or a threshold that makes no sense.
    """
    registry = None
    # Records do not say which calls a carrier vouched for, so that none is told to call back.
    detector = Detector(load_policy(thresholds, cap=cap), calls_back=False)
    if data is not None:
        path = data / REGISTRY_FILE
        if not path.exists():
            raise ConfigError(f"{path}: there is no registry")
        registry = RegistryView(path)
        holders = HeldNumbers(detector, registry)
        return Replay(detector, registry, partial(held_by, registry.records), holders.profiled)
    return Replay(detector, registry)
