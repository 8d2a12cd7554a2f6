"""Several nodes, one journal: writes, conflicts, catching up, acknowledgements."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from fleet_nodes import (
    ISSUER,
    Node,
    holding,
    options,
    order,
    privacy,
    state,
    subject,
    until,
    write,
)
from msgspec.structs import replace

from zhenxian.analytics.model import KeyKind
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.imports import Origin
from zhenxian.registry.journal import (
    Change,
    Commit,
    Proposal,
    RegistryConflictError,
    VersionConflictError,
    put,
)
from zhenxian.registry.model import (
    Binding,
    BindingModel,
    CalleeRefusal,
    Exemption,
    Holding,
    Kind,
    Scope,
    Subject,
    Who,
)
from zhenxian.registry.node_key import public_key
from zhenxian.registry.orders import (
    Action,
    Issuer,
    claimed,
    lifted,
    read_acknowledgement,
    sign_instruction,
    unfounded,
)
from zhenxian.stores.fleet.entry import Mark, entry_of
from zhenxian.stores.fleet.importer import FleetImport
from zhenxian.stores.fleet.journal import Journal
from zhenxian.stores.fleet.link import FleetOptions, Link
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.fleet.replica import Replica

REGULATOR = Issuer("regulator", (ISSUER.verifying_key,))


def lifting(given, number):
    lift = replace(claimed(given.token), action=Action.LIFT, number=number, since=int(time.time()))
    return lifted(given, lift, sign_instruction(lift, ISSUER, "k"))


def test_what_one_node_writes_the_others_answer_by(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            assert a.current
            assert b.current
            commit = await write(a, subject("bank"), holding("100", "199"))
            assert commit.seq == 1
            assert a.holding(TN("150")).subject == "bank"
            await until(lambda: b.seq == 1)
            assert b.holding(TN("150")).subject == "bank"
            assert (await write(b, holding("300"))).seq == 2
            await until(lambda: a.seq == 2)
            assert state(a) == state(b)
            await until(lambda: not a.problems() and not b.problems())
            names = [(entry["node"], entry["cursor"]) for entry in await a.nodes()]
            assert [name for name, _ in names] == ["a", "b"]

    asyncio.run(run())


def test_a_dry_run_changes_nothing(redis, tmp_path):
    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            commit = await write(a, subject("bank"), dry_run=True)
            assert commit.seq == 1
            assert a.records.last() == (0, 0)
            assert redis.ask("EXISTS", "{zx}:journal").strip() == "0"
            with pytest.raises(ConfigError, match="bank"):
                await write(a, holding("100"), dry_run=True)

    asyncio.run(run())


def test_two_nodes_write_the_same_holding_and_one_wins(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), subject("shop"))
            for number in range(100, 120):
                taken = await asyncio.gather(
                    write(a, holding(str(number), of="bank")),
                    write(b, holding(str(number), of="shop")),
                    return_exceptions=True,
                )
                lost = [answer for answer in taken if isinstance(answer, Exception)]
                assert len(lost) == 1, taken
                assert isinstance(lost[0], RegistryConflictError)
                assert "bank" in str(lost[0])
                assert "shop" in str(lost[0])
            await until(lambda: a.seq == b.seq == 21)
            assert state(a) == state(b)

    asyncio.run(run())


def test_many_writers_lose_nothing(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with (
            Node(tmp_path, "a", opts) as a,
            Node(tmp_path, "b", opts) as b,
            Node(tmp_path, "c", opts) as c,
        ):
            nodes = [a, b, c]

            async def writer(node, first):
                for number in range(15):
                    await write(node, subject(f"s{first + number}"))

            await asyncio.gather(*(writer(node, 100 * i) for i, node in enumerate(nodes)))
            await until(lambda: a.seq == b.seq == c.seq == 45)
            assert state(a) == state(b) == state(c)
            assert len(state(a)["records"]) == 45

    asyncio.run(run())


def test_a_version_that_another_node_replaced_is_refused(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"))
            await until(lambda: b.seq == 1)
            change = put(Subject(id="bank", name="A"), expected=1)
            other = put(Subject(id="bank", name="B"), expected=1)
            answers = await asyncio.gather(
                write(a, change), write(b, other), return_exceptions=True
            )
            assert sorted(type(answer).__name__ for answer in answers) == [
                "Commit",
                "VersionConflictError",
            ]
            # The version another node made a moment ago is known to whoever names it.
            await write(b, put(Subject(id="bank", name="C"), expected=2))
            with pytest.raises(VersionConflictError):
                await write(a, put(Subject(id="bank", name="D"), expected=2))

    asyncio.run(run())


def test_a_refusal_rests_on_all_commits_even_without_following(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a:
            lone = FleetRegistry(tmp_path / "lone.db", opts)
            await lone.start()
            await write(a, subject("bank"))
            assert (await write(lone, holding("100"))).seq == 2
            await lone.aclose()

    asyncio.run(run())


def test_an_idempotency_key_counts_on_every_node(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        key = {"request": b"r" * 32, "fingerprint": b"f"}
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            both = await asyncio.gather(
                write(a, subject("bank"), **key), write(b, subject("bank"), **key)
            )
            assert [commit.seq for commit in both] == [1, 1]
            await until(lambda: b.seq == 1)
            assert (await write(b, subject("bank"), **key)).seq == 1
            with pytest.raises(RegistryConflictError, match="another request"):
                await write(b, subject("x"), request=key["request"], fingerprint=b"g")

    asyncio.run(run())


def test_a_node_that_was_away_takes_over_what_it_missed(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a:
            async with Node(tmp_path, "b", opts) as b:
                await write(a, subject("bank"))
                await until(lambda: b.seq == 1)
            for number in range(300):
                await write(a, holding(str(1000 + number)))
            async with Node(tmp_path, "b", opts) as b:
                assert b.seq == 301
                assert b.current
                assert state(a) == state(b)

    asyncio.run(run())


def test_processes_of_one_machine_share_a_file(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        one = Node(tmp_path, "a", opts, file="shared")
        two = Node(tmp_path, "a", opts, file="shared")
        async with one as first, two as second:
            await write(first, subject("bank"))
            await asyncio.gather(
                *(write(first, holding(str(100 + n))) for n in range(20)),
                *(write(second, holding(str(200 + n))) for n in range(20)),
            )
            await until(lambda: first.records.last()[0] == second.records.last()[0] == 41)
            first.refresh(), second.refresh()
            assert first.holding(TN("205")) == second.holding(TN("205")) != None  # noqa: E711
            await until(lambda: not first.problems() and not second.problems())

    asyncio.run(run())


def test_orders_are_in_force_and_acknowledged_everywhere(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with (
            Node(tmp_path, "a", opts) as a,
            Node(tmp_path, "b", opts) as b,
            Node(tmp_path, "c", opts) as c,
        ):
            await write(a, subject("bank"))
            given = order("o1", 1)
            begun = time.time_ns() // 1_000_000
            await write(b, put(given))
            for node in (a, b, c):
                await until(lambda node=node: node.order(Who(subjects=("bank",)), 2**40))
            await until(lambda: _all_said(a, 3))
            said = await c.acknowledgements("o1")
            assert [node for node, _, _ in said] == ["a", "b", "c"]
            for node, token, jwk in said:
                word = read_acknowledgement(token, given, public_key(jwk))
                assert word.node == node
                assert word.cursor == 2
                assert begun <= word.since <= time.time_ns() // 1_000_000
            assert await a.acknowledgements("none") == []
        # A node that comes later obeys, and says so.
        async with Node(tmp_path, "d", opts) as d:
            assert d.order(Who(subjects=("bank",)), 2**40) == given
            await until(lambda: _all_said(d, 4))
            with pytest.raises(RegistryConflictError, match="o1"):
                await write(d, holding("100"))

    asyncio.run(run())


async def _all_said(registry, count):
    return len(await registry.acknowledgements("o1")) == count


def test_acknowledgements_that_redis_lost_are_given_again(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"))
            await write(a, put(order("o1", 1)))
            await until(lambda: _all_said(a, 1))
            before = await a.acknowledgements("o1")
        redis.ask("DEL", "{zx}:acks:o1")
        async with Node(tmp_path, "a", opts) as a:
            await until(lambda: _all_said(a, 1))
            assert await a.acknowledgements("o1") == before

    asyncio.run(run())


def test_a_checkpoint_and_the_tail_make_a_new_node(redis, tmp_path, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.fleet.checkpoints.LATE", 0)

    async def run():
        opts = options(redis.url, keep_commits=0)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"), subject("shop"), holding("100", "199"))
            now = int(time.time())
            exempt = Exemption(
                id="e1",
                kind=KeyKind.SUBJECT,
                target="bank",
                reason="branches",
                since=now,
                until=now + 900,
            )
            refusal = CalleeRefusal(
                numbers=TNRange(TN("700"), TN("709")), since=now, source="hotline"
            )
            records = [put(exempt), put(refusal)]
            await write(a, privacy("300"), privacy("301", of="shop"), *records)
            bindings = [
                Binding(
                    id=f"b{n}",
                    platform="bank",
                    model=BindingModel.AX,
                    x=TN("300"),
                    a=TN(f"5{n}"),
                    since=begin,
                    until=end,
                )
                for n, begin, end in ((1, now, now + 3), (2, now + 3, now + 900))
            ]
            await write(a, put(bindings[0]))
            await write(a, Change(Kind.HOLDING, "301", None))
            await write(a, put(order("o1", 1, "shop")))
            await until(lambda: time.time() > now + 3.2)
            await write(a, put(bindings[1]), now=int(time.time()))
            assert await a.checkpoint()
            assert redis.ask("XLEN", "{zx}:journal").strip() == "0"
            await write(a, holding("400"), request=b"r", fingerprint=b"f")
            async with Node(tmp_path, "b", opts) as b:
                assert b.seq == a.seq == 7
                assert b.current
                for key in ("100-199", "301", "400"):
                    assert b.records.history(Kind.HOLDING, key) == a.records.history(
                        Kind.HOLDING, key
                    )
                assert b.holding(TN("150")) == a.holding(TN("150"))
                assert b.records.get(Kind.BINDING, "b1") is None
                assert b.records.get(Kind.BINDING, "b2") == a.records.get(Kind.BINDING, "b2")
                assert b.order(Who(subjects=("shop",)), 2**40).id == "o1"
                assert b.records.last_number("regulator") == 1
                assert b.exemption("subject", "bank", now) == exempt
                assert b.refusal(TN("705"), Scope.MARKETING, now) == refusal
                assert b.records.history(Kind.REFUSAL, "700-709")
                again = await write(b, holding("400"), request=b"r", fingerprint=b"f")
                assert again.seq == 7
                await write(b, holding("401"))
                await until(lambda: a.seq == 8)
                # An image of an image.
                assert await b.checkpoint()
            async with Node(tmp_path, "c", opts) as c:
                assert c.seq == 8
                assert state(c) == state(a) | {
                    name: state(c)[name] for name in ("bindings", "ways")
                }
                await until(lambda: not c.problems())

    asyncio.run(run())


def test_the_stream_stays_bounded_by_itself(redis, tmp_path):
    async def run():
        opts = options(redis.url, checkpoint_commits=20, keep_commits=5)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"))
            for number in range(60):
                await write(a, holding(str(1000 + number)))
            await until(lambda: int(redis.ask("XLEN", "{zx}:journal")) <= 26)
            await until(lambda: not a.problems())

            def kept():
                pieces = redis.ask("--scan", "--pattern", "{zx}:checkpoint:*").split()
                return [piece for piece in pieces if redis.ask("TTL", piece).strip() == "-1"]

            await until(lambda: len(kept()) == 1)  # one that was replaced goes a moment later
        async with Node(tmp_path, "b", opts) as b:
            assert b.seq == 61
            assert b.holding(TN("1059")).subject == "bank"

    asyncio.run(run())


def test_a_gap_is_bridged_by_the_checkpoint_and_history_here_is_kept(redis, tmp_path):
    async def run():
        opts = options(redis.url, keep_commits=0)
        now = int(time.time())
        async with Node(tmp_path, "a", opts) as a:
            async with Node(tmp_path, "b", opts) as b:
                await write(a, subject("bank"), privacy("300"))
                lent = Binding(
                    id="b1",
                    platform="bank",
                    model=BindingModel.AX,
                    x=TN("300"),
                    a=TN("51"),
                    since=now,
                )
                await write(a, put(lent))
                await until(lambda: b.seq == 2)
                assert b.binding(TN("51"), TN("300"), TN("60"), "", now) == lent
            await write(a, Change(Kind.BINDING, "b1", None))
            await write(a, holding("400"))
            assert await a.checkpoint()
            async with Node(tmp_path, "b", opts) as b:
                assert b.seq == 4
                assert b.current
                await until(lambda: not b.problems())
                assert b.binding(TN("51"), TN("300"), TN("60"), "", now) is None
                first, second = b.records.history(Kind.BINDING, "b1")
                assert (first.version, first.value) == (2, lent)
                assert second.value is None
                assert state(a) == state(b)

    asyncio.run(run())


def test_a_gap_without_checkpoint_is_told_and_signing_stops(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a:
            async with Node(tmp_path, "b", opts) as b:
                await write(a, subject("bank"))
                await until(lambda: b.seq == 1)
            for number in range(5):
                await write(a, holding(str(100 + number)))
            redis.ask("XTRIM", "{zx}:journal", "MAXLEN", "2")
            async with Node(tmp_path, "b", opts) as b:
                assert not b.current
                assert any("neither the stream nor a checkpoint" in p for p in b.problems())
                assert b.seq == 1
                with pytest.raises(StoreUnavailableError, match="rebuilt"):
                    await write(b, subject("x"))
                assert await a.checkpoint()  # mends it: the node recovers by itself
                await until(lambda: b.current)
                assert state(a) == state(b)
                await until(lambda: not b.problems())

    asyncio.run(run())


def test_a_commit_of_another_make_is_not_skipped(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"))
            redis.ask("XADD", "{zx}:journal", "2-0", "c", "junk", "p", "junk", "n", "n")
            await until(lambda: not a.current)
            assert a.holding(TN("100")) is None
            assert a.seq == 1
            assert a.problems()

    asyncio.run(run())


def test_orders_that_are_refused_do_not_count(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        node = Node(tmp_path, "b", opts)
        node.registry.node.vet = lambda given, before: "forged" if given.id == "bad" else None
        async with Node(tmp_path, "a", opts) as a, node as b:
            await write(a, subject("bank"), subject("shop"))
            await write(a, put(order("bad", 1)))
            await write(a, put(order("good", 2, "shop")))
            await until(lambda: b.seq == 3)
            assert b.order(Who(subjects=("bank",)), 2**40) is None
            assert b.order(Who(subjects=("shop",)), 2**40).id == "good"
            await until(lambda: any("order bad: forged" in each for each in b.problems()))

    asyncio.run(run())


def test_an_import_that_was_cut_off_is_gone_on_with(redis, tmp_path, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.fleet.importer._BATCH", 2)
    lines = ["first,subject\n", *(f"10{n},bank\n" for n in range(8))]
    how = {"author": "a", "reason": "r", "now": 1}

    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            await write(a, subject("bank"))

            def torn():
                yield from lines[:6]
                raise OSError("the line is cut")

            with pytest.raises(OSError, match="cut"):
                await FleetImport(a, Kind.HOLDING, resume="may", **how).run(torn())
            reached = await a.read(lambda book: book.import_line("may"))
            assert reached == 5  # the header and two commits of two rows
            again = FleetImport(a, Kind.HOLDING, resume="may", **how)
            report = await again.run(iter(lines))
            assert report.rows == 4
            assert report.rejections == 0
            assert all(a.holding(TN(f"10{n}")) is not None for n in range(8))
            assert await a.read(lambda book: book.import_line("may")) == 0
            whole = await FleetImport(a, Kind.HOLDING, resume="may", **how).run(iter(lines))
            assert (whole.rows, whole.unchanged) == (8, 8)

    asyncio.run(run())


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_an_import_refuses_what_stands_twice(redis, tmp_path, monkeypatch, batch):
    """As the import into a file does; and as the dry run says."""
    monkeypatch.setattr("zhenxian.stores.fleet.importer._BATCH", batch)
    lines = ["first,subject\n", *(f"{n},{who}\n" for n, who in
             (("100", "nobody"), ("100", "bank"), ("101", "bank"), ("100", "shop"), ("100", "bank"),
              ("101", "shop")))]  # fmt: skip
    how = {"author": "a", "reason": "r", "now": 1}

    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            await write(a, subject("bank"), subject("shop"))
            assert 0 <= a.lag < 3600
            for more in ({"dry_run": True}, {}):
                report = await FleetImport(a, Kind.HOLDING, **how, **more).run(iter(lines))
                assert (report.changed, report.unchanged) == (2, 1)
                assert [row.line for row in report.rejected] == [2, 5, 7]
            assert a.holding(TN("100")).subject == "bank"

    asyncio.run(run())


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_an_import_takes_numbers_out_of_anothers_range_only_where_asked(
    redis, tmp_path, monkeypatch, batch
):
    """As the import into a file does; and as the dry run says."""
    monkeypatch.setattr("zhenxian.stores.fleet.importer._BATCH", batch)
    lines = ["first,last,subject\n", "105,,shop\n", "100,109,bank\n", "101,,shop\n",
             "102,103,shop\n", "102,,shop\n", "103,,bank\n"]  # fmt: skip
    how = {"author": "a", "reason": "r", "now": 1, "origin": Origin("n.csv", "ab")}

    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            await write(a, subject("bank"), subject("shop"))
            for more in ({"dry_run": True}, {}):
                report = await FleetImport(a, Kind.HOLDING, **how, **more).run(iter(lines))
                assert (report.changed, report.taken_out) == (3, 0)
                assert [row.line for row in report.rejected] == [4, 5, 6]
            for more in ({"dry_run": True}, {}):
                report = await FleetImport(a, Kind.HOLDING, take_out=True, **how, **more).run(
                    iter(lines)
                )
                assert (report.changed, report.unchanged, report.rejections) == (3, 3, 0)
                assert report.taken_out == 2
            (version,) = await a.read(lambda book: book.history(Kind.HOLDING, "101"))
            assert version.reason == "r"
            assert version.imported.file == "n.csv"
            assert version.imported.digest == "sha-256:ab"

    asyncio.run(run())


def test_a_refused_order_counts_once_its_issuer_is_configured(redis, tmp_path):
    """On restart, as the issuers are read then; also its lifting, and what came in between."""
    issuers = {}
    bank = Who(subjects=("bank",))

    def node(name, known):
        made = Node(tmp_path, name, options(redis.url, keep_commits=0))
        made.registry.node.vet = lambda given, before: unfounded(given, before, known)
        return made

    async def run():
        async with node("a", {"regulator": REGULATOR}) as a:
            async with node("b", issuers) as b:
                await write(a, subject("bank"), subject("shop"))
                given = order("o", 1)
                await write(a, put(given))
                await write(a, holding("100", of="shop"))
                await until(lambda: b.seq == 3)
                assert b.order(bank, 2**40) is None
                await until(lambda: any("registry.issuers" in text for text in b.problems()))
                assert await b.checkpoint()  # its image tells of the order that is refused here
            async with node("d", {"regulator": REGULATOR}) as d:
                assert d.order(bank, 2**40).id == "o"
                assert state(a) == state(d)
            async with node("b", issuers) as b:  # still missing, and still told
                assert any("order o: " in text for text in b.problems())
            async with node("b", {"regulator": REGULATOR}) as b:
                assert b.order(bank, 2**40).id == "o"
                await until(lambda: not b.problems())
                assert state(a) == state(b)
                said = await a.acknowledgements("o")
                assert [name for name, *_ in said] == ["a", "b", "d"]
            async with node("c", issuers) as c:
                await write(a, put(lifting(given, 2)))
                await until(lambda: c.seq == 4)
            async with node("c", {"regulator": REGULATOR}) as c:
                assert c.order(bank, 2**40) is None
                assert state(a) == state(c)

    asyncio.run(run())


def test_orders_of_a_checkpoint_are_looked_at_too(redis, tmp_path):
    async def run():
        opts = options(redis.url, keep_commits=0)
        issuers = {"regulator": Issuer("regulator", (ISSUER.verifying_key,))}
        b = Node(tmp_path, "b", opts)
        b.registry.node.vet = lambda given, before: unfounded(given, before, issuers)
        c = Node(tmp_path, "c", opts)
        c.registry.node.vet = lambda given, before: unfounded(given, before, {})
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"), put(order("o", 1)))
            assert await a.checkpoint()
            async with b as good, c as stranger:
                assert good.order(Who(subjects=("bank",)), 2**40).id == "o"
                assert not stranger.current
                assert any("order o: " in problem for problem in stranger.problems())

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    [
        "http://x",
        "redis://",
        "redis://a,b",
        "redis://h:port",
        "redis://h/x",
        "sentinel://h:1",
        "redis://h?db=1",
        "redis://[",
    ],
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url, tmp_path):
    secret = url.replace("://", "://user:hunter2@")
    with pytest.raises(ConfigError) as caught:
        FleetRegistry(tmp_path / "a.db", FleetOptions(url=secret))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(FleetOptions(url=secret))


def test_the_copy_is_not_written_past_the_journal(redis, tmp_path):
    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            now = int(time.time())
            proposal = Proposal(changes=[subject("x")], author="a", reason="", now=now)
            before, commit = await a.with_writer(lambda replica: replica.try_out(proposal))
            assert (before.seq, commit.seq) == (0, 1)
            assert await a.with_writer(lambda replica: replica.mark()) == before
            assert a.records.get(Kind.SUBJECT, "x") is None
            assert not {"write", "apply", "apply_change", "record"} & set(dir(Replica))

    asyncio.run(run())


def test_what_travels_is_told_from_what_merely_looks_alike(redis, tmp_path):
    """Equal changes of two writers are two commits: one of them is told that it came second."""

    async def run():
        opts = options(redis.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            now = int(time.time())
            twice = await asyncio.gather(
                write(a, subject("bank"), now=now), write(b, subject("bank"), now=now)
            )
            assert sorted(commit.seq for commit in twice) == [1, 2]
            await until(lambda: a.seq == b.seq == 2)
            digest = hashlib.sha256(repr(state(a)).encode()).hexdigest()
            assert digest == hashlib.sha256(repr(state(b)).encode()).hexdigest()
            assert isinstance(a.records.get(Kind.SUBJECT, "bank")[1], Subject)
            assert not isinstance(a.records.get(Kind.SUBJECT, "bank")[1], Holding)

    asyncio.run(run())


def test_an_append_asked_twice_counts_once_and_one_that_does_not_follow_not_at_all(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        link = Link(opts)
        journal = Journal(link, opts)
        commits = [
            Commit(seq=n, time=1, author="a", reason="r", changes=(subject(f"s{n}"),))
            for n in (1, 2, 3)
        ]
        first = entry_of(commits[0], b"", b"n" * 16)
        for _ in range(2):
            assert (await journal.append(Mark(), first, new="j")).outcome == "ok"
        at = Mark("j", 1, first.head)
        rival = entry_of(commits[0], b"", b"m" * 16)
        assert (await journal.append(Mark("j"), rival, new="")).outcome == "lost"
        assert (await journal.append(Mark(), rival, new="k")).outcome == "foreign"
        # A writer that is ahead of a Redis that was rolled back makes no gap in the stream.
        ahead = Mark("j", 2, b"x" * 16)
        leap = entry_of(commits[2], ahead.head, b"l" * 16)
        assert (await journal.append(ahead, leap, new="")).outcome == "lost"
        second = entry_of(commits[1], first.head, b"o" * 16)
        assert (await journal.append(at, second, new="")).outcome == "ok"
        assert (await journal.append(Mark(), first, new="j")).outcome == "ok"  # a late repetition
        assert [entry.seq for entry in await journal.range(1)] == [1, 2]
        assert (await journal.state()).head == second.head
        redis.ask("DEL", "{zx}:id")
        third = entry_of(commits[2], second.head, b"p" * 16)
        assert (await journal.append(Mark("j", 2, second.head), third, new="")).outcome == "gone"
        assert (await journal.append(Mark(), first, new="q")).outcome == "gone"
        await link.close()

    asyncio.run(run())


def test_two_nodes_of_one_name_are_told_of(redis, tmp_path):
    async def run():
        opts = options(redis.url)
        one, two = Node(tmp_path / "one", "a", opts), Node(tmp_path / "two", "a", opts)
        async with one as first, two as second:
            for registry in (first, second):
                await until(lambda r=registry: any("calls itself a" in p for p in r.problems()))
                assert registry.current

    asyncio.run(run())
