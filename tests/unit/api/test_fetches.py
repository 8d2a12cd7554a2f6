"""Calls that wait for one certificate: without the application, together, and each for itself."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import pytest
from msgspec.structs import replace
from test_wire import Connection, head

from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Headers, Incoming
from zhenxian.calls.fetches import TOGETHER
from zhenxian.certs.fetch import Fetched, FetchError
from zhenxian.certs.repository import CertificateRepository, RepositoryLimits
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.reasons import Reason
from zhenxian.passport.jws import b64url_decode, b64url_encode
from zhenxian.service.build import applications
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

PASSED, NONE = "TN-Validation-Passed", "No-TN-Validation"


class Host:
    """Publishes the service's own chain at every address, when it is let."""

    def __init__(self, chain):
        self.chain, self.asked, self.down = chain, [], False
        self.may = asyncio.Event()

    async def fetch(self, url, *, purpose, etag=None):
        self.asked.append(url)
        await self.may.wait()
        if self.down:
            raise FetchError(Reason.CERT_UNREACHABLE, "no answer in time")
        return Fetched(self.chain)


class Waiters:
    """A service whose certificate is yet to be fetched, and connections to it."""

    def __init__(self, desk):
        self.desk, self.calls = desk, desk.service.calls
        self.pipeline = desk.service.pipeline
        self.host = Host(desk.service.keys.current.chain_pem)
        self.repository = CertificateRepository(
            self.host,
            policy=X5uPolicy(allow_http_loopback=True),
            clock=lambda: int(time.time()),
            limits=RepositoryLimits(),
        )
        self.pipeline.verifying = replace(self.pipeline.verifying, repository=self.repository)
        desk.service.verifier.certificates = self.repository
        self.listener = []

    def identity(self, x5u=None):
        members = {
            "attest": "A",
            "orig": {"tn": BANK},
            "dest": {"tn": [CALLEE]},
            "iat": int(time.time()),
            "origid": BANK_ORIGID,
        }
        status, answer = self.desk.call(SIGNING, {"signingRequest": members})
        assert status == 200, answer
        identity = answer["signingResponse"]["identity"]
        if x5u is None:
            return identity
        header, rest = identity.split(".", 1)
        told = json.loads(b64url_decode(header.encode(), "header"))
        copied = b64url_encode(json.dumps(told | {"x5u": x5u}).encode()).decode()
        return f"{copied}.{rest}".replace(told["x5u"], x5u)

    def body(self, identity, call=None):
        members = {"from": {"tn": BANK}, "to": {"tn": [CALLEE]}, "time": int(time.time())}
        members |= {"identity": identity, "callId": call or secrets.token_hex(8)}
        return json.dumps({"verificationRequest": members}).encode()

    def connect(self, number):
        for _ in range(number):
            others = self.listener[0] if self.listener else None
            self.listener.append(Connection(calls=self.calls, others=others))
        return self.listener[-number:]

    async def until(self, condition):
        for _ in range(20_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come")

    async def answered(self, connections):
        await self.until(lambda: all(each.transport.written for each in connections))

    async def asked(self, bodies):
        """Each on a connection of its own, until the host was asked."""
        connections = self.connect(len(bodies))
        for each, body in zip(connections, bodies, strict=True):
            each.protocol.data_received(posted(body))
        await self.until(lambda: self.host.asked)
        await connections[0].settle()
        return connections

    def run(self, scenario):
        loop = self.desk._loop
        return loop.run_until_complete(scenario()) if loop is not None else asyncio.run(scenario())


def posted(body):
    return head(f"content-length: {len(body)}", method="POST", target=VERIFICATION) + body


def verstats(connection):
    return [answer["verificationResponse"]["verstat"] for _, answer in connection.answers()]


def reasons(connection):
    return [answer["verificationResponse"]["reason"] for _, answer in connection.answers()]


@pytest.fixture
def waiters(desk):
    return Waiters(desk)


@pytest.fixture
def waiters_on(on_either_engine, desk_of):
    return Waiters(desk_of(on_either_engine.config))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hundred_that_wait_for_one_certificate_go_on_together(
    on_either_engine, desk_of, monkeypatch, workers
):
    waiters = Waiters(desk_of(on_either_engine.config, server={"workers": workers}))
    groups, questions = [], []
    resume, seen = waiters.calls.resume_all, waiters.pipeline.seen
    monkeypatch.setattr(
        waiters.calls, "resume_all", lambda calls: groups.append(len(calls)) or resume(calls)
    )
    monkeypatch.setattr(
        waiters.pipeline,
        "seen",
        lambda tokens, now: questions.append(len(tokens)) or seen(tokens, now),
    )

    async def scenario():
        bodies = [waiters.body(waiters.identity()) for _ in range(100)]
        connections = await waiters.asked(bodies)
        assert not any(each.transport.written for each in connections)
        assert not any(each.connections._strangers for each in connections)  # who waits is known
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [verstats(each) for each in connections] == [[PASSED]] * 100
        assert len(waiters.host.asked) == 1
        assert all(each.app.seen == [] for each in connections)
        assert sum(groups) == 100
        assert len(groups) == -(-100 // TOGETHER)
        if waiters.pipeline.verifying.replay is not None:
            assert questions == groups
        assert (waiters.pipeline.waiting, waiters.pipeline.asking) == (0, 0)

    waiters.run(scenario)
    recorded = [line for line in waiters.desk.logged() if line.get("verstat") == PASSED]
    assert len(recorded) == 100


def test_no_application_is_asked_for_a_call_that_waits(waiters):
    """Nor begun: what a connection's protocol would hand it is not even made."""

    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(100)])
        assert all(each.protocol.cycle is None for each in connections)
        waiters.host.may.set()
        await waiters.answered(connections)
        assert all(each.protocol.cycle is None for each in connections)

    waiters.run(scenario)


