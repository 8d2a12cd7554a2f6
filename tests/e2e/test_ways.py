"""The short way of the protocol and the way through ASGI give the same answers.

A path with a query goes through ASGI; without one, usual requests take the short way.
"""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

import httpx
import pytest
from running import Wire, dumps, raw, signing, verification

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.simulation.demo import BANK, HOTLINE, SHOP

ASGI = "?way=asgi"
JSON = "content-type: application/json"


class Case(NamedTuple):
    """A request, and the status and a part of the body it is answered with."""

    path: str
    body: bytes
    status: int
    says: str
    fields: tuple[str, ...] = (JSON,)
    length: str | None = ""
    method: str = "POST"


def _sign(**more):
    return dumps(signing(BANK, access="bank-trunk", **more))


def _threegpp(**more):
    return dumps({"signingRequest": signing(BANK)["signingRequest"] | {"requestId": "7"} | more})


CASES = {
    "signed": lambda: Case(SIGNING, _sign(), 200, '"identity"'),
    "signed in the words of 3GPP": lambda: Case(SIGNING, _threegpp(), 200, '"identityHeader"'),
    "refused": lambda: Case(SIGNING, dumps(signing(HOTLINE)), 403, "DO_NOT_ORIGINATE"),
    "refused in the words of 3GPP": lambda: Case(
        SIGNING, _threegpp(orig={"tn": HOTLINE}), 403, '"error"'
    ),
    "no identity": lambda: Case(VERIFICATION, dumps(verification(BANK)), 200, "NO_IDENTITY"),
    "an identity that is none": lambda: Case(
        VERIFICATION, dumps(verification(BANK, "nonsense")), 200, "No-TN-Validation"
    ),
    "empty body": lambda: Case(SIGNING, b"", 400, "SVC4000"),
    "blank body": lambda: Case(SIGNING, b" \r\n ", 400, "SVC4000"),
    "no JSON": lambda: Case(SIGNING, b"{", 400, "SVC4006"),
    "JSON that is no object": lambda: Case(VERIFICATION, b"[]", 400, "SVC4005"),
    "not UTF-8": lambda: Case(SIGNING, b'{"signingRequest":"\xff"}', 400, "SVC400"),
    "deep": lambda: Case(SIGNING, b'{"signingRequest":' + b"[" * 20_000, 400, "SVC400"),
    "a member is missing": lambda: Case(
        SIGNING, b'{"signingRequest":{"orig":{"tn":"1"}}}', 400, "SVC4001"
    ),
    "an unknown member": lambda: Case(SIGNING, _sign(more=1), 400, "unknown parameter"),
    "members without signingRequest": lambda: Case(
        SIGNING, b'{"attest":"A"}', 400, "only signingRequest stands here"
    ),
    "iat is stale": lambda: Case(SIGNING, _sign(iat=1), 400, "SVC4005"),
    "not a number": lambda: Case(SIGNING, dumps(signing("12a")), 400, "SVC4005"),
    "wrong type": lambda: Case(SIGNING, _sign(), 415, "SVC4004", ("content-type: text/plain",)),
    "no type": lambda: Case(SIGNING, _sign(), 200, '"identity"', ()),
    "type with parameter": lambda: Case(
        SIGNING, _sign(), 200, '"identity"', ("content-type: Application/JSON; charset=utf-8",)
    ),
    "unacceptable": lambda: Case(SIGNING, _sign(), 406, "text/html", (JSON, "accept: text/html")),
    "acceptable": lambda: Case(
        SIGNING, _sign(), 200, "identity", (JSON, "accept: text/html, application/*;q=0.1")
    ),
    "too large": lambda: Case(SIGNING, b" " * 1_048_576, 413, "65536"),
    "barely too large": lambda: Case(SIGNING, b" " * 65_537, 413, "SVC4130"),
    "barely not too large": lambda: Case(SIGNING, _sign().ljust(65_536), 200, '"identity"'),
    "no length": lambda: Case(SIGNING, b"", 411, "SVC4007", length=None),
    "wrong method": lambda: Case(SIGNING, b"", 405, "POL4050", method="GET", length=None),
    "wrong method, body": lambda: Case(SIGNING, _sign(), 405, "POL4050", method="PUT"),
    "wrong method, verifying": lambda: Case(
        VERIFICATION, b"", 405, "POL4050", method="DELETE", length=None
    ),
}


