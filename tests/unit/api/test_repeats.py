"""A question that is asked again, and a token that is shown again: on each engine, and on two."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from zhenxian.api.auth import Peer, Role, add_key
from zhenxian.api.calls.messages import (
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
)
from zhenxian.calls.pipeline import Asking
from zhenxian.certs.chain import parse_chain
from zhenxian.certs.kept import KeptChain
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

PASSED, FAILED = "TN-Validation-Passed", "TN-Validation-Failed"
AGAIN = "the same request was sent again a moment after: the answer is that of the first"
ASKED = "asked about again a moment after, with the same callId: no replay"


class Clock:
    """Time that a test turns on."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


class _Chains:
    """Serves the chain of the service itself for every address."""

    def __init__(self, desk):
        self.chain = parse_chain(desk.service.keys.current.chain_pem)
        self.asked = 0

    async def get(self, _):
        self.asked += 1
        await asyncio.sleep(0)
        return self.chain


class Asker:
    """One process of the service, and how a proxy asks it."""

    def __init__(self, desk):
        self.desk = desk
        self.calls = desk.service.calls
        self.chains, pipeline = _Chains(desk), desk.service.pipeline
        pipeline.verifying = replace(pipeline.verifying, repository=self.chains)

    def incoming(self, body, request_id=None, address="192.0.2.1", **headers):
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = Headers(content_length=b"1", request_id=request_id, address=address, **headers)
        return Incoming(VERIFICATION, b"POST", given, encoded)

    def run(self, work):
        loop = self.desk._loop
        return loop.run_until_complete(work) if loop is not None else asyncio.run(work)

    def ask(self, *args, **more):
        return self.told(self.run(self.calls.answer_waiting(self.incoming(*args, **more))))

    def ask_together(self, *requests):
        """As read in one turn of the event loop."""

        async def run():
            return await self.answers(requests)

        return [self.told(answer) for answer in self.run(run())]

    async def answers(self, requests):
        """As the short way gets them: those that ask a store of other machines ask it together."""
        given = self.calls.answer_all(requests)
        waiting = (one for one in given if not isinstance(one, Answer | Asking))
        answers = iter(await asyncio.gather(*map(self.calls.go_on, waiting)))
        asked = iter(await self.calls.ask_all([one for one in given if isinstance(one, Asking)]))
        return [
            one if isinstance(one, Answer) else next(asked if isinstance(one, Asking) else answers)
            for one in given
        ]

    def told(self, answer):
        assert answer.status == 200, answer.body
        return json.loads(answer.body)["verificationResponse"]

    def sign(self):
        body = {
            "attest": "A",
            "orig": {"tn": BANK},
            "dest": {"tn": [CALLEE]},
            "iat": int(self.desk.service.clock()),
            "origid": BANK_ORIGID,
        }
        _, answer = self.desk.call(SIGNING, {"signingRequest": body})
        return answer["signingResponse"]["identity"]

    def question(self, identity=None, **more):
        members = {
            "from": {"tn": BANK},
            "to": {"tn": [CALLEE]},
            "time": int(self.desk.service.clock()),
            "identity": identity or self.sign(),
        }
        return json.dumps({"verificationRequest": members | more}).encode()

    def count(self, by):
        value = self.desk.service.metrics.registry.get_sample_value(
            "zhenxian_repeats_total", {"by": by}
        )
        return value or 0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asker(desk_with, clock):
    """One process with its memory."""
    return Asker(desk_with(clock))


def _reasons(*answers):
    return [answer["reason"] for answer in answers]


