"""Holdings in sorted columns: whose they are, when they are made, and what spoils them.

That they say what the registry says, whatever its history, tests/property/test_registry_stateful
shows.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import threading
from contextlib import closing

import pytest

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import end, put
from zhenxian.registry.model import Holding, Kind, Subject, Verification
from zhenxian.service import sorted as service_sorted
from zhenxian.service.sorted import SortedKeeper
from zhenxian.stores.bulk.importer import Import
from zhenxian.stores.sqlite import sorted_holdings
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.stores.sqlite.sorted_holdings import (
    EPOCH,
    MAX_TOUCHED,
    NAMED,
    UNSORTED,
    columns_path,
    load,
    sort,
)
from zhenxian.stores.sqlite.view import RegistryView

NUMBERS = range(8613000000, 8613004000)


def _held(first, last=None, **more):
    numbers = TNRange(TN(str(first)), TN(str(first if last is None else last)))
    return Holding(numbers=numbers, subject="s", verification=Verification.VERIFIED, **more)


def _commit(file, *changes):
    return file.write(changes, author="a", reason="r", now=1)


@pytest.fixture
def registry(tmp_path):
    """A registry with ranges in ranges and single numbers in both, and between them nothing."""
    path = tmp_path / "registry.db"
    with closing(RegistryFile(path, writer=True)) as file:
        _commit(file, put(Subject(id="s")), put(Subject(id="t")))
        held = [_held(8613000000, 8613000999, evidence="wide"), _held(8613000100, 8613000199)]
        held += [_held(8613000100, 8613000104), _held(8613000104, evidence="one", verified_on=7)]
        held += [_held(n) for n in range(8613002000, 8613002200, 2)]
        _commit(file, *map(put, held))
    return path


def _named(path):
    with closing(RegistryFile(path)) as file:
        return file.meta(NAMED)


def _taken(path):
    assert sort(path)
    view = RegistryView(path)
    assert view.take_sorted(load(path, _named(path)))
    return view


def _agrees(view):
    for n in NUMBERS:
        tn = TN(str(n))
        assert view.holding(tn) == view.records.covering(tn), tn


def test_every_number_has_its_most_specific_holding(registry):
    view = _taken(registry)
    _agrees(view)
    for other in ("86130000", "861300000000", "110", "*86", "8613000"):
        assert view.holding(TN(other)) is None


def test_sqlite_is_not_asked_where_nothing_was_touched(registry, monkeypatch):
    view = _taken(registry)
    monkeypatch.setattr(view.records.tables.holdings, "covering", pytest.fail)
    assert view.holding(TN("8613000104")).evidence == "one"
    assert view.holding(TN("8613001500")) is None


def test_a_commit_counts_at_once(registry):
    view = _taken(registry)
    _agrees(view)
    with closing(RegistryFile(registry, writer=True)) as file:
        _commit(file, put(_held(8613000104, evidence="two")))
        view.refresh()
        assert view.holding(TN("8613000104")).evidence == "two"
        _commit(file, end(_held(8613000100, 8613000104)), put(_held(8613001500, 8613001600)))
        view.refresh()
        _agrees(view)
    assert view.sorted is not None


def test_columns_of_an_older_state_are_taken_with_what_was_touched_since(registry):
    assert sort(registry)
    with closing(RegistryFile(registry, writer=True)) as file:
        _commit(file, end(_held(8613000000, 8613000999, evidence="wide")))
    view = RegistryView(registry)
    assert view.take_sorted(load(registry, _named(registry)))
    assert view.holding(TN("8613000500")) is None
    _agrees(view)


def test_after_an_import_sqlite_is_asked_until_columns_are_made_anew(registry):
    view = _taken(registry)
    rows = ["first,last,subject,verification\n"]
    rows += [f"{n},,t,verified\n" for n in range(8613002001, 8613002001 + 2 * MAX_TOUCHED + 200, 2)]
    with closing(RegistryFile(registry, writer=True)) as file:
        work = Import(file, Kind.HOLDING, author="a", reason="r", now=1, mode=Mode.BEST_EFFORT)
        assert work.run(iter(rows)).changed == len(rows) - 1
    view.refresh()
    assert view.sorted is None
    assert view.holding(TN("8613002001")).subject == "t"
    assert not view.take_sorted(load(registry, _named(registry)))
    assert sort(registry)
    assert view.take_sorted(load(registry, _named(registry)))
    _agrees(view)


def test_many_small_commits_are_as_many_as_one(registry, monkeypatch):
    monkeypatch.setattr(sorted_holdings, "MAX_TOUCHED", 5)
    view = _taken(registry)
    with closing(RegistryFile(registry, writer=True)) as file:
        for n in range(8613003000, 8613003006):
            assert view.sorted is not None
            _commit(file, put(_held(n)))
            view.refresh()
    assert view.sorted is None
    _agrees(view)


def test_a_registry_that_is_put_back_has_no_columns(registry):
    saved = registry.read_bytes()
    assert sort(registry)
    token = _named(registry)
    for beside in ("-wal", "-shm"):
        registry.with_name(registry.name + beside).unlink(missing_ok=True)
    registry.write_bytes(saved)
    with closing(RegistryFile(registry, writer=True)) as file:
        _commit(file, put(_held(8613000104, evidence="two")))
    assert _named(registry) != token
    assert not RegistryView(registry).take_sorted(load(registry, token))


def test_a_replica_that_was_made_anew_has_no_columns(registry):
    view = _taken(registry)
    with closing(RegistryFile(registry, writer=True)) as file, file.transaction():
        file.set_meta(EPOCH, "another")
    assert not view.take_sorted(load(registry, _named(registry)))


def test_columns_are_not_named_when_the_replica_was_made_anew_meanwhile(registry, monkeypatch):
    def written(file, out):
        described = whole(file, out)
        with closing(RegistryFile(registry, writer=True)) as other, other.transaction():
            other.set_meta(EPOCH, "another")
        return described

    whole = sorted_holdings._write_all
    monkeypatch.setattr(sorted_holdings, "_write_all", written)
    with pytest.raises(StoreUnavailableError, match="made anew"):
        sort(registry)
    assert _named(registry) is None


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone", "another"])
def test_what_is_damaged_is_not_taken(registry, how):
    assert sort(registry)
    path, token = columns_path(registry), _named(registry)
    octets = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "another":
        assert load(registry, "0" * 32) is None
        return
    elif how == "flipped":
        chance = random.Random(1)
        for _ in range(200):
            place = chance.randrange(len(octets))
            flipped = bytearray(octets)
            flipped[place] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            found = load(registry, token)
            assert found is None or place < 64, place  # of the head itself, nothing that is used
        return
    else:
        path.write_bytes(octets[: len(octets) // 2] if how == "cut" else b"")
    assert load(registry, token) is None


def test_a_tail_or_size_that_does_not_fit_is_left_to_sqlite(registry, monkeypatch):
    monkeypatch.setattr(sorted_holdings, "_UNTOLD", 2)
    with closing(RegistryFile(registry, writer=True)) as file:
        _commit(file, put(_held("1" + "0" * 14, "1" + "9" * 14)))
    view = _taken(registry)
    table = view.records.tables.holdings
    told = [view.sorted.covering(TN(str(n)), table) for n in (8613000104, 10**14 + 5, 8613001500)]
    assert told == [UNSORTED, UNSORTED, None]
    _agrees(view)
    assert view.holding(TN("1" + "5" * 14)) is not None


def test_one_process_sorts_at_a_time(registry, monkeypatch):
    entered, leave = threading.Event(), threading.Event()

    def written(file, out):
        entered.set()
        leave.wait(60)
        return whole(file, out)

    whole = sorted_holdings._write_all
    monkeypatch.setattr(sorted_holdings, "_write_all", written)
    first = threading.Thread(target=sort, args=(registry,))
    first.start()
    try:
        assert entered.wait(60)
        assert not sort(registry)
    finally:  # nothing of it is left when the folder goes, however this ends
        leave.set()
        first.join()
    monkeypatch.undo()
    _agrees(_taken(registry))
    assert columns_path(registry).stat().st_mode & 0o777 == 0o600


def _sort_and_die(path):
    def written(file, out):
        whole(file, out)
        raise SystemExit(9)

    whole = sorted_holdings._write_all
    sorted_holdings._write_all = written
    sorted_holdings.Path.unlink = lambda *_, **__: None  # a process that is killed removes nothing
    sort(path)


def test_what_a_killed_process_left_is_written_over(registry):
    killed = multiprocessing.get_context("fork").Process(target=_sort_and_die, args=(registry,))
    killed.start()
    killed.join()
    assert columns_path(registry).with_suffix(".making").exists()
    assert _named(registry) is None
    _agrees(_taken(registry))
    assert not columns_path(registry).with_suffix(".making").exists()


def test_the_keeper_has_them_made_when_it_is_quiet_and_there_are_many(registry):
    store = EmbeddedRegistry(registry)
    now = 0.0
    few = SortedKeeper(store, least=1_000, timer=lambda: now)
    many = SortedKeeper(store, least=100, timer=lambda: now)

    async def run():
        nonlocal now
        await few.look()
        await few.look()
        assert store.sorted is None
        await many.look()
        assert store.sorted is None  # whether commits come is only seen at the second look
        await many.look()
        assert len(store.sorted) == 104
        first = store.sorted.token
        store._look_up_in(None)
        await many.look()
        await many.look()
        assert store.sorted is None  # not so soon again
        now = 1e6
        await many.look()
        assert store.sorted.token != first

    try:
        asyncio.run(run())
        _agrees(store)
    finally:
        store.close()


def test_a_keeper_takes_what_another_worker_had_made(registry):
    store = EmbeddedRegistry(registry)
    try:
        assert sort(registry)
        asyncio.run(SortedKeeper(store, least=1_000_000).look())
        assert store.sorted.token == _named(registry)
    finally:
        store.close()


def test_what_keeps_columns_from_being_made_is_told_once_and_ends_nothing(
    registry, monkeypatch, caplog
):
    looks, thrice = [], asyncio.Event()

    async def fails(path):
        looks.append(path)
        if len(looks) == 3:
            thrice.set()
        raise StoreUnavailableError("no room")

    async def run(keeper):
        task = asyncio.create_task(keeper.run())
        await thrice.wait()
        task.cancel()

    monkeypatch.setattr(service_sorted, "sort_apart", fails)
    monkeypatch.setattr(service_sorted, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(service_sorted, "_AT_LEAST", 0.0)
    store = EmbeddedRegistry(registry)
    try:
        asyncio.run(run(SortedKeeper(store, least=100)))
        assert store.holding(TN("8613000104")).evidence == "one"
    finally:
        store.close()
    told = [record.message for record in caplog.records if "no room" in record.message]
    assert told == ["holdings are looked up without sorted columns: no room"]