def _ask(service, case, path, *more):
    fields = [*case.fields, *more]
    if case.length is not None:
        fields.append(f"content-length: {len(case.body)}")
    with Wire(service) as wire:
        wire.send(raw(path, case.body, *fields, method=case.method))
        return wire.answer()


def _comparable(body):
    """A body without what differs from one request to the next."""
    decoded = json.loads(body)
    for answer in decoded.values():
        if isinstance(answer, dict):
            for name in ("identity", "identityHeader"):
                if name in answer:
                    header, claims, signature = answer[name].partition(";")[0].split(".")
                    answer[name] = (header, len(claims), len(signature))
    return decoded


@pytest.mark.parametrize("name", CASES)
def test_both_ways_answer_alike(service, name):
    case = CASES[name]()
    status, fields, body = _ask(service, case, case.path)
    other_status, other_fields, other_body = _ask(service, case, case.path + ASGI)
    assert (status, other_status) == (case.status, case.status), (body, other_body)
    assert case.says in body.decode()
    assert _comparable(body) == _comparable(other_body)
    for each in (fields, other_fields):
        assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", each.pop("x-requestid"))
        each.pop("content-length")
    assert fields == other_fields
    assert fields["content-type"] == "application/json"
    assert fields.get("allow") == ("POST" if status == 405 else None)


IDS = [
    ("call-1", "call-1"),
    ("  padded\t", "padded"),
    ("x" * 128, "x" * 128),
    ("x" * 4000, "x" * 128),
    ("caf\xe9", "caf\xe9"),
    ('"; <script>', '"; <script>'),
    ("a\tb", "a\tb"),
]


@pytest.mark.parametrize("path", [SIGNING, SIGNING + ASGI])
@pytest.mark.parametrize(("given", "echoed"), IDS)
def test_a_request_id_is_echoed_up_to_a_length(service, path, given, echoed):
    case = CASES["signed"]()
    assert _ask(service, case, path, f"X-RequestID: {given}")[1]["x-requestid"] == echoed
    error = CASES["no JSON"]()
    assert _ask(service, error, path, f"x-request-id: {given}")[1]["x-requestid"] == echoed


@pytest.mark.parametrize("path", [SIGNING, SIGNING + ASGI])
@pytest.mark.parametrize(
    "bad", ["a\r\nset-cookie: b", "a\nset-cookie: b", "a\rb", "a\0b", "a\x0bb"]
)
def test_a_request_id_writes_no_field_of_its_own(service, path, bad):
    body = _sign()
    request = raw(path, body, JSON, f"x-requestid: {bad}", f"content-length: {len(body)}")
    with Wire(service) as wire:
        wire.send(request)
        status, fields, _ = wire.answer()
    assert status in (200, 400)
    assert "set-cookie" not in fields
    assert fields.get("x-requestid", "a")[:1] == "a"


def test_generated_request_ids_differ(service):
    case = CASES["no identity"]()
    seen = {_ask(service, case, path)[1]["x-requestid"] for path in [VERIFICATION] * 5}
    seen |= {_ask(service, case, VERIFICATION + ASGI)[1]["x-requestid"] for _ in range(5)}
    assert len(seen) == 10


def test_a_chunked_body_has_no_length(service):
    body = _sign()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with Wire(service) as wire:
        wire.send(raw(SIGNING, chunked, JSON, "transfer-encoding: chunked"))
        status, _, answer = wire.answer()
        assert (status, "SVC4007" in answer.decode()) == (411, True)