@pytest.fixture(
    params=[
        "one process",
        "two workers",
        pytest.param("two nodes", marks=[pytest.mark.redis, pytest.mark.enable_socket]),
    ]
)
def two(request, prepared, desk_of, tmp_path, clock):
    """Who is asked first, and who then: the same process, or one that shares its store."""
    configs = [tmp_path / name / "zhenxian.toml" for name in ("first", "second")]
    for config in configs:
        shutil.copytree(prepared.config.parent / "state", config.parent / "state")
        config.write_text(prepared.config.read_text())
    if request.param == "one process":
        made = [desk_of(configs[0], clock)]
    elif request.param == "two workers":
        made = [desk_of(configs[0], clock, server={"workers": 2}) for _ in range(2)]
    else:
        url = request.getfixturevalue("fleet_redis").url
        fleet = {"url": url, "name": f"zx{secrets.token_hex(4)}", "timeout": 10, "lag_limit": 3600,
             "take_over_foreign": True}  # fmt: skip
        made = [desk_of(config, clock, fleet=fleet) for config in configs]
    askers = [Asker(desk) for desk in made]
    return askers[0], askers[-1]


def test_the_same_request_again_gets_the_same_answer_with_a_note(two, clock):
    first, second = two
    body = first.question(explain=True)
    before = first.ask(body, b"via-1")
    assert (before["verstat"], before.get("notes")) == (PASSED, None)
    clock.now += 1.9
    after = second.ask(body, b"via-1")
    assert after.pop("notes") == [AGAIN]
    assert after == before
    assert second.count("request") == 1
    assert second.desk.logged()[-1]["repeated"] == "request"
    clock.now += 0.2
    assert second.ask(body, b"via-1")["reason"] == "REPLAYED"


def test_a_copied_call_id_passes_nobody_else(two):
    first, second = two
    body = first.question(callId="a84b4c76e66710@pc33.atlanta.example")
    assert first.ask(body)["verstat"] == PASSED
    assert second.ask(body, address="198.51.100.1")["reason"] == "REPLAYED"
    assert second.ask(body, b"via-1", address="198.51.100.1")["reason"] == "REPLAYED"
    again = second.ask(body)
    assert (again["verstat"], again["notes"]) == (PASSED, [ASKED])
    assert second.count("call") == 1


def test_a_copied_request_passes_nobody_else(two):
    first, second = two
    body = first.question()
    assert first.ask(body, b"via-1")["verstat"] == PASSED
    assert second.ask(body, b"via-1", address="198.51.100.1")["reason"] == "REPLAYED"


def test_another_body_under_the_same_id_is_an_ordinary_question(two):
    first, second = two
    identity = first.sign()
    assert first.ask(first.question(identity), b"via-1")["verstat"] == PASSED
    other = first.question(identity, requestId="2")
    assert second.ask(other, b"via-1")["reason"] == "REPLAYED"
    fresh = second.ask(second.question(), b"via-1")
    assert (fresh["verstat"], fresh.get("notes")) == (PASSED, None)


def test_the_same_body_under_another_id_or_none_is_a_replay(two):
    first, second = two
    body = first.question()
    assert first.ask(body, b"via-1")["verstat"] == PASSED
    assert _reasons(second.ask(body, b"via-2"), second.ask(body)) == ["REPLAYED"] * 2


@pytest.mark.parametrize("empty", [b"", b" ", b" \t"])
def test_an_empty_id_is_none(two, empty):
    first, second = two
    body = first.question()
    assert first.ask(body, empty)["verstat"] == PASSED
    assert _reasons(second.ask(body, empty), second.ask(body, b"via-1")) == ["REPLAYED"] * 2


def _between(request_id, attempt, *, turned=False):
    """Fields of a request to which something on its way has added an id of its own."""
    fields = [(b"x-requestid", request_id)] if request_id is not None else []
    fields.append((b"x-request-id", attempt))
    return Headers.of(fields[::-1] if turned else fields)


