"""What Redis lost: it stays as strict on the nodes that had it, until somebody has looked."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest
from fleet_nodes import Node, holding, options, privacy, subject, until, write

from zhenxian.analytics.model import KeyKind
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.journal import end, put
from zhenxian.registry.model import (
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Exemption,
    Holding,
    Kind,
    Reseller,
    Scope,
    State,
    Subject,
    Verification,
)
from zhenxian.stores.fleet import losses
from zhenxian.stores.fleet.entry import DivergedError, GapError
from zhenxian.stores.fleet.follower import Follower
from zhenxian.stores.fleet.journal import Journal
from zhenxian.stores.fleet.rebuild import Rebuild
from zhenxian.stores.fleet.states import NodeState

NOW = int(time.time())
BINDING = Binding(
    id="b1", platform="bank", model=BindingModel.AX, x=TN("170"), a=TN("139"), since=NOW - 10
)
EXEMPTION = Exemption(
    id="e1", kind=KeyKind.SUBJECT, target="bank", reason="why", since=NOW - 10, until=NOW + 1000
)
TRUNK = Access(id="t1", origid="o-1", subject="bank")
MVNO = Reseller(id="mvno")
DENIED = CalleeRefusal(numbers=TNRange(TN("500"), TN("599")), since=NOW - 10)

BEFORE = (
    subject("bank"),
    subject("shop"),
    put(MVNO),
    holding("100", spcs=("1001",)),
    holding("200", "299"),
    holding("300", of="shop", reseller="mvno"),
    privacy("170"),
    put(TRUNK),
    put(BINDING),
    put(EXEMPTION),
)


def stands(registry) -> dict[str, bool]:
    """What a node lets calls do."""

    def held(number: str) -> bool:
        found = registry.holding(TN(number))
        verified = found is not None and found.verification is Verification.VERIFIED
        return verified and found.subject == "bank"

    return {
        "subject": registry.standing("bank").closed_by is None,
        "reseller": registry.standing("shop", "mvno").closed_by is None,
        "number": held("100"),
        "range": held("250"),
        "code": (one := registry.holding(TN("100"))) is not None and "1001" in one.spcs,
        "access": (found := registry.access("t1", None)) is not None
        and found.state is State.ACTIVE,
        "origid": registry.access(None, "o-1") is not None,
        "binding": registry.binding(TN("139"), TN("170"), TN("186"), "", NOW) is not None,
        "exemption": registry.exemption("subject", "bank", NOW) is not None,
        "callee": registry.refusal(TN("550"), Scope.MARKETING, NOW) is None,
    }


# The changes that Redis loses, and what they took away.
TAKEN = {
    "a subject is suspended": ([put(Subject(id="bank", state=State.SUSPENDED))], {"subject"}),
    "a reseller is closed": ([put(Reseller(id="mvno", state=State.CLOSED))], {"reseller"}),
    "a number is given back": (
        [end(Holding(numbers=TNRange(TN("100"), TN("100")), subject="bank"))],
        {"number"},
    ),
    "a number goes to another": (
        [
            end(Holding(numbers=TNRange(TN("200"), TN("299")), subject="bank")),
            holding("250", of="shop"),
        ],
        {"range"},
    ),
    "a number of a range goes to another": ([holding("250", of="shop")], {"range"}),
    "a number is not verified any more": (
        [holding("100", spcs=("1001",), verification=Verification.UNVERIFIED)],
        {"number"},
    ),
    "a code may not sign any more": ([holding("100", spcs=("2002",))], {"code"}),
    "an access is suspended": (
        [put(Access(id="t1", origid="o-1", subject="bank", state=State.SUSPENDED))],
        {"access"},
    ),
    "an access is removed": ([end(TRUNK)], {"access"}),
    "an origid is rotated": (
        [put(Access(id="t1", origid="o-2", subject="bank", former=("o-1",)))],
        {"origid"},
    ),
    "a binding ends": ([end(BINDING)], {"binding"}),
    "an exemption ends": ([end(EXEMPTION)], {"exemption"}),
    "a callee refuses": ([put(DENIED)], {"callee"}),
}


def back_up(server) -> None:
    server.rewrite()
    shutil.copytree(server.folder / "appendonlydir", server.folder / "backup")


def roll_back(server) -> None:
    server.stop()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(server.folder / "backup", server.folder / "appendonlydir")
    server.start()


@pytest.mark.parametrize("case", TAKEN)
def test_what_lost_commits_took_away_stays_away(case, serve, tmp_path):
    changes, taken = TAKEN[case]
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, *BEFORE)
            back_up(server)
            everything = stands(a)
            assert all(everything.values())
            for change in changes:
                await write(a, change)
            without = {name for name, stays in stands(a).items() if not stays}
            assert without >= taken
            count = len(changes)
        roll_back(server)
        async with Node(tmp_path, "a", opts) as a:
            assert a.seq == 1
            left = {name for name, stays in stands(a).items() if not stays}
            assert left >= taken
            (told,) = (text for text in a.remarks() if "Redis lost" in text)
            assert f"Redis lost {count} commit(s)" in told
            assert a.losses.count == count
            assert [one.seq for one in a.losses.commits] == list(range(2, 2 + count))
        async with Node(tmp_path, "a", opts) as a:  # it outlives a restart
            assert {name for name, stays in stands(a).items() if not stays} == left
            await a.acknowledge_losses()
            assert stands(a) == everything
            await until(lambda: not a.problems())
        async with Node(tmp_path, "a", opts) as a:
            await until(lambda: not a.problems())

    asyncio.run(run())


def test_what_is_made_again_is_held_no_more_and_told_until_somebody_looks(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        suspended = put(Subject(id="bank", state=State.SUSPENDED))
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, *BEFORE)
            back_up(server)
            await write(a, suspended)
            await until(lambda: b.seq == 2)
            roll_back(server)
            await until(lambda: a.current and b.current and a.seq == b.seq == 1)
            for node in (a, b):
                assert node.standing("bank").closed_by is not None
            # A change that says nothing of it does not lift it.
            await write(b, put(Subject(id="bank", name="Bank")))
            await until(lambda: a.seq == b.seq == 2)
            for node in (a, b):
                assert node.standing("bank").closed_by is not None
                assert [(one.kind, one.key) for one in node.losses.held] == [(Kind.SUBJECT, "bank")]
            await write(b, suspended)
            await until(lambda: a.seq == b.seq == 3)
            for node in (a, b):
                assert node.losses.held == ()
                assert any("Redis lost 1 commit(s)" in text for text in node.remarks())
            await write(a, put(Subject(id="bank")))
            await until(lambda: a.seq == b.seq == 4)
            for node in (a, b):
                assert node.standing("bank").closed_by is None
                await node.acknowledge_losses()
                await until(lambda node=node: not node.problems())

    asyncio.run(run())


@pytest.fixture
def seen(monkeypatch) -> list[Exception]:
    """What the next comparisons of a replica with Redis end with, each once."""
    errors: list[Exception] = []
    catch_up = Follower._catch_up

    async def compared(self):
        if errors:
            raise errors.pop()
        await catch_up(self)

    monkeypatch.setattr(Follower, "_catch_up", compared)
    return errors


@pytest.mark.parametrize("anew", [0, 1, 3], ids=["nothing", "as much", "more"])
def test_what_was_missed_before_the_loss_hides_it_not(anew, serve, tmp_path, seen):
    """A gap that was seen while Redis was exchanged is no gap of the Redis that is there now."""
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, *BEFORE)
            back_up(server)
            await write(a, put(Subject(id="bank", state=State.SUSPENDED)))
        roll_back(server)
        async with Node(tmp_path, "b", opts) as b:
            for number in range(anew):
                await write(b, subject(f"other {number}"))
        seen.append(GapError("commits after 1 are no longer in the stream"))
        async with Node(tmp_path, "a", opts) as a:
            await until(lambda: a.current and a.seq == 1 + anew)
            assert a.standing("bank").closed_by is not None
            assert [(one.kind, one.key) for one in a.losses.held] == [(Kind.SUBJECT, "bank")]

    asyncio.run(run())


def test_nothing_is_lost_where_redis_has_what_a_node_has(serve, tmp_path, seen):
    """Also where something else was seen a moment ago."""
    server = serve()

    async def run():
        async with Node(tmp_path, "a", options(server.url)) as a:
            await write(a, *BEFORE)
            await write(a, put(Subject(id="bank", state=State.SUSPENDED)))
        seen.append(DivergedError("Redis ends at commit 1, this node at 2"))
        async with Node(tmp_path, "a", options(server.url)) as a:
            assert not seen
            await until(lambda: a.current and a.seq == 2)
            assert (a.losses.count, a.losses.held) == (0, ())
            assert not list(tmp_path.glob("*.lost-*"))

    asyncio.run(run())


def at(seq, *registries):
    """Whether processes of one file see a commit, which another one may have put there."""
    for one in registries:
        one.refresh()  # as before each batch of calls
    return all(one.seq == seq for one in registries)


def test_a_commit_that_another_process_takes_over_meanwhile_is_not_lost(
    serve, tmp_path, monkeypatch
):
    server = serve()
    asked, meanwhile = Journal.state, []

    async def slowly(self):
        found = await asked(self)
        if meanwhile and meanwhile[0][0] is self:
            await meanwhile.pop()[1]()
        return found

    monkeypatch.setattr(Journal, "state", slowly)

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts, "shared") as a:
            await write(a, subject("bank"))
            async with Node(tmp_path, "a", opts, "shared") as b:
                await until(lambda: at(1, b))
                meanwhile.append((a.node.journal, lambda: write(b, subject("shop"))))
                await a.sync()
                assert not meanwhile
                await until(lambda: a.current and b.current and at(2, a, b))
                assert a.losses.count == b.losses.count == 0
        assert not list(tmp_path.glob("*.lost-*"))

    asyncio.run(run())


def test_processes_of_one_file_keep_one_copy_of_what_redis_lost(serve, tmp_path, monkeypatch):
    server = serve()
    build, nodes = Rebuild._build, []

    async def late(self, *given):
        found = await build(self, *given)
        if nodes:  # the other one makes the file anew meanwhile
            (other,) = (node for node in nodes if node.node is not self._node)
            nodes.clear()
            await other.sync()
        return found

    monkeypatch.setattr(Rebuild, "_build", late)

    async def run():
        opts = options(server.url)
        one, two = (Node(tmp_path, "a", opts, "shared") for _ in range(2))
        async with one as a, two as b:
            await write(a, *BEFORE)
            back_up(server)
            await write(a, put(Subject(id="bank", state=State.SUSPENDED)))
            await until(lambda: at(2, a, b))
            nodes.extend((a, b))
            roll_back(server)
            await until(lambda: a.current and b.current and at(1, a, b))
            assert not nodes
            assert a.losses.count == b.losses.count == 1
        assert len(list(tmp_path.glob("*.lost-*"))) == 1

    asyncio.run(run())


def test_what_is_lost_twice_stays_as_strict_as_it_ever_was(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, *BEFORE)
            back_up(server)
            await write(a, put(Subject(id="bank", state=State.SUSPENDED)))
        roll_back(server)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, put(Subject(id="bank", name="Bank")))
        roll_back(server)
        async with Node(tmp_path, "a", opts) as a:
            assert a.standing("bank").closed_by is not None
            assert a.losses.count == 2

    asyncio.run(run())


def test_another_history_of_equal_length_is_seen(serve, tmp_path):
    """By one author, for one reason, in one second: what was lost is found by what it changed."""
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, *BEFORE, now=NOW)
            async with Node(tmp_path, "b", opts) as b:
                await until(lambda: b.seq == 1)
            back_up(server)
            await write(a, put(Subject(id="bank", state=State.SUSPENDED)), now=NOW)
        roll_back(server)
        async with Node(tmp_path, "b", opts) as b:
            await write(b, put(Subject(id="bank", name="Bank")), now=NOW)
        async with Node(tmp_path, "a", opts) as a:
            assert a.seq == 2
            assert a.standing("bank").closed_by is not None

    asyncio.run(run())


def test_beyond_a_bound_nothing_earns_an_a(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "MAX_HELD", 3)
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, *BEFORE)
            back_up(server)
            await write(a, *(put(Subject(id=f"s{n}", state=State.CLOSED)) for n in range(5)))
        roll_back(server)
        async with Node(tmp_path, "a", opts) as a:
            assert a.state is NodeState.CURRENT
            assert not a.current
            assert any("nothing is signed above B" in text for text in a.remarks())
            await a.acknowledge_losses()
            assert a.current

    asyncio.run(run())


VOLATILE = {
    "nothing is kept on disk": (("appendonly", "no"), ("appendonly", "yes")),
    "keys are evicted": (("maxmemory-policy", "allkeys-lru"), ("maxmemory-policy", "noeviction")),
}


@pytest.mark.parametrize("case", VOLATILE)
def test_a_redis_that_turns_volatile_while_it_runs_is_noticed(case, serve, tmp_path):
    changed, mended = VOLATILE[case]
    server = serve()

    async def run():
        async with Node(tmp_path, "a", options(server.url)) as a:
            await write(a, *BEFORE)
            server.ask("CONFIG", "SET", *changed)
            await until(lambda: a.state is NodeState.UNSAFE)
            assert not a.current
            assert any("what it loses, the fleet loses" in text for text in a.faults())
            with pytest.raises(StoreUnavailableError, match="the fleet loses"):
                await write(a, subject("law"))
            server.ask("CONFIG", "SET", *mended)
            await until(lambda: a.current and not a.problems())
            await write(a, subject("law"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"appendonly": "no", "save": "3600 1"}, "saves now and then only"),
        ({"maxmemory-policy": "volatile-lru"}, "which tokens were seen"),
    ],
)
def test_a_redis_that_keeps_less_is_told(settings, text, serve, tmp_path):
    server = serve()

    async def run():
        async with Node(tmp_path, "a", options(server.url)) as a:
            for name in reversed(settings):
                server.ask("CONFIG", "SET", name, settings[name])
            await until(lambda: any(text in remark for remark in a.remarks()))
            assert a.current
            server.ask("CONFIG", "SET", "appendonly", "yes")
            server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await until(lambda: not a.remarks())

    asyncio.run(run())
