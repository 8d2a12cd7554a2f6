"""The benchmarks still run, and measure answers that are right."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from bench.inprocess import rate
from bench.openloop import Core, counted, generate
from bench.registry import Plan, measure, show
from bench.services import our_settings
from bench.start import started
from bench.world import make_world
from zhenxian.service.build import build
from zhenxian.service.settings import load_settings


@pytest.mark.parametrize("path", ["sign", "verify", "sign-request", "verify-request"])
def test_each_path_in_process(tmp_path, path):
    with make_world(tmp_path / "world") as world:
        assert rate(world, path, 0, 1) > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_is_measured_to_the_first_answer_and_each_process_by_its_memory(tmp_path, workers):
    with make_world(tmp_path / "world") as world:
        found = started(world, tmp_path / "service", workers, 5)
    assert found.first > 0
    assert found.cpu > 0
    assert len(found.workers) == (0 if workers == 1 else 2)
    assert all(10 < size < 1_000 for size in (found.parent, *found.workers)), found


def test_a_service_can_be_given_the_conduct_of_many_before_it_starts(tmp_path):
    with make_world(tmp_path / "world") as world:
        data = tmp_path / "data"
        shutil.copytree(world.registry, data)
        settings = tmp_path / "zhenxian.toml"
        settings.write_text(our_settings(world, 1, data), "utf-8")
        counted(settings, 1_500)
        keeper = build(load_settings(settings)).keeper
    keeper.restore()
    assert keeper.problems() == []
    assert len(keeper.conduct) >= 1_500


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


class _Stopping(asyncio.Protocol):
    """Answers each request, but stops the whole server once for a while."""

    asked = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        assert data.startswith(b"POST /x HTTP/1.1\r\n")
        assert data.endswith(b"body")
        _Stopping.asked += 1
        if _Stopping.asked == 100:
            time.sleep(0.5)
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
        self.transport.write(answer)  # a head and a body that come apart
        asyncio.get_running_loop().call_soon(self.transport.write, b"good")


@pytest.mark.enable_socket
@pytest.mark.parametrize("expect", ["good", "other"])
def test_an_open_loop_counts_a_stop_for_all_who_would_have_called(tmp_path, expect):
    bodies = tmp_path / "bodies"
    bodies.write_bytes(b"body\n" * 400)
    listening, stop = threading.Event(), threading.Event()
    port = []

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Stopping, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        listening.set()
        await loop.run_in_executor(None, stop.wait)
        server.close()

    _Stopping.asked = 0
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert listening.wait(20)
        told = json.loads(generate(port[0], os.getpid(), "/x", expect, bodies, 400.0, 8))
    finally:
        stop.set()
        thread.join()
        gc.enable()
    assert told["calls"] == 400
    assert told["wrong"] == (0 if expect == "good" else 400)
    # About 200 calls came in the half second: each of them waited, eight of them in a connection.
    assert told["p99"] > 300
    assert told["worst"] >= 450
    assert told["afterwards"] > 0
    assert 0 <= told["kept"] <= 1_000


def test_who_has_no_core_though_ready_is_told_for_how_long():
    core = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    both = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    try:
        seen, deadline = Core(both[0].pid), time.monotonic() + 60
        while seen.kept < 50_000_000 and time.monotonic() < deadline:
            time.sleep(0.001)
            seen.look()
    finally:
        for each in both:
            each.kill()
            each.wait()
    assert seen.kept >= 50_000_000
    assert 0 < seen.longest <= seen.kept
