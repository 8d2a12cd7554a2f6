"""A clock in doubt dates no commit; time that merely passed is no doubt."""

from __future__ import annotations

import stat

import pytest

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.registry.journal import put
from zhenxian.registry.model import Subject
from zhenxian.stores import clock
from zhenxian.stores.clock import LATE, ClockGuard, LateClock
from zhenxian.stores.sqlite.file import RegistryFile

NOW = 1_800_000_000.0
DAY = 86_400


class Machine:
    """A machine's clocks: `jump` moves the wall clock alone."""

    def __init__(self):
        self.ran, self.off, self.hardware = 1000.0, 0.0, None

    def wall(self):
        return NOW + self.ran + self.off

    def elapsed(self):
        return self.ran

    def guard(self, kept=None):
        return ClockGuard(self.wall, self.elapsed, lambda: self.hardware, kept)


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def file(tmp_path):
    made = RegistryFile(tmp_path / "r.db", writer=True)
    yield made
    made.close()


def write(file, now, name="s"):
    return file.write([put(Subject(id=name))], author="a", reason="r", now=int(now))


@pytest.mark.parametrize("jump", [61, 3600, 399 * DAY, -61, -3600])
def test_a_jump_is_doubted_until_it_is_undone_or_accepted(machine, file, jump):
    guard = machine.guard()
    guard.check(file)
    machine.off = jump
    with pytest.raises(StoreUnavailableError, match="the clock was set"):
        guard.check(file)
    machine.off = 0
    guard.check(file)
    machine.off = jump
    guard.accept(file)
    guard.check(file)
    another = machine.guard()  # of another worker, or after a restart
    another.check(file)
    machine.off = 2 * jump
    with pytest.raises(StoreUnavailableError):
        another.check(file)


def test_an_acceptance_counts_for_all_workers(machine, file):
    one, two = machine.guard(), machine.guard()
    machine.off = DAY
    assert one.doubts(file)
    assert two.doubts(file)
    one.accept(file)
    assert not two.doubts(file)


@pytest.mark.parametrize("jump", [0.5, -0.5, 1, 59])
def test_small_corrections_are_none(machine, file, jump):
    guard = machine.guard()
    machine.off = jump
    guard.check(file)
    for _ in range(200):
        machine.ran += 60
        machine.off += 0.9
        guard.check(file)


def test_time_that_passed_is_no_doubt(machine, file):
    """A registry at rest, a restored backup, and a machine that slept."""
    write(file, machine.wall())
    guard = machine.guard()
    machine.ran += 400 * DAY  # at rest; or asleep, as the time since boot counts
    guard.check(file)
    machine.guard().check(file)


def test_a_machine_that_was_stopped_with_its_clocks_and_is_right_again(machine, file):
    """Its own hardware clock says so; or a Redis elsewhere."""
    guard = machine.guard()
    machine.off = DAY
    machine.hardware = machine.wall() + 2
    guard.check(file)
    other = Machine()
    guard = other.guard()
    guard.redis_says(other.wall())
    other.off = DAY
    assert len(guard.doubts(file)) == 2
    guard.redis_says(other.wall())
    assert guard.doubts(file)  # of this machine: it jumped with it
    guard.apart = True
    guard.check(file)


def test_a_hardware_clock_that_follows_vouches_for_nothing(machine, file):
    guard = machine.guard()
    machine.off, machine.hardware = DAY, machine.wall()
    assert guard.doubts(file)
    machine.hardware = machine.wall()  # the system has set it by its own
    assert guard.doubts(file)


@pytest.mark.parametrize("ahead", [61, 399 * DAY])
def test_a_commit_dated_in_the_future_is_seen_and_binds_no_later_one(machine, file, ahead):
    write(file, machine.wall() + ahead)
    guard = machine.guard()
    with pytest.raises(StoreUnavailableError, match=r"the last commit \(1\) is dated"):
        guard.check(file)
    guard.accept(file)
    guard.check(file)
    right = int(machine.wall())
    assert write(file, right, "t").time == right
    assert write(file, right - 1, "u").time == right  # later ones keep their order
    guard.check(file)
    assert [file.journal.seq_at(right + more) for more in (-1, 0, ahead, 2 * ahead)] == [0, 3, 3, 3]


