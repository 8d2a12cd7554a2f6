"""A disk that is full is told on /readyz and in metrics, and answered 507 by imports."""

from __future__ import annotations

import asyncio
import io
import secrets
import sqlite3
import time

import pytest

from zhenxian.api.management import bulk
from zhenxian.core.errors import StoreBusyError, StoreUnavailableError
from zhenxian.service import disk as disk_module
from zhenxian.service import imports
from zhenxian.service.watch import Watcher
from zhenxian.stores.fleet.registry import FleetRegistry

WHY = {"reason": "test"}
CSV = {"content-type": "text/csv"}


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def _look(desk):
    work = Watcher(desk.service).refresh()
    return desk._loop.run_until_complete(work) if desk._loop else asyncio.run(work)


def _import(desk, rows=3, **params):
    text = "id\n" + "".join(f"many-{number}\n" for number in range(rows))
    return desk.http("POST", "/v1/imports/subjects", content=text, params=WHY | params, headers=CSV)


def _figure(desk, name):
    lines = desk.http("GET", "/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def _full(**_):
    return io.FileIO("/dev/full", "wb")


def test_a_full_disk_is_on_readyz_and_in_the_metrics(desk, monkeypatch):
    _look(desk)
    assert desk.http("GET", "/readyz").json()["problems"] == []
    assert _figure(desk, "zhenxian_disk_full") == 0
    assert _figure(desk, "zhenxian_disk_free_bytes") > 0
    with monkeypatch.context() as patched:
        patched.setattr(disk_module.tempfile, "TemporaryFile", _full)
        _look(desk)
        ready = desk.http("GET", "/readyz")
        assert ready.status_code == 503
        assert any("No space left on device" in text for text in ready.json()["problems"])
        assert _figure(desk, "zhenxian_disk_full") == 1
    _look(desk)
    assert desk.http("GET", "/readyz").status_code == 200


def test_an_upload_that_has_no_room_is_507(desk, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(bulk.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: SIM115, PTH123
        answer = _import(desk)
        assert (answer.status_code, answer.json()["title"]) == (507, "Insufficient Storage")
    assert _import(desk).json()["changed"] == 3


@pytest.mark.parametrize("mode", ["best-effort", "all-or-nothing"])
def test_an_import_that_the_registry_has_no_room_for_is_507(desk, mode, monkeypatch):
    if isinstance(desk.service.registry, FleetRegistry):
        return  # its rows go to Redis, and come back to each node

    def limited(path, **how):
        made = opened(path, **how)
        (pages,) = made.connection.one("PRAGMA page_count")
        made.connection.one(f"PRAGMA max_page_count = {pages}")
        return made

    opened = imports.opened
    with monkeypatch.context() as patched:
        patched.setattr(imports, "opened", limited)
        answer = _import(desk, 8_000, mode=mode)
        assert answer.status_code == 507, answer.text
        assert "full" in answer.json()["detail"]
    assert _import(desk, 8_000, mode=mode).status_code == 200


def test_a_registry_that_takes_nothing_is_told_though_the_disk_has_room(desk):
    """A quota, a limit of a file's size, or the file itself on another disk."""
    registry = desk.service.registry
    if isinstance(registry, FleetRegistry):
        return  # its journal is Redis'
    connection = registry._writer.connection
    (pages,) = connection.one("PRAGMA page_count")
    connection.one(f"PRAGMA max_page_count = {pages}")

    def put(number):
        return desk.http("PUT", f"/v1/subjects/s{number}", json={"name": "n" * 90}, params=WHY)

    last = next(status for n in range(5_000) if (status := put(n).status_code) != 200)
    assert last == 503
    _look(desk)
    ready = desk.http("GET", "/readyz")
    assert ready.status_code == 503
    assert any("nothing can be registered" in text for text in ready.json()["problems"])
    assert _figure(desk, "zhenxian_disk_full") == 1
    connection.one("PRAGMA max_page_count = 1000000")
    _look(desk)
    assert desk.http("GET", "/readyz").status_code == 200
    assert _figure(desk, "zhenxian_disk_full") == 0
    assert put(9_999).status_code == 200


@pytest.fixture
def other(desk):
    """Another process' connection to the registry's file, with its embedded engine."""
    registry = desk.service.registry
    if isinstance(registry, FleetRegistry):
        pytest.skip("a fleet's journal is Redis'")
    other = sqlite3.connect(registry._writer.path, isolation_level=None)
    yield other
    other.close()


def test_a_registry_that_somebody_else_writes_to_for_long_is_ready(desk, other):
    registry = desk.service.registry
    registry._writer.connection.one("PRAGMA busy_timeout = 50")
    other.execute("BEGIN IMMEDIATE")
    refused = desk.http("PUT", "/v1/subjects/s1", json={"name": "n"}, params=WHY)
    assert refused.status_code == 503
    assert "locked" in refused.text
    _look(desk)
    assert not registry._failed
    assert desk.http("GET", "/readyz").status_code == 200
    assert _figure(desk, "zhenxian_disk_full") == 0
    other.execute("ROLLBACK")
    again = desk.http("PUT", "/v1/subjects/s1", json={"name": "n"}, params=WHY)
    assert again.status_code == 200


def test_looks_wait_for_nobodys_write_and_learn_nothing_from_it(desk, other):
    """Neither whether the registry takes something again, nor what they would remove from it."""
    registry, now = desk.service.registry, int(desk.service.clock())
    connection = registry._writer.connection
    assert connection.one("PRAGMA busy_timeout") == (5_000,)
    registry._failed, registry.problem = True, "nothing can be registered: it was so"
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    _look(desk)
    assert time.monotonic() - began < 3
    assert registry.problem == "nothing can be registered: it was so"
    other.execute("ROLLBACK")
    _look(desk)
    assert registry.problem is None
    key = {"idempotency-key": "k"}
    put = desk.http("PUT", "/v1/subjects/s2", json={"name": "n"}, params=WHY, headers=key)
    assert put.status_code == 200
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreBusyError):
        registry._writer.purge(now + 400 * 86_400)
    assert time.monotonic() - began < 3
    other.execute("ROLLBACK")
    assert connection.one("PRAGMA busy_timeout") == (5_000,)


def test_origids_that_cannot_be_kept_are_told(desk_of, installation):
    desk = desk_of(installation.config, signer={"origid": "call"})
    _look(desk)
    file = desk.service.origids._file
    assert _figure(desk, "zhenxian_origids_failing") == 0
    (pages,) = file._db.execute("PRAGMA page_count").fetchone()
    file._db.execute(f"PRAGMA max_page_count = {pages}")
    while file.give("trunk", "b0000000-0000-4000-8000-000000000001", 1) is not None:
        pass
    told = desk.http("GET", "/readyz").json()["remarks"]
    assert any("origids" in text and "full" in text for text in told)
    assert _figure(desk, "zhenxian_origids_failing") == 1
    _look(desk)
    assert _figure(desk, "zhenxian_origids_failing") == 1
    file._db.execute("PRAGMA max_page_count = 1000000")
    _look(desk)
    assert _figure(desk, "zhenxian_origids_failing") == 0, "though nobody calls"
    assert file.give("trunk", "b0000000-0000-4000-8000-000000000001", 1) is not None
    assert not any(
        "origids" in text for text in desk.http("GET", "/readyz").json().get("remarks", [])
    )


def test_with_several_workers_a_full_disk_ends_no_verification_in_silence(desk_of, installation):
    desk = desk_of(installation.config, server={"workers": 2})
    if isinstance(desk.service.registry, FleetRegistry):
        return  # Redis has the tokens there
    _look(desk)
    assert desk.http("GET", "/readyz").status_code == 200
    store = desk.service.seen
    # Every page that it has is used, and it gets no more.
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    row = "INSERT INTO sightings VALUES (?, zeroblob(500), 9000000000)"

    def fill():
        while True:
            store._run(lambda c: c.execute(row, (secrets.token_bytes(8),)))

    with pytest.raises(StoreUnavailableError, match="full"):
        fill()
    assert store.problem is not None
    ready = desk.http("GET", "/readyz")
    assert ready.status_code == 503
    assert any("REPLAY_UNKNOWN" in text for text in ready.json()["problems"])
    assert _figure(desk, "zhenxian_replays_unrecorded") == 1
    store._connection.execute("PRAGMA max_page_count = 1000000")
    _look(desk)
    assert desk.http("GET", "/readyz").status_code == 200