@pytest.mark.parametrize("turned", [False, True])
def test_the_id_that_the_proxy_makes_names_the_question(two, turned):
    first, second = two
    body = first.question()

    def asked(asker, *ids):
        headers = replace(_between(*ids, turned=turned), content_length=b"1", address="192.0.2.1")
        incoming = Incoming(VERIFICATION, b"POST", headers, body)
        answer = asker.run(asker.calls.answer_waiting(incoming))
        return asker.told(answer), answer.request_id

    told, echoed = asked(first, b"via-1", b"lb-1")
    assert (told["verstat"], echoed) == (PASSED, b"via-1")
    assert asked(second, b"via-1", b"lb-2")[0]["notes"] == [AGAIN]
    assert asked(second, b"via-2", b"lb-1")[0]["reason"] == "REPLAYED"
    told, echoed = asked(second, None, b"lb-1")
    assert (told["reason"], echoed) == ("REPLAYED", b"lb-1")
    assert asked(second, b" ", b"lb-1")[1] not in (b"", b" ")


def test_ids_that_differ_beyond_what_is_echoed_are_different(two):
    first, second = two
    body = first.question()
    assert first.ask(body, b"x" * 200 + b"1")["verstat"] == PASSED
    assert second.ask(body, b"x" * 200 + b"2")["reason"] == "REPLAYED"


def test_a_replay_does_not_become_a_repetition_by_being_asked_again(two):
    first, second = two
    body = first.question()
    assert first.ask(body, b"via-1")["verstat"] == PASSED
    for _ in range(2):
        assert second.ask(body, b"via-2")["reason"] == "REPLAYED"


def test_a_repetition_while_the_first_is_being_answered(two):
    first, _ = two
    first.ask(first.question())  # the certificate is in the cache
    given = first.ask_together(*[first.incoming(first.question(), b"via-1")] * 3)
    assert [answer["verstat"] for answer in given] == [PASSED] * 3
    assert sorted(answer.get("notes", []) for answer in given) == [[], [AGAIN], [AGAIN]]


def test_a_repetition_that_waits_for_certificates_as_well(asker, clock):
    """The first waits five seconds, and so does its repetition; no longer than the other."""
    requests = [asker.incoming(asker.question(), b"via-1")] * 2
    given = asker.calls.answer_all(requests)
    assert not any(isinstance(one, Answer) for one in given)
    clock.now += 5
    answers = [asker.told(asker.run(asker.calls.go_on(one))) for one in given]
    assert [answer["verstat"] for answer in answers] == [PASSED] * 2
    assert answers[1]["notes"] == [AGAIN]


def test_a_verdict_against_the_call_is_repeated_as_it_was(two, clock):
    """Even if what speaks against it is gone meanwhile."""
    first, second = two
    against = {
        "subject": "call-centre", "verification": "verified", "use": "direct", "spcs": ["9999"],
    }  # fmt: skip
    body, fresh = first.question(), first.question()
    place = f"/v1/holdings/{BANK}"
    put = first.desk.http("PUT", place, params={"reason": "test"}, json=against)
    assert put.status_code == 200, put.text
    first.desk.service.registry.refresh()
    before = first.ask(body, b"via-1")
    assert before["reason"] == "SPC_NOT_HOLDER"
    ended = first.desk.http("DELETE", place, params={"reason": "test"})
    assert ended.status_code == 204, ended.text
    first.desk.service.registry.refresh()
    after = second.ask(body, b"via-1")
    assert after.pop("notes") == [AGAIN]
    assert after == before
    assert first.ask(fresh, b"via-2")["verstat"] == PASSED


def test_without_explain_the_answer_is_the_same_to_the_octet(desk_with, clock):
    asker = Asker(desk_with(clock, server={"explain": False}))
    request = asker.incoming(asker.question(), b"via-1")
    first, second = (asker.run(asker.calls.answer_waiting(request)).body for _ in range(2))
    assert first == second
    assert asker.count("request") == 1


def test_with_a_window_of_nought_every_second_question_is_a_replay(desk_with, clock):
    asker = Asker(desk_with(clock, verifier={"repeat_seconds": 0}))
    body = asker.question(callId="a")
    assert _reasons(asker.ask(body, b"1"), asker.ask(body, b"1")) == ["VERIFIED", "REPLAYED"]


