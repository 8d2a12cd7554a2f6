"""The benchmarks still run, and measure answers that are right."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from bench.inprocess import rate
from bench.registry import Plan, measure, show
from bench.world import make_world


@pytest.mark.parametrize("path", ["sign", "verify", "sign-request", "verify-request"])
def test_each_path_in_process(tmp_path, path):
    with make_world(tmp_path / "world") as world:
        assert rate(world, path, 0, 1) > 0


def test_the_registry_at_scale_and_what_a_fleet_costs(tmp_path):
    plan = Plan(
        (30_000, 40_000),
        (30_000,),
        live_rows=200,
        bindings=1_500,
        questions=50,
        nodes=1,
        orders=3,
    )
    found = json.loads(json.dumps(measure(plan, tmp_path)))
    assert found.pop("lookup_growth_1m_to_100m") is None
    details = found.pop("details")
    assert all(value > 0 for value in found.values()), found
    assert [step["holdings"] for step in details["embedded"]] == [30_000, 40_000]
    assert [step["holdings"] for step in details["fleet"]] == [30_000]
    console = Console(record=True, width=200)
    show(found | {"details": details}, console)
    text = console.export_text()
    assert "40,000" in text
    assert "replay_question_p99_ms" in text
    assert list(tmp_path.iterdir()) == []