@pytest.mark.parametrize("path", [SIGNING, SIGNING + ASGI])
def test_a_client_that_waits_for_100_is_told_to_go_on(service, path):
    body = _sign()
    with Wire(service) as wire:
        wire.send(raw(path, b"", JSON, f"content-length: {len(body)}", "expect: 100-continue"))
        assert wire.readable(5)
        wire.send(body)
        assert wire.answer()[0] == 200


@pytest.mark.parametrize("path", [SIGNING, SIGNING + ASGI, "/stir/v1/signin%67"])
def test_a_request_in_many_segments(service, path):
    body = _sign()
    request = raw(path, body, JSON, f"content-length: {len(body)}", "x-requestid: segments")
    step = len(request) // 20
    with Wire(service) as wire:
        for start in range(0, len(request), step):
            wire.send(request[start : start + step])
            time.sleep(0.002)
        status, fields, _ = wire.answer()
        assert (status, fields["x-requestid"]) == (200, "segments")


def _numbered(path, body, number, *fields):
    return raw(path, body, JSON, f"content-length: {len(body)}", f"x-requestid: {number}", *fields)


def test_pipelined_requests_are_answered_in_order(service):
    good, bad = _sign(), b"{"
    plan = [
        (SIGNING, good, 200),
        (SIGNING, good, 200),
        (SIGNING + ASGI, good, 200),
        (SIGNING, bad, 400),
        (VERIFICATION, dumps(verification(BANK)), 200),
        ("/healthz", b"", 405),
        (SIGNING, good, 200),
        (SIGNING + ASGI, bad, 400),
        (SIGNING + ASGI, good, 200),
        (SIGNING, good, 200),
    ] * 5
    with Wire(service) as wire:
        wire.send(b"".join(_numbered(path, body, n) for n, (path, body, _) in enumerate(plan)))
        for number, (path, _, expected) in enumerate(plan):
            status, fields, _ = wire.answer()
            assert status == expected, (number, path)
            if path != "/healthz":
                assert fields["x-requestid"] == str(number)
        assert not wire.readable(0.05)


def test_pipelined_verifications_that_wait_for_certificates(service, host):
    host.delay = 0.2
    chain = service.world.pki.carriers["1001"].chain.read_bytes()
    plan = []
    for number in range(6):
        x5u = host.publish(f"{number}.pem", chain)
        plan += [
            (VERIFICATION, dumps(verification(BANK, service.token("1001", BANK, x5u=x5u)))),
            (SIGNING, _sign()),
        ]
    with Wire(service) as wire:
        wire.send(b"".join(_numbered(path, body, n) for n, (path, body) in enumerate(plan)))
        for number, (path, _) in enumerate(plan):
            status, fields, body = wire.answer()
            assert (status, fields["x-requestid"]) == (200, str(number))
            passed = b"TN-Validation-Passed" if path == VERIFICATION else b'"identity"'
            assert passed in body


def test_many_connections_at_once_get_each_their_own_answer(service):
    """More than one batch holds (MAX_BATCH)."""
    count = 200
    wires = [Wire(service) for _ in range(count)]
    try:
        for number, wire in enumerate(wires):
            orig = BANK if number % 2 else SHOP
            access = "bank-trunk" if number % 2 else "call-centre-trunk"
            wire.send(_numbered(SIGNING, dumps(signing(orig, access=access)), number))
        for number, wire in enumerate(wires):
            status, fields, body = wire.answer()
            assert (status, fields["x-requestid"]) == (200, str(number)), body
    finally:
        for wire in wires:
            wire.__exit__()


@pytest.mark.parametrize("path", [SIGNING, SIGNING + ASGI])
@pytest.mark.parametrize(
    ("version", "fields"),
    [("1.0", ()), ("1.0", ("connection: keep-alive",)), ("1.1", ("connection: close",))],
)
def test_the_connection_closes_when_it_should(service, path, version, fields):
    body = _sign()
    with Wire(service) as wire:
        wire.send(raw(path, body, f"content-length: {len(body)}", *fields, version=version))
        status, answered, _ = wire.answer()
        assert (status, answered["connection"]) == (200, "close")
        assert wire.closed(4)