def test_a_host_that_is_down_is_no_verdict_for_any_who_waited(waiters):
    async def scenario():
        waiters.host.down = True
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(40)])
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [verstats(each) for each in connections] == [[NONE]] * 40
        assert {reasons(each)[0] for each in connections} == {"CERT_UNREACHABLE"}
        assert len(waiters.host.asked) == 1

    waiters.run(scenario)


@pytest.mark.parametrize("stage", ["reopen", "presume", "settle"])
def test_who_fails_after_waiting_takes_nobody_along(waiters, monkeypatch, stage):
    todo = getattr(waiters.pipeline, stage)
    failed = []

    def torn(call, *args):
        if not failed:
            failed.append(call)
            raise ValueError("of one of them")
        return todo(call, *args)

    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(20)])
        monkeypatch.setattr(waiters.pipeline, stage, torn)
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [each.statuses() for each in connections] == [[500]] + [[200]] * 19
        assert [verstats(each) for each in connections[1:]] == [[PASSED]] * 19

    waiters.run(scenario)


def test_a_group_that_cannot_go_on_is_told_so_and_stops_nobody_else(waiters, monkeypatch):
    resume = waiters.calls.resume_all

    def short_of_memory(calls):
        monkeypatch.setattr(waiters.calls, "resume_all", resume)
        raise MemoryError

    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(20)])
        monkeypatch.setattr(waiters.calls, "resume_all", short_of_memory)
        waiters.host.may.set()
        await waiters.answered(connections)
        told = [each.statuses() for each in connections]
        assert sorted(told) == [[200]] * (20 - TOGETHER) + [[500]] * TOGETHER

    waiters.run(scenario)


def test_a_fetch_that_breaks_is_told_to_each_and_holds_nobody(waiters, monkeypatch):
    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(3)])
        monkeypatch.setattr(waiters.host, "chain", object())  # whatever a library may give
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [each.statuses() for each in connections] == [[500]] * 3
        assert (waiters.pipeline.waiting, waiters.pipeline.asking) == (0, 0)

    waiters.run(scenario)


def test_who_leaves_while_waiting_harms_nobody_and_is_recorded(waiters):
    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(20)])
        for each in connections[:10]:
            each.transport.closing = True
            each.protocol.connection_lost(None)
        stopping, patient = connections[10], connections[11]
        stopping.protocol.shutdown()  # the service stops: what is under way is answered
        assert not stopping.transport.closing
        patient.protocol.look(100.0)
        patient.protocol.look(100.0 + 3600)
        assert not patient.transport.closing  # it is we who are waited for
        waiters.host.may.set()
        await waiters.answered(connections[10:])
        assert [verstats(each) for each in connections] == [[]] * 10 + [[PASSED]] * 10
        assert b"connection: close" in stopping.transport.written
        assert stopping.transport.closing
        await stopping.settle()

    waiters.run(scenario)
    recorded = [line for line in waiters.desk.logged() if line.get("verstat") == PASSED]
    assert len(recorded) == 20


def test_who_still_waits_when_the_time_of_a_graceful_stop_is_over_is_told(waiters):
    async def scenario():
        connections = await waiters.asked([waiters.body(waiters.identity()) for _ in range(3)])
        gone = connections.pop()
        gone.transport.closing = True
        gone.protocol.connection_lost(None)
        for each in (*connections, gone):
            each.protocol.shutdown()
            (waited_for,) = each.protocol.server_state.tasks
            waited_for.cancel(msg="as uvicorn does")
        await gone.settle()
        assert [each.statuses() for each in connections] == [[503]] * 2
        assert all(b"retry-after: 1" in each.transport.written for each in connections)
        assert all(each.transport.closing for each in connections)
        assert gone.transport.written == b""
        waiters.host.may.set()
        await gone.settle()
        assert [each.statuses() for each in connections] == [[503]] * 2  # and nothing else
        assert not any(each.protocol.server_state.tasks for each in (*connections, gone))

    waiters.run(scenario)


