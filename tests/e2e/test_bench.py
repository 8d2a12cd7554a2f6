"""The benchmarks still run, and measure answers that are right."""

from __future__ import annotations

import pytest

from bench.inprocess import rate
from bench.world import make_world


@pytest.mark.parametrize("path", ["sign", "verify", "sign-request", "verify-request"])
def test_each_path_in_process(tmp_path, path):
    with make_world(tmp_path / "world") as world:
        assert rate(world, path, 0, 1) > 0