def test_of_several_tokens_each_is_asked_about_once(two):
    first, second = two
    one, other = first.sign(), first.sign()
    body = first.question([one, one, other])
    before = first.ask(body, b"via-1")
    assert before["verstat"] == PASSED
    after = second.ask(body, b"via-1")
    assert after.pop("notes") == [AGAIN]
    assert after == before
    # One of them with a token that is new: judged anew, and the seen one is no help.
    mixed = second.ask(second.question([one, second.sign()], explain=True), b"via-1")
    assert mixed["verstat"] == PASSED
    assert [check["reason"] for check in mixed["checks"]] == ["REPLAYED", None]
    assert second.ask(second.question([one]), b"via-3")["reason"] == "REPLAYED"


def test_a_call_that_is_asked_about_again_tells_conduct_once(two):
    first, second = two
    told = []
    for asker in {id(one): one for one in two}.values():
        verifier = asker.calls.pipeline.verifying.verifier
        observed = _Observed(verifier.sources.conduct.observe, told)
        verifier.sources = replace(verifier.sources, conduct=observed)
    body = first.question(callId="a")
    first.ask(body, b"via-1")
    second.ask(body, b"via-1")
    second.ask(body, b"via-2")
    assert len(told) == 1


class _Observed:
    def __init__(self, observe, told):
        self._observe, self._told = observe, told

    def observe(self, observation):
        self._told.append(observation)

    def __getattr__(self, _):
        return lambda *_, **__: None


@pytest.mark.parametrize("length", [1, 128, 129, 5_000, 60_000])
def test_a_call_id_of_any_length(two, length):
    first, second = two
    identity = first.sign()
    call = "c" * (length - 1)
    assert first.ask(first.question(identity, callId=call + "a"))["verstat"] == PASSED
    assert second.ask(second.question(identity, callId=call + "a"))["verstat"] == PASSED
    assert second.ask(second.question(identity, callId=call + "b"))["reason"] == "REPLAYED"


def test_credentials_say_who_asks(desk_with, clock, tmp_path):
    keys = tmp_path / "keys.toml"
    one, other = (add_key(keys, name, [Role.PROXY]) for name in ("one", "other"))
    asker = Asker(desk_with(clock, auth={"keys": keys}))
    asker.sign = lambda: _signed(asker, one)
    body = asker.question(callId="a")
    assert asker.ask(body, b"1", api_key=one.encode())["verstat"] == PASSED
    # One key from two addresses is one asker; another key from the same is another.
    away = asker.ask(body, b"1", api_key=one.encode(), address="198.51.100.1")
    assert (away["verstat"], away["notes"]) == (PASSED, [AGAIN])
    assert asker.ask(body, b"1", authorization=b"Bearer " + other.encode())["reason"] == "REPLAYED"
    peers = [Peer(bytes([n]) * 32, b"") for n in range(2)]
    fresh = asker.question(callId="b")
    asked = [asker.ask(fresh, b"1", api_key=one.encode(), peer=peer) for peer in peers]
    assert _reasons(*asked) == ["VERIFIED", "REPLAYED"]


def _signed(asker, key):
    body = {
        "attest": "A",
        "orig": {"tn": BANK},
        "dest": {"tn": [CALLEE]},
        "iat": int(asker.desk.service.clock()),
        "origid": BANK_ORIGID,
    }
    _, answer = asker.desk.call(SIGNING, {"signingRequest": body}, api_key=key.encode())
    return answer["signingResponse"]["identity"]