def test_one_connection_serves_a_thousand_calls(service):
    body = _sign()
    request = raw(SIGNING, body, JSON, f"content-length: {len(body)}")
    other = raw(SIGNING + ASGI, body, JSON, f"content-length: {len(body)}")
    with Wire(service) as wire:
        for number in range(1000):
            wire.send(other if number % 50 == 49 else request)
            status, fields, _ = wire.answer()
            assert status == 200
            assert "connection" not in fields


def test_idle_connections_are_closed_and_busy_ones_are_not(service):
    """uvicorn's five seconds, whichever way the last answer came."""
    body = _sign()
    short = raw(SIGNING, body, f"content-length: {len(body)}")
    asgi = raw(SIGNING + ASGI, body, f"content-length: {len(body)}")
    with (
        Wire(service) as idle,
        Wire(service) as mixed,
        Wire(service) as busy,
        Wire(service) as arriving,
    ):
        for wire in (idle, mixed, busy, arriving):
            wire.send(short)
            assert wire.answer()[0] == 200
        began = time.monotonic()
        mixed.send(asgi)
        assert mixed.answer()[0] == 200
        arriving.send(short[:-10])
        for _ in range(2):
            time.sleep(2)
            busy.send(short)
            assert busy.answer()[0] == 200
        assert idle.closed(30)
        assert mixed.closed(30)
        assert time.monotonic() - began > 4.5
        busy.send(short)
        assert busy.answer()[0] == 200
        arriving.send(short[-10:])
        assert arriving.answer()[0] == 200


_HEAD = b"POST /stir/v1/signing HTTP/1.1\r\nhost: localhost\r\n"
MALFORMED = [
    b"\r\n\r\n\r\nnonsense\r\n\r\n",
    _HEAD + b"content-length: -1\r\n\r\n",
    _HEAD + b"content-length: 1e1\r\n\r\n",
    _HEAD + b"content-length: 99999999999999999999\r\n\r\n",
    _HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\n{}",
    _HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    _HEAD + b"host : a\r\ncontent-length: 0\r\n\r\n",
    _HEAD + b"content-length: " + b"0" * 5000 + b"2\r\n\r\n{}",
    _HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\n{}",
    _HEAD + b"x: y\r\n" * 5000 + b"content-length: 2\r\n\r\n{}",
    _HEAD.replace(b"1.1", b"9.1") + b"content-length: 0\r\n\r\n",
    _HEAD.replace(b"POST", b"BREW") + b"content-length: 0\r\n\r\n",
    _HEAD.replace(b"POST", b"CONNECT") + b"\r\n",
    _HEAD.replace(b"signing", b"signing\xff") + b"content-length: 0\r\n\r\n",
    _HEAD.replace(b"/stir", b"http://%zz/stir") + b"content-length: 0\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_http_is_refused_and_nothing_breaks(service, request_bytes):
    with Wire(service) as wire:
        wire.send(request_bytes)
        status, _, body = wire.answer()
        assert 400 <= status < 500 or status == 505
        assert b"Traceback" not in body
    with service.client() as client:
        assert client.get("/healthz").status_code == 200


def test_other_paths_below_the_prefix_speak_the_dialect(service):
    with service.client() as client:
        answer = client.post("/stir/v1/nothing", json={})
        assert answer.status_code == 404
        assert answer.json()["requestError"]["serviceException"]["messageId"] == "SVC4003"
        assert client.get("/nothing").headers["content-type"] == "application/problem+json"
        assert client.head(SIGNING).status_code == 405


def test_a_client_that_reads_nothing_does_not_fill_memory(service):
    """Answers that are not read stop the reading of further requests."""
    body = _sign()
    request = _numbered(SIGNING, body, "x" * 100)
    with Wire(service) as wire:
        wire._socket.settimeout(1)
        sent = 0
        try:
            while sent < 64_000_000:
                wire.send(request * 64)
                sent += len(request) * 64
        except TimeoutError:
            pass
        assert sent < 64_000_000
    with httpx.Client() as client:
        assert client.get(service.base + "/healthz").status_code == 200
