"""What is known of conduct survives: saved in the background, and at once where it must be."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from streams import ACCESS, ALONE, NOON, SUBJECT, calls, fed, number, pool

from zhenxian.analytics import Detector, Key, KeyKind, Observation, Policy, State
from zhenxian.analytics.codec import FORMAT, Delta, Saved, write_delta
from zhenxian.analytics.linkage import Mark
from zhenxian.analytics.model import Finding, Measure
from zhenxian.analytics.thresholds import DAY
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.stores.analytics import file as file_module
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.analytics.sync import SAVED_WITHIN, AnalyticsSync, load_policy, salt_of

AT = NOON + 3_000
POLICY = Policy(structure_alone=True, max_keys=64)


def keeper(path, policy=POLICY, now=NOON):
    made = AnalyticsSync(Detector(policy), ConductFile(path), None, lambda: now)
    made.restore()
    return made


def observation(key, index, at=NOON):
    """A call of the key, with a display and a callee of its own."""
    return Observation(at=at, keys=(key,), display=number("28", index), callee=number("10", index))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "conduct.db"


def test_a_graceful_stop_loses_nothing(path):
    before = keeper(path)
    fed(before.conduct, calls(ACCESS, pool(Random(1), 100)))
    asyncio.run(before.close())
    after = keeper(path)
    assert after.conduct.picture(ACCESS, AT) == before.conduct.picture(ACCESS, AT)
    assert after.conduct.picture(ACCESS, AT).state is State.POOLED


KILLED = """
import os, signal, sys
from pathlib import Path
from random import Random
sys.path[:0] = {paths!r}
from streams import ACCESS, calls, pool
from test_analytics_sync import keeper
kept = keeper(Path({path!r}))
for observation in calls(ACCESS, pool(Random(1), 100)):
    kept.catch_up()  # as before each batch of calls
    found = kept.conduct.finding(ACCESS, observation.at)
    if found is not None and found.state == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    kept.conduct.observe(observation)