def test_client_certificates_say_who_asks(desk_with, clock, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    asker = Asker(desk_with(clock, server={"tls_client_ca": ca}))
    asker.sign = lambda: _signed(asker, "")
    body = asker.question(callId="a")
    peers = [Peer(bytes([n]) * 32, b"") for n in range(2)]
    asked = [asker.ask(body, b"1", peer=peers[n]) for n in (0, 1, 0)]
    assert _reasons(*asked) == ["VERIFIED", "REPLAYED", "VERIFIED"]


# Calls of one batch ask their store at once ------------------------------------------------------

KINDS = ("good", "flipped", "replayed", "again", "of another", "unsigned", "unreadable", "broken")


@pytest.fixture
def alone(prepared, desk_of, tmp_path, clock):
    """One process of the same carriers, with a memory of its own."""
    config = tmp_path / "alone" / "zhenxian.toml"
    shutil.copytree(prepared.config.parent / "state", config.parent / "state")
    config.write_text(prepared.config.read_text())
    return Asker(desk_of(config, clock))


def _knows_the_chain(asker):
    """No call has to wait for certificates."""
    service = asker.desk.service
    until = int(service.clock()) + 3600
    service.repository.restore(
        [
            KeptChain(
                x5u=service.keys.current.x5u,
                chain=asker.chains.chain,
                etag=None,
                stale=False,
                fresh_until=until,
                stale_until=until,
            )
        ]
    )


def _mixed(asker, kinds):
    """A batch of these kinds; those that come back to a token come back to the last good one."""
    batch, token = [], asker.sign()
    for number, kind in enumerate(kinds):
        more, name = {"callId": "first"}, b"%d" % number
        if kind == "good":
            token = asker.sign()
        given = token
        if kind == "replayed":
            more = {"callId": f"other {number}"}
        elif kind == "of another":
            more = {"to": {"tn": ["8613800138999"]}}
        elif kind == "unreadable":
            given = "no token"
        elif kind == "flipped":
            head, _, rest = token.partition(";")
            given = f"{head[:-3]}{'A' if head[-3] != 'A' else 'B'}{head[-2:]};{rest}"
        body = asker.question(given, **more)
        if kind == "unsigned":
            asked = json.loads(body)
            del asked["verificationRequest"]["identity"]
            body = json.dumps(asked).encode()
        elif kind == "broken":
            body = body[:-1]
        batch.append(asker.incoming(body, name))
    return batch


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
def test_a_batch_is_answered_octet_by_octet_as_its_calls_alone(two, alone, kinds):
    """Together by one question to the shared store; alone with a memory, by the application."""
    _knows_the_chain(two[0])
    batch = _mixed(two[0], kinds)
    together = two[0].run(two[0].answers(batch))
    one_by_one = [alone.run(alone.calls.answer_waiting(incoming)) for incoming in batch]
    assert [(one.status, one.body, one.request_id) for one in together] == [
        (one.status, one.body, one.request_id) for one in one_by_one
    ]
    assert two[0].calls.asking == 0


def test_a_batch_that_the_shared_store_fails_passes_nobody(two, monkeypatch):
    """Whatever becomes of the store, each call is answered, and none as new."""
    asker = two[0]
    _knows_the_chain(asker)
    batch = _mixed(asker, ["good"] * 3)
    side = asker.calls.pipeline.verifying
    store = side.together if side.replay is None else side.replay
    if store is None:
        pytest.skip("one process asks its memory")

    def fails(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(type(store), "sight_all", fails)
    told = [asker.told(answer) for answer in asker.run(asker.answers(batch))]
    assert [(one["verstat"], one["reason"]) for one in told] == [
        ("No-TN-Validation", "REPLAY_UNKNOWN")
    ] * 3
    monkeypatch.undo()
    told = [asker.told(answer) for answer in asker.run(asker.answers(batch))]
    assert [one["verstat"] for one in told] == [PASSED] * 3


def test_a_call_that_fails_while_its_batch_is_settled_fails_alone(two, monkeypatch):
    asker = two[0]
    _knows_the_chain(asker)
    batch = _mixed(asker, ["good"] * 3)
    verifier, settled = asker.desk.service.verifier, []
    settle = type(verifier).settle

    def once(*args):
        settled.append(args)
        if len(settled) == 2:
            raise RuntimeError("a fault")
        return settle(*args)

    monkeypatch.setattr(type(verifier), "settle", once)
    statuses = [answer.status for answer in asker.run(asker.answers(batch))]
    assert statuses == [200, 500, 200]
