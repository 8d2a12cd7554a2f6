"""Many INVITEs at once: who comes too late is told so, and stores are asked for all together."""

import asyncio
import time

import pytest
from msgspec.structs import replace
from sips import invite

from zhenxian.certs.chain import parse_chain
from zhenxian.certs.kept import KeptChain
from zhenxian.sip.access import AccessRules
from zhenxian.sip.routes import Delayed
from zhenxian.sip.short_way import ShortWay, Told
from zhenxian.verifier.replay import NEW, REPLAY, UNKNOWN

PASSED = "TN-Validation-Passed"


def _know_chain(service):
    """As when the certificate of the service's own tokens was fetched before."""
    key, until = service.keys.current, int(time.time()) + 3_600
    kept = KeptChain(
        x5u=key.x5u,
        chain=parse_chain(key.chain_pem),
        etag=None,
        stale=True,
        fresh_until=until,
        stale_until=until,
    )
    assert service.repository.restore([kept]) == 1


class Shared:
    """A replay store that is asked over the network, and takes its time."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.open = asyncio.Event()
        self.open.set()

    async def sight_all(self, sightings, now):
        self.asked.append(len(sightings))
        await self.open.wait()
        return [self.answer] * len(sightings)


class Together:
    """One of this machine's processes."""

    def __init__(self):
        self.asked = []

    def sight_all(self, sightings, now):
        self.asked.append(len(sightings))
        return [NEW] * len(sightings)


@pytest.fixture
def known(line):
    _know_chain(line.desk.service)
    return line


def _with(line, **store):
    pipeline = line.desk.service.pipeline
    pipeline.verifying = replace(pipeline.verifying, **store)


def _tokens(line, count):
    return [f"Identity: {reply['Identity']}" for reply in line.send(*(_invites(count)))]


def _invites(count, lines=()):
    return [invite(*lines[at : at + 1]) for at in range(count)]


def _turned_away(line):
    return line.desk.service.metrics.registry.get_sample_value(
        "zhenxian_request_errors_total", {"route": "signing", "reason": "OVERLOADED"}
    )


# Too many ---------------------------------------------------------------------------------------


def test_who_comes_when_too_many_wait_is_told(line):
    line.redirector._bound = 20
    replies = line.send(*(invite() for _ in range(50)))
    away = [reply for reply in replies if reply.code == 503]
    assert (len(replies), len(away)) == (50, 30)
    assert {(reply["Retry-After"], reply["Identity"]) for reply in away} == {("1", None)}
    assert all(reply["Identity"] for reply in replies if reply.code == 302)
    assert _turned_away(line) == 30
    assert line.ask()["Identity"]  # and later there is time again


def test_a_call_for_help_goes_on_when_too_many_wait(line_of):
    line = line_of(numbers={"country": "CN"})
    line.redirector._bound = 3
    replies = line.send(*(invite() for _ in range(9)), invite(uri="tel:110", called="<tel:110>"))
    assert [reply.code for reply in replies if reply["Contact"] == "<tel:110>"] == [302]
    assert sorted(reply.code for reply in replies) == [302] * 4 + [503] * 6


def test_what_was_turned_away_is_looked_at_when_it_is_sent_again(line):
    line.redirector._bound = 1
    one, other = invite(), invite()
    assert [reply.code for reply in line.send(one, other)] == [503, 302]
    (reply,) = line.send(other)
    assert reply.code == 302


def test_calls_that_wait_for_a_store_count(known):
    shared = Shared(NEW)
    tokens = _tokens(known, 6)
    _with(known, replay=shared)
    known.redirector._bound = 4

    async def exchange():
        shared.open.clear()
        for at in range(6):
            known.redirector.received(invite(tokens[at]), known.peer(signing=False))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        shared.open.set()
        await known.redirector.close()
        await asyncio.sleep(0)

    known.replies.clear()
    asyncio.run(exchange())
    assert [reply.code for reply in known.replies] == [503, 503] + [302] * 4


@pytest.mark.parametrize("others", [0, 60])
def test_who_hangs_up_before_an_answer_is_not_asked_about(line, others):
    call = {"branch": "z9hG4bKgone", "call_id": "gone@a.example", "tag": "t1"}
    many = [invite() for _ in range(others)]
    replies = line.send(*many, invite(**call), invite(**call, method="CANCEL"))
    assert [r.code for r in replies if r["Call-ID"] == "gone@a.example"] == [200, 487]
    assert len([r for r in replies if r.code == 302]) == others
    assert len([one for one in line.desk.logged() if one["event"] == "signing"]) == others


# Together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verstat"),
    [(NEW, PASSED), (REPLAY, "TN-Validation-Failed"), (UNKNOWN, "No-TN-Validation")],
)
def test_a_shared_replay_store_is_asked_once_for_all(known, answer, verstat):
    shared, tokens = Shared(answer), _tokens(known, 10)
    _with(known, replay=shared)
    replies = known.send(*_invites(10, tokens), invite(), signing=False)
    said = [reply["P-Asserted-Identity"].partition("verstat=")[2] for reply in replies]
    assert sorted(said) == sorted([f"{verstat}>"] * 10 + ["No-TN-Validation>"])
    assert shared.asked == [10]


def test_a_store_of_this_machine_is_asked_once_for_all(known):
    together, tokens = Together(), _tokens(known, 10)
    _with(known, together=together)
    replies = known.send(*_invites(10, tokens), invite(), signing=False)
    assert sum(f"verstat={PASSED}" in reply["P-Asserted-Identity"] for reply in replies) == 10
    assert together.asked == [10]


def test_a_store_that_does_not_answer_holds_no_call_up_for_longer_than_it_may_wait(line_of):
    line = line_of(sip={"wait_ms": 10})
    _know_chain(line.desk.service)
    shared, tokens = Shared(NEW), _tokens(line, 3)
    _with(line, replay=shared)

    async def exchange():
        shared.open.clear()
        for one in _invites(3, tokens):
            line.redirector.received(one, line.peer(signing=False))
        line.redirector.flush()
        await asyncio.wait(set(line.redirector._tasks))
        await asyncio.sleep(0)
        assert not shared.open.is_set()

    line.replies.clear()
    asyncio.run(exchange())
    assert len(line.replies) == 3
    assert {r["P-Asserted-Identity"].partition("verstat=")[2] for r in line.replies} == {
        "No-TN-Validation>"
    }
    assert shared.asked == [3]


def test_invites_over_http_ask_a_shared_store_once_for_all(known):
    class Head:
        content_type, accept, address = b"message/sip", None, "127.0.0.1"

    class Posted:
        path, headers = "/sip/v1/terminating", Head()

        def __init__(self, body):
            self.body = body

    shared, tokens = Shared(NEW), _tokens(known, 5)
    _with(known, replay=shared)
    way = ShortWay(known.desk.service.sip, AccessRules(), lambda head: "local")

    async def exchange():
        found = way.answer_all([Posted(one) for one in (*_invites(5, tokens), invite())])
        assert isinstance(found[-1], Told)
        assert all(isinstance(each, Delayed) for each in found[:-1])
        return [await way.calls.within(each.later) for each in found[:-1]]

    assert {advice.verstat for advice in asyncio.run(exchange())} == {PASSED}
    assert shared.asked == [5]
