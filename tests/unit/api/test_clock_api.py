"""A clock that is ahead for seconds does no lasting harm, on either engine, as REST shows it."""

from __future__ import annotations

import asyncio
import time

import pytest

from zhenxian.service.watch import Watcher
from zhenxian.stores.clock import LATE, ClockGuard
from zhenxian.stores.fleet.registry import FleetRegistry

WHY = {"reason": "test"}
DAY = 86_400


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


class Wall:
    """The wall clock of a service, beside the seconds since boot."""

    def __init__(self):
        self.off = 0.0
        self.passed = 0.0

    def now(self):
        return time.time() + self.passed + self.off

    def elapsed(self):
        return time.monotonic() + self.passed


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def desk(desk_with, wall):
    made = desk_with(clock=wall.now)
    guard = made.service.registry.guard
    guard._elapsed, guard._base, guard._before = wall.elapsed, *[wall.now() - wall.elapsed()] * 2
    return made


def _run(desk, work):
    return desk._loop.run_until_complete(work) if desk._loop else asyncio.run(work)


def _put(desk, name, **headers):
    return desk.http("PUT", f"/v1/subjects/{name}", json={}, params=WHY, headers=headers)


@pytest.mark.parametrize("ahead", [3600, 399 * DAY, -3600])
def test_nothing_is_registered_by_a_clock_that_was_set(desk, wall, ahead):
    assert _put(desk, "one").status_code == 200
    wall.off = ahead
    refused = _put(desk, "two")
    assert refused.status_code == 503
    assert "clock was set" in refused.json()["detail"]
    batch = desk.http("POST", "/v1/imports/subjects", content="id\nthree\n", params=WHY,
                      headers={"content-type": "text/csv"})  # fmt: skip
    assert batch.status_code == 503, batch.text
    ready = desk.http("GET", "/readyz").json()
    assert any("clock was set" in text for text in ready["remarks"])
    assert any("clock was set" in text for text in desk.http("GET", "/v1/clock").json()["doubts"])
    wall.off = 0
    assert _put(desk, "two").status_code == 200
    changes = desk.http("GET", "/v1/changes", params={"limit": 1000}).json()["changes"]
    assert all(change["time"] <= time.time() for change in changes[-2:])
    assert desk.http("GET", "/v1/clock").json()["doubts"] == []


def test_an_operator_accepts_the_clock_and_later_commits_are_dated_right(desk, wall):
    wall.off = 399 * DAY
    assert desk.http("POST", "/v1/clock/acceptance").status_code == 422
    answer = desk.http("POST", "/v1/clock/acceptance", params=WHY)
    assert (answer.status_code, answer.json()["doubts"]) == (200, [])
    assert _put(desk, "one").status_code == 200
    wall.off = 0
    refused = _put(desk, "two")
    assert refused.status_code == 503
    assert "in the future" in refused.json()["detail"]
    assert desk.http("POST", "/v1/clock/acceptance", params=WHY).json()["doubts"] == []
    assert _put(desk, "two").status_code == 200
    *_, one, two = desk.http("GET", "/v1/changes", params={"limit": 1000}).json()["changes"]
    assert one["time"] > time.time() + 398 * DAY
    assert two["time"] <= time.time()
    assert _put(desk, "three").status_code == 200


def test_bindings_of_tomorrow_and_idempotency_keys_outlive_a_clock_that_is_ahead(desk, wall):
    watcher = Watcher(desk.service)
    watcher._late._elapsed = wall.elapsed
    binding = desk.http("GET", "/v1/bindings/ride-1").json()
    del binding["id"], binding["version"]
    binding["until"] = int(wall.now()) + DAY
    key = {"idempotency-key": "k1"}
    assert desk.http("PUT", "/v1/bindings/ride-1", json=binding, params=WHY).status_code == 200
    etag = _put(desk, "one", **key).headers["etag"]
    _run(desk, watcher._refresh_registry())
    for _ in range(LATE // 600 + 1):
        wall.passed += 600
        _run(desk, watcher._refresh_registry())
    for ahead in (2 * DAY, 400 * DAY):
        wall.off = ahead
        for _ in range(3):
            wall.passed += 2
            _run(desk, watcher._refresh_registry())
        wall.off = 0
    found = desk.http("GET", "/v1/bindings/ride-1")
    assert (found.status_code, found.json()["until"]) == (200, binding["until"])
    assert _put(desk, "two").status_code == 200
    again = _put(desk, "one", **key)  # done before: it is not done again
    assert (again.status_code, again.headers["etag"]) == (200, etag)
    if isinstance(desk.service.registry, FleetRegistry):
        return
    wall.passed += 2 * DAY  # time that passed is no doubt, and then it is purged
    for _ in range(LATE // 600 + 2):
        wall.passed += 600
        _run(desk, watcher._refresh_registry())
    assert desk.http("GET", "/v1/bindings/ride-1").status_code == 404


def test_a_doubt_that_lasts_is_logged_once(desk, wall, caplog):
    """Not each second anew, because a second less is left until the last commit's time."""
    watcher = Watcher(desk.service)
    assert _put(desk, "one").status_code == 200
    watcher._remark()
    wall.off = -3600
    caplog.clear()
    for _ in range(3):
        wall.passed += 2
        watcher._remark()
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "in the future" in text]) == 1, told


def test_a_registry_at_rest_is_written_when_it_is_asked(desk, wall):
    assert _put(desk, "one").status_code == 200
    wall.passed += 500 * DAY
    assert _put(desk, "two").status_code == 200
    assert desk.http("GET", "/v1/clock").json()["doubts"] == []


def test_redis_own_time_is_believed(desk, wall):
    if not isinstance(desk.service.registry, FleetRegistry):
        return
    wall.off = 90.0
    guard = desk.service.registry.guard
    guard._base = guard._before = guard._offset()  # started so: it did not jump
    ClockGuard.redis_says(guard, time.time())
    assert "Redis' own time" in _put(desk, "one").json()["detail"]
    ready = desk.http("GET", "/readyz")
    assert ready.status_code == 503
    assert any("contradicts" in text for text in ready.json()["problems"])
    desk.http("POST", "/v1/clock/acceptance", params=WHY)
    assert _put(desk, "one").status_code == 200