"""


def test_killed_at_the_first_call_that_was_answered_by_a_finding_it_stands(path):
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = KILLED.format(paths=[*folders, str(Path(__file__).parents[3])], path=str(path))
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert ended.returncode == -9
    assert keeper(path).conduct.finding(ACCESS, AT).state is State.POOLED


def test_counts_are_saved_within_the_stated_time(path):
    kept = keeper(path, ALONE)
    keys = [Key(KeyKind.ACCESS, f"a-{index}") for index in range(12_000)]
    for index, key in enumerate(keys):
        kept.conduct.observe(observation(key, index))

    async def looks():
        for _ in range(SAVED_WITHIN * 2):
            await kept.look()

    asyncio.run(looks())
    assert kept.conduct.untaken == 0
    again = keeper(path, ALONE)
    assert all(again.conduct.picture(key, NOON).calls == 1 for key in keys)


def test_no_more_keys_are_kept_than_are_remembered(path):
    kept = keeper(path)
    for index in range(400):
        kept.conduct.observe(observation(Key(KeyKind.ACCESS, f"a-{index}"), index, NOON + index))
        if index % 20 == 0:
            asyncio.run(kept.look())
    asyncio.run(kept.close())
    with sqlite3.connect(path) as file:
        (rows,) = file.execute("SELECT count(*) FROM counts").fetchone()
    file.close()
    assert 0 < rows <= POLICY.max_keys


def test_what_is_older_than_anybody_is_remembered_is_left(path):
    before = keeper(path)
    fed(before.conduct, calls(ACCESS, pool(Random(1), 10)))
    asyncio.run(before.close())
    assert len(keeper(path, now=NOON + POLICY.remembered + 300).conduct) == 0


def test_a_file_that_cannot_be_written_is_told_and_written_when_it_can(path):
    kept = keeper(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    fed(kept.conduct, calls(ACCESS, pool(Random(1), 100)))
    kept.catch_up()
    (problem,) = kept.problems()
    assert "restart" in problem
    assert kept.conduct.finding(ACCESS, AT) is not None  # in force all the same
    blocker.execute("ROLLBACK")
    blocker.close()
    asyncio.run(kept.look())
    assert kept.problems() == []
    assert keeper(path).conduct.finding(ACCESS, AT) is not None


def test_while_nothing_can_be_written_counts_wait_where_they_are_bounded(path):
    kept = keeper(path, ALONE)
    for index in range(1_000):
        kept.conduct.observe(observation(Key(KeyKind.ACCESS, f"a-{index}"), index))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    async def looks(times):
        for _ in range(times):
            await kept.look()

    asyncio.run(looks(3))
    assert kept.conduct.untaken >= 900
    blocker.execute("ROLLBACK")
    blocker.close()
    asyncio.run(looks(SAVED_WITHIN * 2))
    assert kept.conduct.untaken == 0
    again = keeper(path, ALONE)
    assert len(again.conduct) == 1_000


class Slow:
    """An exchange; while it is sent to, something happens."""

    def __init__(self, meanwhile):
        self.meanwhile, self.sent, self.fails = meanwhile, [], 0

    async def send(self, deltas, findings, now):
        self.meanwhile()
        if self.fails:
            self.fails -= 1
            raise StoreUnavailableError("away")
        self.sent += [(one.key, one.content is None) for one in findings]

    async def receive(self, now):
        return []

    async def standing(self):
        return []

    async def close(self):
        pass


@pytest.mark.parametrize("fails", [0, 1])
def test_what_is_found_while_the_others_are_told_is_told_next(path, fails):
    def found():
        if not kept.conduct.standing(AT):
            fed(kept.conduct, calls(ACCESS, pool(Random(1), 100)))
            kept.catch_up()  # as before a batch of calls

    exchange = Slow(found)
    exchange.fails = fails
    kept = AnalyticsSync(Detector(POLICY, fleet=True), ConductFile(path), exchange, lambda: NOON)

    async def looks():
        for _ in range(3):
            await kept.look()

    asyncio.run(looks())
    assert [one for one in exchange.sent if "mark" not in one[0]] == [(str(ACCESS), False)]


def test_a_node_that_cannot_be_read_is_told_of_until_it_is_silent(path):
    clock = [float(NOON)]
    exchange = Slow(lambda: None)
    conduct = Detector(POLICY, fleet=True)
    kept = AnalyticsSync(conduct, ConductFile(path), exchange, lambda: clock[0])
    other = Detector(Policy(structure_alone=True, salt=9), fleet=True)
    fed(other, calls(ACCESS, pool(Random(1), 3)))
    heard = [[("other/7", other.take_delta())], [], []]

    async def receive(now):
        return heard.pop(0)

    exchange.receive = receive
    asyncio.run(kept.look())
    assert "other/7" in kept.problems()[0]
    clock[0] += 130
    assert kept.problems() == []
    asyncio.run(kept.look())
    assert kept.problems() == []


@pytest.mark.parametrize("asked", ["doubted", "not to be asked"])
def test_a_clock_that_is_a_year_ahead_forgets_nobody(path, asked):
    clock, doubts = [float(NOON)], []

    def doubting():
        if doubts and asked == "not to be asked":
            raise StoreUnavailableError("away")
        return doubts

    kept = AnalyticsSync(
        Detector(POLICY), ConductFile(path), None, lambda: clock[0], doubts=doubting
    )
    fed(kept.conduct, calls(ACCESS, pool(Random(1), 100)))
    asyncio.run(kept.look())
    clock[0] += 365 * DAY
    doubts.append("the clock was set ahead")
    asyncio.run(kept.look())
    clock[0] -= 365 * DAY
    doubts.clear()
    asyncio.run(kept.look())
    assert kept.conduct.finding(ACCESS, AT).state is State.POOLED
    clock[0] += 365 * DAY  # it is a year later, by all that is known
    asyncio.run(kept.look())
    clock[0] -= 365 * DAY
    assert kept.conduct.finding(ACCESS, AT) is None


def told(*observations, boot=0):
    """What another node tells of calls."""
    other = Detector(POLICY, fleet=True, boot=boot)
    fed(other, observations)
    return other.take_delta()


def test_what_was_received_counts_though_findings_cannot_be_read_then(path):
    exchange = Slow(lambda: None)
    heard = [[("other/7", told(*calls(ACCESS, pool(Random(1), 3))))], []]

    async def receive(now):
        return heard.pop(0)

    async def standing():
        raise StoreUnavailableError("away")

    exchange.receive, exchange.standing = receive, standing
    kept = AnalyticsSync(Detector(POLICY, fleet=True), ConductFile(path), exchange, lambda: NOON)
    asyncio.run(kept.look())
    assert "away" in kept.problems()[0]
    assert kept.conduct.picture(ACCESS, AT).calls == 3


def test_what_cannot_be_counted_of_another_node_costs_itself_only(path, monkeypatch, caplog):
    exchange = Slow(lambda: None)
    kept = AnalyticsSync(Detector(POLICY, fleet=True), ConductFile(path), exchange, lambda: NOON)
    good = told(*calls(ACCESS, pool(Random(1), 3)))
    heard = [[("odd/1", b"1"), ("odd/1", b"2"), ("other/7", good)], []]
    merge = kept.conduct.merge

    def faulty(node, delta):
        if node == "odd/1":
            raise TypeError("odd")
        return merge(node, delta)

    async def receive(now):
        return heard.pop(0)

    exchange.receive = receive
    monkeypatch.setattr(kept.conduct, "merge", faulty)
    asyncio.run(kept.look())
    assert kept.conduct.picture(ACCESS, AT).calls == 3
    assert "odd/1" in kept.problems()[0]
    assert caplog.text.count("what another node counted is left out") == 1


def test_what_others_confirm_is_saved_and_not_sent_once_more(path):
    """Not by each node, whenever one confirms what all know."""
    exchange = Slow(lambda: None)
    found = Finding(
        key=ACCESS, state=State.POOLED, measure=Measure.SPREAD, strength=1.0, figures={},
        thresholds={}, window=DAY, samples=(), since=NOON, until=NOON + DAY,
    )  # fmt: skip
    mark = Mark(key=ACCESS, at=NOON, level=0, numbers=b"", callees=b"0123")

    def delta(number, at):
        told = Delta(
            version=FORMAT, salt=Detector(POLICY)._counting.hashing.fingerprint,
            sequence=(1, number), keys=[], events=[], ended=[], cleared=[], marks=[],
            findings=[replace(found, until=at + DAY)],
            linkage=[replace(mark, at=at, callees=str(at).encode()[-4:])],
        )  # fmt: skip
        return [("other/7", write_delta(told))]

    heard = [delta(1, NOON), [], delta(2, NOON + 60), []]

    async def receive(now):
        return heard.pop(0)

    exchange.receive = receive
    kept = AnalyticsSync(Detector(POLICY, fleet=True), ConductFile(path), exchange, lambda: NOON)

    async def looks():
        while heard:
            await kept.look()

    asyncio.run(looks())
    once = [(str(ACCESS), False), (f"mark {ACCESS}", False)]
    assert sorted(exchange.sent) == once
    again = Detector(POLICY)
    again.restore([], ConductFile(path).load(0, 10)[1])
    assert again.finding(ACCESS, AT).until == NOON + 60 + DAY
    assert again.oldest_mark == NOON + 60


def test_calls_go_on_while_much_is_written_for_the_others(path, monkeypatch):
    exchange = Slow(lambda: None)
    kept = AnalyticsSync(Detector(POLICY, fleet=True), ConductFile(path), exchange, lambda: NOON)
    turns = []

    async def work():
        async def serve():
            while True:
                turns.append(written[0])
                await asyncio.sleep(0)

        serving = asyncio.create_task(serve())
        await kept.look()
        serving.cancel()

    written, take = [0], kept.conduct.take_delta

    def counted():
        written[0] += 1
        return take(10)

    monkeypatch.setattr(kept.conduct, "take_delta", counted)
    fed(kept.conduct, calls(ACCESS, pool(Random(1), 100)))
    asyncio.run(work())
    assert set(range(1, 11)) <= set(turns)


def test_a_file_that_cannot_be_read_is_told_until_it_can(path):
    before = keeper(path)
    fed(before.conduct, calls(ACCESS, pool(Random(1), 100)))
    asyncio.run(before.close())
    with sqlite3.connect(path) as file:
        file.execute("ALTER TABLE counts RENAME TO away")
    clock = [float(NOON)]
    kept = AnalyticsSync(Detector(POLICY), ConductFile(path), None, lambda: clock[0])
    kept.restore()
    assert "cannot be read" in kept.problems()[0]
    fed(kept.conduct, calls(SUBJECT, pool(Random(2), 100)))
    kept.catch_up()  # saved, which reads nothing
    asyncio.run(kept.look())
    assert "cannot be read" in kept.problems()[0]
    file.execute("ALTER TABLE away RENAME TO counts")
    file.close()
    clock[0] += 61
    asyncio.run(kept.look())
    assert kept.problems() == []
    for key in (ACCESS, SUBJECT):
        assert kept.conduct.finding(key, AT).state is State.POOLED
    again = keeper(path)
    for key in (ACCESS, SUBJECT):
        assert again.conduct.finding(key, AT).state is State.POOLED


def test_a_file_that_is_none_is_told_at_start(path):
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreUnavailableError, match=r"conduct\.db"):
        ConductFile(path)


def test_a_damaged_row_costs_that_row_only(path):
    before = keeper(path)
    fed(before.conduct, calls(ACCESS, pool(Random(1), 100)))
    asyncio.run(before.close())
    with sqlite3.connect(path) as file:
        file.execute("INSERT INTO counts VALUES ('access:b', ?, x'c1')", (NOON,))
    file.close()
    assert keeper(path).conduct.finding(ACCESS, AT) is not None


def test_a_call_that_cannot_be_counted_costs_that_call_only(path, monkeypatch, caplog):
    kept = keeper(path)
    first, second, third = calls(ACCESS, pool(Random(1), 3))
    observe = kept.conduct.observe

    def faulty(one):
        if one is second:
            raise TypeError("odd")
        observe(one)

    monkeypatch.setattr(kept.conduct, "observe", faulty)
    for one in (first, second, third):
        kept.calls.observe(one)
    kept.catch_up()
    kept.catch_up()
    assert kept.conduct.picture(ACCESS, AT).calls == 2
    assert caplog.text.count("a call is not counted") == 1


def test_a_fault_of_ours_is_told_and_ends_nothing(path, monkeypatch, caplog):
    kept = keeper(path)
    monkeypatch.setattr("zhenxian.stores.analytics.sync.EVERY", 0.001)
    faults = [TypeError("odd"), TypeError("odd")]

    def expire(now):
        if faults:
            raise faults.pop()

    monkeypatch.setattr(kept.conduct, "expire", expire)
    monkeypatch.setattr("zhenxian.stores.analytics.sync._EXPIRE_EVERY", 0.0)
    seen = []

    async def run():
        running = asyncio.create_task(kept.run())
        while faults or kept.problems():
            seen.extend(kept.problems())
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 10))
    assert any("the log tells" in problem for problem in seen)
    assert not any("TypeError" in problem for problem in seen)
    assert caplog.text.count("conduct is not saved") == 1


def test_one_worker_saves_for_all(path):
    one, two = ConductFile(path), ConductFile(path)
    assert one.leads()
    assert not two.leads()
    assert one.leads()
    one.close()
    assert two.leads()
    two.close()


def test_a_worker_whose_clock_is_ahead_takes_nothing_from_the_others(path, monkeypatch):
    """What was told goes two minutes later, by a clock that nobody sets."""
    one, two = (file_module.WorkerExchange(ConductFile(path), name) for name in ("one", "two"))
    ran = [1_000.0]
    monkeypatch.setattr(file_module, "since_boot", lambda: ran[0], raising=False)

    def told():
        return [text for _, text in asyncio.run(two.receive(NOON))]

    for now, delta in ((NOON, b"a"), (NOON + 3_600, b"b"), (NOON - 3_600, b"c"), (NOON, b"d")):
        asyncio.run(one.send([delta], [], now))
    assert told() == [b"a", b"b", b"c", b"d"]
    rows = "SELECT count(*) FROM deltas"
    for passed, left in ((121, 1), (-1_000, 1), (5, 2)):  # two minutes; a start of the machine
        ran[0] += passed
        asyncio.run(one.send([b"e"], [], NOON))
        assert two._file._db.execute(rows).fetchone() == (left,)
    assert len(told()) > 0
    for each in (one, two):
        each._file.close()


def test_the_disk_is_waited_for_in_a_thread(path, monkeypatch):
    threads = []
    settle = file_module._settle

    def settled(path):
        threads.append(threading.current_thread())
        settle(path)

    monkeypatch.setattr(file_module, "_settle", settled)
    kept = keeper(path)
    file = kept._file
    file.save([Saved(f"key{n}", bytes(1 << 20)) for n in range(5)], [], NOON)
    assert file.unsettled > 5 << 20
    assert path.stat().st_size < 1 << 20
    asyncio.run(kept.look())
    assert threads != [threading.main_thread()] * len(threads)
    assert path.stat().st_size > 5 << 20
    file.save([Saved("another", b"")], [], NOON)
    assert file.unsettled < 1 << 20
    asyncio.run(kept.look())
    assert len(threads) == 1


def test_the_file_is_its_owners(path):
    ConductFile(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


# -- thresholds


def test_thresholds_come_from_a_file(tmp_path):
    file = tmp_path / "thresholds.toml"
    file.write_text('measures = ["spread"]\nwindow = 7200\n[spread]\ndisplays = 12\n')
    policy = load_policy(file, salt=7)
    assert (policy.window, policy.spread.displays, policy.salt) == (7200, 12, 7)
    assert [measure.value for measure in policy.measures] == ["spread"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[spread]\nnothing = 1\n", "nothing"),
        ("window = 5\n", "window"),
        ("window =\n", "thresholds.toml"),
        ("salt = 3\n", "salt"),
        ('measures = ["astrology"]\n', "astrology"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(tmp_path, text, told):
    file = tmp_path / "thresholds.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_policy(file, salt=0)


def test_nodes_that_share_an_identity_key_share_a_salt_that_does_not_tell_it():
    assert salt_of(b"k" * 32) == salt_of(b"k" * 32) != salt_of(b"l" * 32)
    assert 0 <= salt_of(b"k" * 32) < 1 << 56
