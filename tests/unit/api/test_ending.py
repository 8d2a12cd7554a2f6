"""What runs beside the calls comes to its end, also where it loses that it was cancelled."""

from __future__ import annotations

import asyncio
import gc

import pytest

from zhenxian.certs.crlstore import CrlStore
from zhenxian.service.chains import ChainKeeper
from zhenxian.service.origids import OrigidKeeper
from zhenxian.service.sorted import SortedKeeper
from zhenxian.service.watch import Watcher
from zhenxian.stores import ending
from zhenxian.stores.analytics.sync import AnalyticsSync
from zhenxian.stores.ending import ended
from zhenxian.stores.fleet.registry import FleetRegistry


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def _run(desk, work):
    return desk._loop.run_until_complete(work) if desk._loop else asyncio.run(work)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(ending, "_AGAIN", 0.01)


async def losing(*_, times=3, **__):
    """Work that loses so many cancellations, as a client whose answers come at that moment."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not times:
                raise
            times -= 1


def test_a_cancellation_that_meets_an_answer_is_not_the_last():
    async def run():
        answers = [asyncio.get_running_loop().create_future() for _ in range(2)]

        async def asking():
            for answer in answers:
                await asyncio.wait_for(answer, 60)
            await asyncio.sleep(60)

        task = asyncio.create_task(asking())
        await asyncio.sleep(0)
        answers[0].set_result(None)  # and before the task has it, it is cancelled
        await asyncio.wait_for(ended([task]), 20)
        assert task.cancelled()

    asyncio.run(run())


def test_tasks_that_ended_by_themselves_are_left_as_they_are():
    async def run():
        async def failing():
            raise ValueError("odd")

        done, failed = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(failing())
        await asyncio.wait([done, failed])
        await ended([done, failed])
        assert not done.cancelled()
        assert isinstance(failed.exception(), ValueError)
        await ended([])

    asyncio.run(run())


def test_what_a_task_fails_with_at_its_end_is_no_news(caplog):
    gc.collect()  # what tests before left behind is told of, too
    caplog.clear()

    async def run():
        async def failing():
            try:
                await asyncio.sleep(60)
            finally:
                raise ConnectionError("gone")

        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        await ended([task])
        del task
        gc.collect()

    asyncio.run(run())
    assert caplog.messages == []


PARTS = {
    "the log": (Watcher, "_write_log"),
    "files": (Watcher, "refresh"),
    "lists": (CrlStore, "refresh_due"),
    "origids": (OrigidKeeper, "run"),
    "chains": (ChainKeeper, "run"),
    "sorted columns": (SortedKeeper, "look"),
    "conduct": (AnalyticsSync, "look"),
    "the journal": (FleetRegistry, "follow"),
}


@pytest.mark.parametrize("part", PARTS)
def test_whatever_the_service_does_beside_calls_ends(part, desk, monkeypatch):
    monkeypatch.setattr(*PARTS[part], losing)
    monkeypatch.setattr("zhenxian.service.sorted.LOOK_EVERY", 0.0)

    async def run():
        watcher = Watcher(desk.service)
        running = asyncio.create_task(watcher.run())
        await asyncio.sleep(0.05)  # so that the part has begun, where it does so at once
        await asyncio.wait_for(watcher.end(running), 20)
        assert running.cancelled()

    _run(desk, run())


def test_what_the_service_did_beside_calls_and_failed_with_is_raised(desk, monkeypatch):
    async def failing(*_):
        raise ValueError("odd")

    monkeypatch.setattr(Watcher, "_write_log", failing)

    async def run():
        watcher = Watcher(desk.service)
        running = asyncio.create_task(watcher.run())
        await asyncio.wait([running])
        with pytest.raises(ExceptionGroup):
            await watcher.end(running)

    _run(desk, run())