def test_redis_and_most_nodes_are_believed(machine, file):
    guard = machine.guard()
    guard.redis_says(machine.wall() - 61)
    assert "Redis" in guard.doubts(file)[0]
    assert guard.contradicted(file)
    guard.accept(file)
    guard.check(file)
    guard.redis_says(machine.wall() + 61)
    assert guard.doubts(file)
    guard.redis_says(machine.wall())
    for ahead, doubted in (((0, 0), False), ((0, 90), False), ((90, 90), True), ((90,), False)):
        guard = machine.guard()
        for _ in range(3):
            machine.ran += 1
            guard.nodes_say((f"n{n}", int(machine.wall() + one)) for n, one in enumerate(ahead))
        assert bool(guard.doubts(file)) is doubted, ahead
        assert guard.contradicted(file) is doubted


def test_a_node_that_is_gone_says_nothing(machine, file):
    guard = machine.guard()
    said = [("n1", int(machine.wall()) - DAY), ("n2", int(machine.wall()) - DAY)]
    for _ in range(3):
        machine.ran += 1
        guard.nodes_say(said)
    guard.check(file)
    machine.ran += 1
    said = [(name, moment + 1) for name, moment in said]
    guard.nodes_say(said)
    assert guard.doubts(file)
    machine.ran += 20
    guard.nodes_say(said)
    guard.check(file)


def test_what_is_thrown_away_is_thrown_away_late(machine):
    late = LateClock(machine.wall, machine.elapsed)
    assert late.now() is None
    for _ in range(LATE // 30 + 1):
        machine.ran += 30
        found = late.now()
    assert machine.wall() - LATE - 120 <= found <= machine.wall() - LATE
    for seconds in (10, 600):  # ahead for a while: nothing of tomorrow is thrown away
        machine.off = DAY
        for _ in range(seconds // 10):
            machine.ran += 10
            assert late.now() <= machine.wall() - DAY
        machine.off = 0
        assert late.now() <= machine.wall()
    machine.off = -DAY
    assert late.now() <= machine.wall()


@pytest.mark.parametrize("jump", [61, 399 * DAY, -61, -3600])
def test_a_jump_is_remembered_over_a_restart(machine, file, tmp_path, jump):
    kept = tmp_path / "clock.json"
    machine.guard(kept).check(file)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    machine.ran += 400 * DAY  # at rest: no doubt
    machine.guard(kept).check(file)
    machine.off = jump  # while it ran, or while nothing did
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="the clock was set"):
            machine.guard(kept).check(file)
    machine.guard(kept).accept(file)
    machine.guard(kept).check(file)
    machine.off = 0
    with pytest.raises(StoreUnavailableError):
        machine.guard(kept).check(file)


def test_small_corrections_while_nothing_runs_do_not_add_up(machine, file, tmp_path):
    for _ in range(10):
        machine.off += 30
        machine.guard(tmp_path / "clock.json").check(file)


def test_after_a_start_of_the_machine_the_clock_is_not_behind_what_it_was(
    machine, file, tmp_path, monkeypatch
):
    """Seconds since boot tell nothing then; and time that passed is no doubt."""
    kept = tmp_path / "clock.json"
    machine.guard(kept).check(file)
    monkeypatch.setattr(clock, "boot", lambda: "another")
    machine.ran, machine.off = 5.0, 400 * DAY
    machine.guard(kept).check(file)
    monkeypatch.setattr(clock, "boot", lambda: "a third")
    machine.off = -DAY
    guard = machine.guard(kept)
    with pytest.raises(StoreUnavailableError, match="behind what it said before the machine"):
        guard.check(file)
    guard.accept(file)
    machine.guard(kept).check(file)


@pytest.mark.parametrize("octets", [b"", b"{}", b"\xff", b'{"boot":1}'])
def test_what_is_kept_and_cannot_be_read_keeps_nobody_from_writing(machine, file, tmp_path, octets):
    kept = tmp_path / "clock.json"
    kept.write_bytes(octets)
    machine.guard(kept).check(file)
