"""The short way through a body says what the long way says, octet by octet, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.api.calls import service as routes
from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Answer, Headers, Incoming
from zhenxian.api.calls.requests import Dialect, RequestError, read_signing, read_verification
from zhenxian.api.calls.usual import usual_signing, usual_verification
from zhenxian.core.reading import Reading
from zhenxian.passport.es256 import SIGNATURE_LENGTH
from zhenxian.stores.replay.memory import MemoryReplayStore

NOW = int(time.time())
NOT_COUNTED = dict.fromkeys(("signing", "verifying", "carriers"), "off")  # asked twice
NUMBERS = ["8613910000000", "+86 10 6600 0000", "010-66000000", "110", "*86", "13800138000",
           "008613800138000", "8610086", "anonymous", "", " 8613910000000", "0", "+", "1" * 16,
           "1" * 22, "８６１０", "sip:8613910000000@example.net",
           "+8613910000000#", "12*3"]  # fmt: skip
ORIGIDS = ["f05fbacb-d741-4edc-ba1d-1a7e74a9ed0d", "", "a:b", "x" * 128, "x" * 129, "\x07", "é"]
IDENTITIES = ["", " ", "a.b.c;info=<https://example.net/c.pem>", "x" * 4000, "é.b.c", "a,b",
              'a"b\\c', "\U0001f4de"]  # fmt: skip
ODD = [None, 0, 1, -1, True, 1.5, "x", [], {}, ["1"], {"tn": "1"}, {"uri": "tel:+861"}]
READINGS = [Reading(), Reading(country="CN"), Reading(country="US", long_codes=("86",))]

number = st.sampled_from(NUMBERS) | st.text("0123456789+*#- ", max_size=20)
party = (
    number.map(lambda tn: {"tn": tn})
    | number.map(lambda tn: {"tn": [tn]})
    | st.lists(number, max_size=3).map(lambda tn: {"tn": tn})
    | st.sampled_from(ODD)
)
seconds = st.integers(1_700_000_000, 1_900_000_000) | st.sampled_from(
    [
        0,
        -1,
        999_999_999,
        1_000_000_000,
        9_999_999_999,
        10_000_000_000,
        253_402_300_800,
        "Sun, 29 Nov 2026 12:00:00 GMT",
        None,
        1.5,
        1e9,
    ]
)


def usually(strategy, others=ODD):
    return strategy | strategy | strategy | st.sampled_from(others)


SIGNING_MEMBERS = {
    "attest": usually(st.sampled_from(["A", "B", "C"]), ["D", "a", "", None, 1]),
    "orig": party,
    "dest": party,
    "iat": seconds,
    "origid": usually(st.sampled_from(ORIGIDS)),
    "access": usually(st.sampled_from(["trunk-1", "a:b", "", "x" * 128, "x" * 129, None])),
}
VERIFICATION_MEMBERS = {
    "from": party,
    "to": party,
    "time": seconds,
    "identity": usually(st.sampled_from(IDENTITIES)),
    "callId": usually(st.sampled_from(["a1@192.0.2.1", "", "é", "x" * 500, None])),
}
good = st.sampled_from(["8613910000000", "+8613800138000", "8675500000000", "86101234567"])
USUAL = {
    SIGNING: {
        "attest": st.sampled_from("ABC"),
        "orig": good.map(lambda tn: {"tn": tn}),
        "dest": st.sampled_from([*NUMBERS[:5], "13105551234"]).map(lambda tn: {"tn": [tn]}),
        "iat": st.integers(NOW - 10, NOW + 10),
        "origid": st.just(ORIGIDS[0]),
        "access": st.sampled_from(["trunk-1", "bench-trunk"]),
    },
    VERIFICATION: {
        "from": good.map(lambda tn: {"tn": tn}),
        "to": st.sampled_from([*NUMBERS[:5], "13105551234"]).map(lambda tn: {"tn": [tn]}),
        "time": st.integers(NOW - 10, NOW + 10),
        "identity": st.sampled_from(IDENTITIES[2:4]),
        "callId": st.sampled_from(["a1@192.0.2.1", "7"]),
    },
}
MORE = {
    SIGNING: ["ppt", "requestId", "caller", "purpose", "identity", "callId", "div", "x", "iat"],
    VERIFICATION: ["requestId", "explain", "dest", "purpose", "identityHeader", "x", "time", "iat"],
}


@st.composite
def bodies(draw, path):
    """A usual body, in which something may be left out, added, doubled, reordered or spelled so."""
    known = SIGNING_MEMBERS if path == SIGNING else VERIFICATION_MEMBERS
    outer = "signingRequest" if path == SIGNING else "verificationRequest"
    members = [
        (name, draw(strategy if draw(st.integers(0, 11)) else known[name]))
        for name, strategy in USUAL[path].items()
        if draw(st.integers(0, 9))
    ]
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    if not draw(st.integers(0, 7)):
        name = draw(st.sampled_from(MORE[path]))
        members.insert(draw(st.integers(0, len(members))), (name, draw(st.sampled_from(ODD))))
    if members and not draw(st.integers(0, 7)):  # doubled: the later may differ
        name, value = draw(st.sampled_from(members))
        members.append((name, draw(st.just(value) | known.get(name, st.just(value)))))
    ascii_only, blank = draw(st.booleans()), draw(st.sampled_from([*[""] * 8, " ", "\n"]))
    text = ",".join(
        f'{blank}"{name}":{json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))}'
        for name, value in members
    )
    body = f'{{"{outer}":{{{text}}}}}'.encode("utf-8", "surrogatepass")
    if not draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(body)))
        body = (
            body[:at]
            + draw(st.sampled_from([b"", b"}", b'"', b"\\u0030", b"\xff", b"0"]))
            + (body[at + draw(st.integers(0, 2)) :])
        )
    return body


def long_way(read, body, dialect, reading):
    try:
        return read(body, configured=dialect, reading=reading)
    except RequestError as error:
        return error


@pytest.mark.parametrize(
    ("path", "short", "read"),
    [(SIGNING, usual_signing, read_signing), (VERIFICATION, usual_verification, read_verification)],
)
def test_both_ways_read_the_same(path, short, read):
    taken = 0

    @given(bodies(path), st.sampled_from([None, *Dialect]), st.sampled_from(READINGS))
    @settings(max_examples=1500, deadline=None)
    def same(body, dialect, reading):
        nonlocal taken
        found = short(body, dialect, reading)
        if found is not None:
            taken += 1
            assert repr(found) == repr(long_way(read, body, dialect, reading))
            assert found == long_way(read, body, dialect, reading)

    same()
    assert taken > 50  # else nothing was compared


def signing_body(**members):
    told = {"attest": "A", "orig": {"tn": "8613910000000"}, "dest": {"tn": ["8613800000000"]}}
    return json.dumps(
        {"signingRequest": {**told, "iat": NOW, "origid": ORIGIDS[0], **members}},
        separators=(",", ":"),
    ).encode()


@pytest.mark.parametrize("call_id", [None, "a1@192.0.2.1"])
@pytest.mark.parametrize("access", [None, "trunk-1"])
def test_usual_bodies_go_the_short_way(call_id, access):
    more = {} if access is None else {"access": access}
    assert usual_signing(signing_body(**more), None, READINGS[1]) is not None
    told = {"from": {"tn": "8613910000000"}, "to": {"tn": ["8613800000000"]}}
    told |= {"time": NOW, "identity": IDENTITIES[2]}
    if call_id is not None:
        told["callId"] = call_id
    body = json.dumps({"verificationRequest": told}, separators=(",", ":")).encode()
    assert usual_verification(body, None, READINGS[1]) is not None


@pytest.mark.parametrize("twice", ["attest", "orig", "dest", "iat", "origid", "access"])
def test_nothing_that_stands_twice_goes_the_short_way(twice):
    for more in ({}, {"access": "trunk-1"}):
        body = signing_body(**more)
        told = json.loads(body)["signingRequest"]
        for value in {json.dumps(told.get(twice)), "null"}:
            doubled = body[:-2] + f',"{twice}":{value}'.encode() + b"}}"
            if twice in told or value != "null":
                assert usual_signing(doubled, None, READINGS[0]) is None


@pytest.mark.parametrize("path", [SIGNING, VERIFICATION])
def test_both_ways_answer_the_same_octets(path, desk_with, monkeypatch):
    """Whole answers, the log of them too, with signatures that tell what was signed."""
    desk = desk_with(clock=lambda: NOW + 0.5, displays=NOT_COUNTED)
    service, number = desk.service, 0
    monkeypatch.setattr(
        "zhenxian.passport.jws.SigningKey.sign",
        lambda _, octets: hashlib.sha512(octets).digest()[:SIGNATURE_LENGTH],
    )
    taken = {True: 0, False: 0}

    def answered(body, *, short):
        with monkeypatch.context() as patch:
            if not short:
                patch.setattr(routes, "usual_signing", lambda *_: None)
                patch.setattr(routes, "usual_verification", lambda *_: None)
            service.verifier._replay = MemoryReplayStore(window=2.0)
            headers = Headers(content_length=b"%d" % len(body), request_id=b"n%d" % number)
            (answer,) = service.calls.answer_all((Incoming(path, b"POST", headers, body),))
            service.calls.answered()
            desk.lines.clear()
            logged = [{**line, "us": 0} for line in desk.logged()]
            # Who shows that a call is forwarded waits; what for is told by its type.
            return answer if isinstance(answer, Answer) else type(answer), logged

    @given(bodies(path))
    @settings(max_examples=400, deadline=None)
    def same(body):
        nonlocal number
        number += 1
        short = answered(body, short=True)
        assert short == answered(body, short=False)
        found = (usual_signing if path == SIGNING else usual_verification)(
            body, None, service.calls.policy.reading
        )
        taken[found is not None] += 1

    same()
    assert min(taken.values()) > 20, taken


@pytest.mark.parametrize("path", [SIGNING, VERIFICATION])
def test_the_application_answers_the_same_octets(path, desk_with, monkeypatch):
    """The way of api/calls/fastpath.py, and that of the routes."""
    desk = desk_with(clock=lambda: NOW + 0.5, displays=NOT_COUNTED)
    service, number = desk.service, 0
    monkeypatch.setattr(
        "zhenxian.passport.jws.SigningKey.sign",
        lambda _, octets: hashlib.sha512(octets).digest()[:SIGNATURE_LENGTH],
    )
    statuses = set()

    @given(bodies(path))
    @settings(max_examples=80, deadline=None)
    def same(body):
        nonlocal number
        number += 1
        service.verifier._replay = MemoryReplayStore(window=2.0)
        headers = Headers(content_length=b"%d" % len(body), request_id=b"n%d" % number)
        (short,) = service.calls.answer_all((Incoming(path, b"POST", headers, body),))
        if not isinstance(short, Answer):
            return
        service.verifier._replay = MemoryReplayStore(window=2.0)
        long = desk.http("POST", path, content=body, headers={"X-RequestID": f"n{number}"})
        assert (short.status, short.body) == (long.status_code, long.content)
        assert short.request_id.decode() == long.headers["x-requestid"]
        assert long.headers["content-type"] == "application/json"
        statuses.add(short.status)

    same()
    assert 200 in statuses
    assert len(statuses) > 1