@pytest.mark.parametrize("size", [1, 700, 100_000])
def test_answers_keep_their_order_on_a_connection_that_sends_on(waiters, size):
    async def scenario():
        bodies = [waiters.body(waiters.identity()) for _ in range(4)]
        forged = waiters.body(waiters.identity().replace(".", ".A", 1))
        octets = b"".join(map(posted, [bodies[0], forged, *bodies[1:]]))
        (connection,) = waiters.connect(1)
        connection.protocol.app, _ = applications(waiters.desk.service)
        for at in range(0, len(octets), size):
            connection.protocol.data_received(octets[at : at + size])
            await asyncio.sleep(0)
        await waiters.until(lambda: waiters.host.asked)
        waiters.host.may.set()
        await waiters.until(lambda: len(connection.answers()) == 5)
        told = verstats(connection)
        assert told[0] == PASSED
        assert told[1] != PASSED
        assert told[2:] == [PASSED] * 3

    waiters.run(scenario)


def test_who_goes_on_by_the_application_leaves_the_others_waiting(waiters):
    """Its task may be cancelled: the fetch is the others', too, and its call is recorded."""

    async def scenario():
        bodies = [waiters.body(waiters.identity()) for _ in range(3)]
        incoming = [
            Incoming(VERIFICATION, b"POST", Headers(content_length=b"1"), body) for body in bodies
        ]
        tasks = [asyncio.create_task(waiters.calls.answer_waiting(one)) for one in incoming]
        await waiters.until(lambda: waiters.pipeline.waiting == 3)
        tasks[0].cancel()
        waiters.host.may.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        told = [json.loads(answer.body)["verificationResponse"]["verstat"] for answer in done[1:]]
        assert told == [PASSED] * 2
        await waiters.until(lambda: waiters.pipeline.asking == 0)

    waiters.run(scenario)
    assert len(waiters.desk.logged()) >= 3


def test_those_that_a_slow_host_lets_go_of_at_once_turn_nobody_away(desk_with, monkeypatch):
    waiters = Waiters(desk_with(server={"max_waiting": 30}))
    counts = []
    resume = waiters.calls.resume_all

    def counted(calls):
        counts.append(waiters.calls.asking)
        return resume(calls)

    monkeypatch.setattr(waiters.calls, "resume_all", counted)

    async def scenario():
        bodies = [waiters.body(waiters.identity()) for _ in range(50)]
        connections = []
        for at in (0, 25):
            connections += await waiters.asked(bodies[at : at + 25])
        assert waiters.pipeline.waiting == 50
        assert waiters.calls.asking == 0  # or strangers' hosts would have others turned away
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [each.statuses() for each in connections] == [[200]] * 50
        assert counts == [0] * -(-50 // TOGETHER)

    waiters.run(scenario)


def test_so_many_wait_for_one_address_and_others_are_answered_at_once(waiters):
    async def scenario():
        most = RepositoryLimits().places.waiting_for_url
        bodies = [waiters.body(waiters.identity()) for _ in range(most + 5)]
        connections = await waiters.asked(bodies)
        await waiters.answered(connections[most:])
        assert [verstats(each) for each in connections] == [[]] * most + [[NONE]] * 5
        assert {reasons(each)[0] for each in connections[most:]} == {"CERT_UNREACHABLE"}
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [verstats(each) for each in connections[:most]] == [[PASSED]] * most

    waiters.run(scenario)


def test_who_asks_twice_while_waiting_gets_one_answer_and_a_copy_is_a_replay(waiters_on):
    waiters = waiters_on

    async def scenario():
        identity = waiters.identity()
        again = waiters.body(identity, "one-call")
        connections = await waiters.asked([again, again, waiters.body(identity, "another")])
        waiters.host.may.set()
        await waiters.answered(connections)
        assert [verstats(each) for each in connections[:2]] == [[PASSED]] * 2
        assert reasons(connections[2]) == ["REPLAYED"]

    waiters.run(scenario)


def test_certificates_that_come_at_different_times_hold_nobody_up(waiters):
    """A call with two tokens waits for both; one whose certificate is there does not wait."""
    own = waiters.identity()
    other = "http://127.0.0.1:9/other.pem"
    held = asyncio.Event()
    fetch = waiters.host.fetch

    async def slowly(url, **more):
        if url == other:
            waiters.host.asked.append(url)
            await held.wait()
        return await fetch(url, **more)

    waiters.host.fetch = slowly

    async def scenario():
        waiters.host.may.set()
        both = waiters.body([own, waiters.identity(other)])
        first, second = waiters.connect(2)
        first.protocol.data_received(posted(both))
        second.protocol.data_received(posted(waiters.body(waiters.identity())))
        await waiters.answered([second])
        assert verstats(second) == [PASSED]
        assert first.answers() == []
        held.set()
        await waiters.answered([first])
        assert first.statuses() == [200]
        assert other in waiters.host.asked

    waiters.run(scenario)
