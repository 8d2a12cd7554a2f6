"""One connection, octet by octet, without sockets: bounds, pipelines, upgrades, refusals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from zhenxian.api.auth import Authenticator, Role, add_key
from zhenxian.api.calls.fastpath import protocol_for
from zhenxian.api.calls.heads import MAX_HEADS, MAX_OCTETS
from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Answer
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.calls.service import Begun, CallPolicy, Underway
from zhenxian.api.transport.connections import Connections, Limits
from zhenxian.api.transport.hosts import Hosts
from zhenxian.api.transport.refusals import refusal
from zhenxian.api.transport.shared import Shared
from zhenxian.api.transport.wire import (
    MAX_AT_ONCE,
    MAX_FIELDS,
    MAX_HEAD,
    MAX_UNANSWERED,
    WireProtocol,
    bound,
)
from zhenxian.calls.pipeline import Asking, Waiting


class Transport:
    """Keeps what is written; asked about itself as asyncio's are."""

    def __init__(self):
        self.written = b""
        self.closing = self.aborted = self.paused = self.ended = False
        self.protocol = None

    def write(self, data):
        assert not self.ended
        self.written += data

    def get_extra_info(self, name, default=None):
        return ("192.0.2.1", 5060) if name == "peername" else default

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = self.aborted = True

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def pause_reading(self):
        assert not self.paused
        self.paused = True

    def resume_reading(self):
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self):
        return 0


class App:
    """Answers each request with what it saw of it, when it is let."""

    def __init__(self):
        self.may = asyncio.Event()
        self.may.set()
        self.seen = []
        self.given_up = 0
        self.early = False  # answers before the body

    async def __call__(self, scope, receive, send):
        body = b""
        while not self.early:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.given_up += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self.may.wait()
        waiting = scope["state"].get("waiting")
        if waiting is not None:
            if isinstance(waiting, Underway):
                answer = (await asyncio.shield(waiting.answers))[waiting.place]
            else:
                answer = await asyncio.shield(waiting.answer)
            length = (b"content-length", b"%d" % len(answer.body))
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": answer.body})
            return
        told = [scope["method"], scope["path"], body.decode("latin-1"), len(scope["headers"])]
        self.seen.append(told)
        told = json.dumps(told).encode()
        length = (b"content-length", b"%d" % len(told))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": told})


def _told(request):
    """What a call was understood to be."""
    headers = request.headers
    seen = [headers.host, headers.authorization, headers.content_length, headers.address]
    return ["CALL", request.path, request.body.decode("latin-1"), repr(seen)]


class StubCalls:
    """Answers calls with their body."""

    policy = CallPolicy()
    keys = "in force"

    def __init__(self):
        self.asking = 0
        self.batches = []  # how many calls each question was about
        self.may = asyncio.Event()

    def answer_all(self, requests):
        answers = [
            Answer(200, json.dumps(_told(r)).encode(), r.headers.request_id or b"id")
            for r in requests
        ]
        made = {
            b"ask": lambda answer: Asking(None, [], None, answer),
            b"wai": lambda answer: Waiting(asked=answer, request=None, needed=None),
        }
        return [
            made[r.body[:3]](answer) if r.body[:3] in made else answer
            for r, answer in zip(requests, answers, strict=True)
        ]

    def begin(self, waiting):
        async def finished():
            await asyncio.sleep(0)
            return waiting.asked

        return Begun(asyncio.get_running_loop().create_task(finished()))

    async def ask_all(self, calls):
        self.batches.append(len(calls))
        self.asking += len(calls)
        await self.may.wait()
        self.asking -= len(calls)
        return [call.answer for call in calls]

    def overloaded(self, request):
        return Answer(503, b"{}", b"id")

    def answered(self):
        pass


class Connection:
    """A protocol on a transport."""

    def __init__(
        self,
        *,
        admin=False,
        hosts=None,
        limits=Limits(),  # noqa: B008
        calls=None,
        others=None,
    ):
        self.app = App()
        self.connections = Connections(limits)
        self.refused = []

        def told(reason, variables, url, method):
            self.refused.append(reason.name)
            return refusal(reason, variables, url, method, Dialect.ATIS)

        shared = Shared(self.connections, told, hosts)
        self.calls = StubCalls() if calls is None else calls
        kind = bound(WireProtocol, shared) if admin else protocol_for(self.calls, shared)
        if others is not None:
            kind.batch = others.protocol.batch  # of the same listener
        config = Config(
            self.app, http=kind, ws="none", loop="none", lifespan="off", log_config=None
        )
        config.load()
        self.transport = Transport()
        kind.names.add(b"localhost")
        self.protocol = kind(config, ServerState(), {})
        self.protocol.connection_made(self.transport)

    async def send(self, *segments):
        for segment in segments:
            if self.transport.closing:
                return
            self.protocol.data_received(segment)
            await self.settle(2)
        await self.settle()

    async def settle(self, turns=200):
        for _ in range(turns):
            await asyncio.sleep(0)

    def answers(self):
        """Status and body of each answer."""
        rest, found = self.transport.written, []
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head)[1])
            body, rest = rest[:length], rest[length:]
            found.append((int(head.split(b" ")[1]), json.loads(body)))
        return found

    def statuses(self):
        return [status for status, _ in self.answers()]


def run(scenario):
    """A scenario in an event loop of its own."""
    return asyncio.run(scenario())


def head(*fields, target="/x", method="GET", octets=None):
    """A head, filled up to a number of octets."""
    lines = [f"{method} {target} HTTP/1.1", "host: localhost", *fields]
    text = "\r\n".join(lines).encode() + b"\r\n\r\n"
    if octets is None:
        return text
    return text[:-2] + b"x: " + b"y" * (octets - len(text) - 5) + b"\r\n\r\n"


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


BEFORE = {
    "first": b"",
    "after a head": head(),
    "after a body": head("content-length: 5", method="POST") + b"\r\n\r\nq",
    "after a call": head("content-length: 2", method="POST", target=SIGNING) + b"{}",
    "after chunks": head("transfer-encoding: chunked", method="POST")
    + b"3;a=b\r\nabc\r\n0\r\nt: u\r\n\r\n",
    "after empty chunks": head("transfer-encoding: chunked", method="POST") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("size", [7, 1000, 65_536, 262_144])
@pytest.mark.parametrize("before", BEFORE)
def test_a_head_is_counted_to_the_octet(admin, size, before):
    async def scenario():
        for octets, status in ((MAX_HEAD, 200), (MAX_HEAD + 1, 431)):
            connection = Connection(admin=admin)
            data = BEFORE[before] + head(octets=octets)
            await connection.send(*cut(data, size))
            assert connection.statuses()[-1] == status
            assert len(connection.statuses()) == (2 if BEFORE[before] else 1)
            assert connection.transport.ended == (status == 431)

    run(scenario)


@pytest.mark.parametrize("size", [11, 4096, 262_144])
def test_fields_are_counted(size):
    async def scenario():
        for count, status in ((MAX_FIELDS, 200), (MAX_FIELDS + 1, 431)):
            for target in ("/x", SIGNING):
                connection = Connection()
                fields = [f"x{n}: y" for n in range(count - 2)]
                data = head(*fields, "content-length: 2", target=target, method="POST") + b"{}"
                await connection.send(*cut(data, size))
                assert connection.statuses() == [status]
        connection = Connection()
        await connection.send(*cut(head(*["x: y"] * 200)[:-2], size))  # the head goes on
        assert connection.statuses() == [431]

    run(scenario)


@pytest.mark.parametrize("size", [11, 4096, 262_144])
def test_trailers_count_with_the_head_and_are_no_part_of_it(size):
    chunked = head("transfer-encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n"

    async def scenario():
        for count, status in ((MAX_FIELDS - 2, 200), (MAX_FIELDS - 1, 431), (50_000, 431)):
            connection = Connection()
            await connection.send(*cut(chunked + b"x: y\r\n" * count + b"\r\n" + head(), size))
            assert connection.statuses() == ([200, 200] if status == 200 else [431])
            assert connection.app.given_up == (status == 431)
            if status == 200:
                assert connection.app.seen[0] == ["POST", "/x", "abc", 2]
        connection = Connection()
        await connection.send(*cut(chunked + b"x: " + b"y" * 70_000, size))
        assert connection.statuses() == [431]

    run(scenario)


@pytest.mark.parametrize("size", [500, 262_144])
def test_extensions_of_chunks_are_bounded_and_chunks_are_not(size):
    start = head("transfer-encoding: chunked", method="POST")

    async def scenario():
        connection = Connection()
        await connection.send(*cut(start + b"1;" + b"e" * 70_000, size))
        assert connection.statuses() == [431]
        connection = Connection()
        await connection.send(*cut(start + (b"1;" + b"e" * 200 + b"\r\na\r\n") * 400, size))
        assert connection.statuses() == [431]
        connection = Connection()
        await connection.send(*cut(start + b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n", size))
        assert connection.statuses() == [200]
        credit = b"1\r\na\r\n" * 30_000 + b"0\r\nx: " + b"y" * 80_000  # saves nothing up
        connection = Connection()
        await connection.send(*cut(start + credit, size))
        assert connection.statuses() == [431]

    run(scenario)


@pytest.mark.parametrize("target", ["/", SIGNING + "?"])
def test_a_long_target_is_414_and_nothing_of_it_is_kept(target):
    async def scenario():
        connection = Connection()
        data = f"POST {target}".encode() + b"a" * 4_000_000
        await connection.send(*cut(data, 262_144))
        assert connection.statuses() == [414]
        assert len(connection.protocol.url) <= MAX_HEAD
        body = connection.answers()[0][1]
        assert ("requestError" in body) == target.startswith(SIGNING)
        assert connection.transport.closing  # it went on sending

    run(scenario)


def test_blank_lines_count():
    async def scenario():
        connection = Connection()
        await connection.send(*cut(b"\r\n" * 40_000, 5000))
        assert connection.statuses() == [431]
        connection = Connection()
        await connection.send(b"\r\n\r\n" + head(), b"\r\n", b"\r\n" + head())
        assert connection.statuses() == [200, 200]

    run(scenario)


def test_a_refusal_waits_for_its_turn():
    async def scenario():
        connection = Connection()
        connection.app.may.clear()
        await connection.send(head() * 3 + head(octets=MAX_HEAD + 1))
        assert connection.answers() == []
        connection.app.may.set()
        await connection.settle()
        assert connection.statuses() == [200, 200, 200, 431]
        connection = Connection()
        await connection.send(head() + b"nonsense\r\n\r\n" + head())
        assert connection.statuses() == [200, 400]

    run(scenario)


@pytest.mark.parametrize("size", [20, 4000, 262_144])
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nhost:a\r\n\r\n",
        head(target="/y"),
        head("content-length: 30", method="POST") + b"\r\n\r\n" * 7 + b"ab",
        head("transfer-encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n\r\n",
    ],
)
def test_at_most_so_many_requests_are_read_ahead(size, request_bytes):
    async def scenario():
        connection = Connection()
        connection.app.may.clear()
        for segment in cut(request_bytes * 500, size):
            if connection.transport.paused:
                break
            await connection.send(segment)
        assert connection.transport.paused
        assert connection.protocol._unanswered() <= MAX_UNANSWERED
        connection.app.may.set()
        await connection.settle()
        assert set(connection.statuses()) == {200}

    run(scenario)


@pytest.mark.parametrize("size", [64, 4000, 262_144])
def test_all_of_a_long_pipeline_is_answered_in_order(size):
    async def scenario():
        connection = Connection()
        connection.app.may.clear()
        call = head("content-length: 3", method="POST", target=SIGNING)
        plan = [head(target=f"/{n}") if n % 3 else call + b"%03d" % n for n in range(300)]
        segments = cut(b"".join(plan), size)
        highest = 0
        while segments or connection.transport.paused:
            if segments and not connection.transport.paused:
                await connection.send(segments.pop(0))
            highest = max(highest, connection.protocol._unanswered())
            if connection.transport.paused:
                connection.app.may.set()
                await connection.settle()
                connection.app.may.clear()
        connection.app.may.set()
        for _ in range(30):
            await connection.settle()
        assert highest <= MAX_UNANSWERED
        told = [body for _, body in connection.answers()]
        assert [t[1] if n % 3 else t[2] for n, t in enumerate(told)] == [
            f"/{n}" if n % 3 else f"{n:03d}" for n in range(300)
        ]

    run(scenario)


UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")


@pytest.mark.parametrize("size", [1, 13, 262_144])
@pytest.mark.parametrize("target", ["/x", SIGNING])
def test_an_upgrade_is_not_followed_and_nothing_is_lost(size, target):
    posted = head(*UPGRADE, "content-length: 9", method="POST", target=target) + b"{\r\n\r\n}abc"
    chunked = head(*UPGRADE, "transfer-encoding: chunked", method="POST")
    plan = [
        (posted, "{\r\n\r\n}abc"),
        (head(*UPGRADE), ""),
        (chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n", "abcde"),
        (head("connection: upgrade", "upgrade: websocket"), ""),
        (posted, "{\r\n\r\n}abc"),
        (head(), ""),
    ]

    async def scenario():
        connection = Connection()
        await connection.send(*cut(b"".join(data for data, _ in plan), size))
        await connection.settle()
        assert [(status, body[2]) for status, body in connection.answers()] == [
            (200, body) for _, body in plan
        ]
        short = ["CALL" if target == SIGNING else "POST", target]
        assert connection.answers()[0][1][:2] == short
        assert not connection.transport.closing
        connection = Connection()
        closing = head("connection: close, upgrade", "upgrade: h2c", target=target, method="POST")
        await connection.send(*cut(closing + head(), size))
        assert connection.statuses() == [200]
        assert connection.transport.closing
        connection = Connection()
        await connection.send(head("connection: upgrade", "upgrade: h2c", octets=MAX_HEAD))
        await connection.send(head("connection: upgrade", "upgrade: h2c", octets=MAX_HEAD + 1))
        assert connection.statuses() == [200, 431]

    run(scenario)


@pytest.mark.parametrize("target", ["a:1", "/x", SIGNING])
def test_connect_is_refused_once_and_what_follows_is_no_request(target):
    async def scenario():
        connection = Connection()
        await connection.send(head())  # whose Host is known from now on
        await connection.send(head(method="CONNECT", target=target) + head())
        assert connection.statuses() == [200, 405]
        assert connection.transport.ended

    run(scenario)


@pytest.mark.parametrize("target", ["/x", SIGNING])
@pytest.mark.parametrize(
    "lines", [(), ("host: a", "host: a"), ("host: a b",), ("host: a/b",), ("host: a@b",)]
)
def test_exactly_one_host_is_expected(target, lines):
    fields = "".join(f"{line}\r\n" for line in lines).encode()
    for version, expected in ((b"1.1", 400), (b"1.0", 200 if not lines else 400)):
        data = b"POST %b HTTP/%b\r\n%bcontent-length: 2\r\n\r\n{}"
        data %= (target.encode(), version, fields)

        async def scenario(data=data, expected=expected):
            connection = Connection()
            await connection.send(head("content-length: 2", method="POST", target=target) + b"{}")
            await connection.send(data)
            assert connection.statuses() == [200, expected]

        run(scenario)


def test_a_connection_close_is_obeyed_whatever_follows():
    for target in ("/x", SIGNING):
        data = head("connection: close", "content-length: 2", method="POST", target=target) + b"{}"

        async def scenario(data=data):
            connection = Connection()
            await connection.send(data + head() * 3)
            assert connection.statuses() == [200]
            assert len(connection.app.seen) <= 1
            assert connection.transport.closing

        run(scenario)


@st.composite
def streams(draw):
    """Requests of every kind, and where their octets are cut."""
    body = st.binary(max_size=40) | st.lists(
        st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b"GET / HTTP/1.1\r\n\r\n"]), max_size=8
    ).map(b"".join)
    plan = []
    for _ in range(draw(st.integers(1, 12))):
        target = draw(st.sampled_from(["/x", SIGNING, "/long" + "y" * 200]))
        fields = [*draw(st.sampled_from([(), UPGRADE, ("x: y",)]))]
        kind = draw(st.sampled_from(["get", "length", "chunked"]))
        content = b""
        if kind == "get":
            data = head(*fields, target="/x")
        elif kind == "length":
            content = draw(body)
            data = head(*fields, f"content-length: {len(content)}", method="POST", target=target)
            data += content
        else:
            data = head(*fields, "transfer-encoding: chunked", method="POST", target="/x")
            for chunk in draw(st.lists(body.filter(bool), max_size=3)):
                content += chunk
                data += b"%x;e\r\n%b\r\n" % (len(chunk), chunk)
            data += b"0\r\n" + draw(st.sampled_from([b"", b"t: u\r\n"])) + b"\r\n"
        plan.append((data, content.decode("latin-1")))
    whole = b"".join(data for data, _ in plan)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return plan, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


@given(streams())
@settings(max_examples=150, deadline=None)
def test_however_requests_are_cut_they_are_answered_alike(stream):
    plan, segments = stream

    async def scenario():
        connection = Connection()
        await connection.send(*segments)
        for _ in range(10):
            await connection.settle()
        assert [(status, body[2]) for status, body in connection.answers()] == [
            (200, content) for _, content in plan
        ]
        assert connection.refused == []
        assert (connection.protocol._octets, connection.protocol._state) == (0, 0)

    run(scenario)


CALLS = [
    (target, (*fields, f"content-length: {length}"), body)
    for target in (SIGNING, VERIFICATION, "/x")
    for fields in (
        (),
        ("authorization: Bearer one",),
        ("authorization: Bearer two",),
        ("x-requestid: 7",),
        ("x: " + "y" * 1200,),
        ("connection: close",),
    )
    for body, length in ((b"", 0), (b"{}", 2), (b"wait", 4), (b"ab\r\n\r\ncd", 8))
]


@given(st.lists(st.sampled_from(CALLS), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_a_head_that_is_known_means_what_it_meant(plan):
    """Each request is answered as on a new connection, octet by octet."""

    async def scenario():
        connection, expected = Connection(), b""
        for target, fields, body in plan:
            octets = head(*fields, method="POST", target=target) + body
            alone = Connection()
            await alone.send(octets)
            expected += alone.transport.written
            await connection.send(octets)
            assert connection.transport.written == expected
            assert connection.transport.closing is alone.transport.closing
            if alone.transport.closing:
                break

    run(scenario)


def test_few_heads_are_kept_and_none_that_names_its_call():
    async def scenario():
        connection = Connection()
        kept = connection.protocol._heads._known
        for number in range(100):
            fields = (f"authorization: Bearer {number}", "content-length: 2")
            await connection.send(head(*fields, method="POST", target=SIGNING) + b"{}")
            assert 1 <= len(kept) <= MAX_HEADS
        await connection.send(head())  # the parser knows another request now
        assert not kept
        for name in ("x-requestid", "x-request-id"):
            fields = (f"{name}: 7", "content-length: 2")
            await connection.send(head(*fields, method="POST", target=SIGNING) + b"{}")
        assert not kept

    run(scenario)


def _kept(connection):
    return connection.protocol._heads._known


def test_heads_are_forgotten_when_other_keys_are_in_force():
    async def scenario():
        connection = Connection()
        one = head("authorization: Bearer one", "content-length: 2", method="POST", target=SIGNING)
        two = head("authorization: Bearer two", "content-length: 2", method="POST", target=SIGNING)
        await connection.send(one + b"{}", two + b"{}", one + b"{}")
        assert set(_kept(connection)) == {one, two}
        connection.calls.keys = "others"
        await connection.send(two + b"{}")
        assert set(_kept(connection)) == {two}
        assert connection.statuses() == [200] * 4

    run(scenario)


@pytest.mark.parametrize("fields", [MAX_FIELDS - 3, MAX_FIELDS - 2, MAX_FIELDS - 1, MAX_FIELDS])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_no_head_beyond_the_limits_is_kept(fields, size):
    """host, content-length and the given ones."""

    async def scenario():
        connection = Connection()
        more = [f"{number:0{size}}:" for number in range(fields)]
        octets = head("content-length: 2", *more, method="POST", target=SIGNING)
        kept = fields + 2 <= MAX_FIELDS and len(octets) <= MAX_OCTETS
        for times in (1, 2):
            await connection.send(octets + b"{}")
            good = fields + 2 <= MAX_FIELDS
            assert connection.statuses() == ([200] * times if good else [431])
            assert (octets in _kept(connection)) is kept

    run(scenario)


@pytest.mark.parametrize("octets", [MAX_OCTETS - 1, MAX_OCTETS, MAX_OCTETS + 1, MAX_HEAD - 1])
def test_no_large_head_is_kept(octets):
    async def scenario():
        connection = Connection()
        line = f"POST {SIGNING} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nx: "
        data = line.encode() + b"y" * (octets - len(line) - 4) + b"\r\n\r\n"
        assert len(data) == octets
        await connection.send(data + b"{}", data + b"{}")
        assert connection.statuses() == [200, 200]
        assert (data in _kept(connection)) is (octets <= MAX_OCTETS)

    run(scenario)


def test_a_head_that_is_known_opens_nothing_by_itself(tmp_path, desk_with):
    """Each call shows its credentials anew: a key that is withdrawn is refused at once."""
    file = tmp_path / "keys.toml"
    secret = add_key(file, "proxy", [Role.PROXY])
    desk = desk_with()
    authenticator = Authenticator(file)
    desk.service.calls._authenticator = authenticator
    body = (
        b'{"verificationRequest": {"from": {"tn": "8613910000000"}, "to": {"tn": "8613800000000"}}}'
    )
    octets = head(
        f"authorization: Bearer {secret}",
        f"content-length: {len(body)}",
        method="POST",
        target=VERIFICATION,
    )

    async def scenario():
        connection = Connection(calls=desk.service.calls)
        await connection.send(octets + body, octets + body)
        assert connection.statuses() == [200, 200]
        assert octets in _kept(connection)
        known = authenticator.known
        authenticator.known = msgspec.structs.replace(known, keys={})  # unseen: the head is kept
        connection.protocol._heads._keys = authenticator.known
        await connection.send(octets + body)
        assert connection.statuses() == [200, 200, 401]
        file.write_text("key = []\n")
        authenticator.refresh()
        await connection.send(octets + body)
        assert connection.statuses() == [200, 200, 401, 401]

    run(scenario)


def test_heads_are_found_by_a_keyed_hash():
    """The interpreter's, with a key of its own in each process."""
    assert sys.hash_info.algorithm.startswith("siphash")
    code = f"print(hash({head()!r}))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": "random"},
            capture_output=True,
            check=True,
        ).stdout
        for _ in range(3)
    }
    assert len(told) == 3


def test_who_is_answered_before_the_body_is_told_that_the_connection_ends():
    async def scenario():
        for target, fields in (
            ("/x", "transfer-encoding: chunked"),
            (SIGNING, "transfer-encoding: chunked"),
            ("/x", "content-length: 4000000"),
        ):
            connection = Connection()
            connection.app.early = True
            await connection.send(head(fields, method="POST", target=target))
            assert connection.statuses() == [200]
            assert b"connection: close" in connection.transport.written
            assert connection.transport.ended
            assert not connection.transport.closing  # until it can be thought to be read

    run(scenario)


def test_foreign_names_and_pages_are_refused_on_every_way():
    async def scenario():
        for target in ("/x", SIGNING, "http://evil.example/x"):
            for fields, status in (
                (("host: localhost:8080",), 200),
                (("host: 127.0.0.1",), 200),
                (("host: evil.example",), 421),
                (("host: evil.example:8080",), 421),
                (("host: localhost", "origin: http://evil.example"), 403),
                (("host: localhost", "origin: null"), 403),
                (("host: localhost", "sec-fetch-site: cross-site"), 403),
                (("host: localhost:8080", "origin: http://localhost:8080"), 200),
                (("host: localhost", "origin: http://LOCALHOST:80"), 200),
                (("host: localhost", "origin: https://localhost"), 200),
                (("host: localhost:8080", "origin: http://localhost:9999"), 403),
                (("host: localhost:8080", "origin: http://127.0.0.1:8080"), 403),
                (("host: localhost", "origin: http://localhost:8080"), 403),
            ):
                expected = 421 if status == 200 and "evil" in target else status
                connection = Connection(hosts=Hosts())
                lines = [f"POST {target} HTTP/1.1", *fields, "content-length: 2", "", "{}"]
                data = "\r\n".join(lines).encode()
                await connection.send(data)
                if expected == 200:
                    await connection.send(data)
                    assert connection.statuses() == [200, 200]
                else:
                    assert connection.statuses() == [expected]
                    assert connection.app.seen == []

    run(scenario)


class Stopwatch:
    """How many calls were answered between two turns of the loop, at most."""

    def __init__(self, connection):
        self.connection, self.most = connection, 0

    async def run(self, turns):
        before = self._answered()
        for _ in range(turns):
            await asyncio.sleep(0)
            after = self._answered()
            self.most, before = max(self.most, after - before), after

    def _answered(self):
        return self.connection.transport.written.count(b"HTTP/1.1 ")


@pytest.mark.parametrize("mixed", [False, True])
def test_one_connection_has_its_share_of_a_turn_and_no_more(mixed):
    """Calls that are answered as they are read leave the loop to others in between."""

    async def scenario():
        connection = Connection()
        call = head("content-length: 2", method="POST", target=SIGNING) + b"{}"
        plan = (call * 15 + head()) * 100 if mixed else call * 1600
        before = connection.transport.written.count(b"HTTP/1.1 ")
        connection.protocol.data_received(plan)
        assert connection.transport.written.count(b"HTTP/1.1 ") - before <= MAX_AT_ONCE
        assert connection.transport.paused
        watch = Stopwatch(connection)
        await watch.run(4000)
        assert watch.most <= 2 * MAX_AT_ONCE
        assert connection.statuses() == [200] * 1600
        assert not connection.transport.paused
        await connection.send(call)
        assert connection.statuses() == [200] * 1601

    run(scenario)


@pytest.mark.parametrize("number", [1, 15, 16, 17, 32, 64, 500])
def test_a_pipeline_of_calls_is_answered_whole_and_in_order(number):
    async def scenario():
        connection = Connection()
        call = head("content-length: 3", method="POST", target=SIGNING)
        await connection.send(b"".join(call + b"%03d" % n for n in range(number)))
        while connection.transport.paused:
            await connection.settle()
        assert [body[2] for _, body in connection.answers()] == [f"{n:03d}" for n in range(number)]

    run(scenario)


def test_a_body_in_tiny_chunks_has_its_share_of_a_turn():
    async def scenario():
        connection = Connection()
        connection.protocol.data_received(
            head("transfer-encoding: chunked", method="POST") + b"1\r\na\r\n" * 60_000
        )
        assert connection.transport.paused
        assert connection.protocol.arrived() < 20_000
        await connection.settle()
        await connection.send(b"0\r\n\r\n" + head())
        assert connection.statuses() == [200, 200]
        assert len(connection.app.seen[0][2]) == 60_000

    run(scenario)


@pytest.mark.parametrize("target", ["/x", SIGNING])
def test_only_a_connection_with_nothing_under_way_gives_way(target):
    async def scenario():
        request = head("content-length: 2", method="POST", target=target) + b"{}"
        for sent, gives_way in ((b"", True), (request[:9], False), (request[:-1], False)):
            connection = Connection()
            await connection.send(sent)
            assert connection.protocol.give_way() is gives_way
            assert connection.transport.closing is gives_way
        connection = Connection()
        connection.app.may.clear()
        connection.protocol.data_received(request)
        assert not connection.protocol.give_way()
        connection.app.may.set()
        await connection.settle()
        assert connection.protocol.give_way()
        assert connection.statuses() == [200]

    run(scenario)


@pytest.mark.parametrize("blank", [" ", "\t", " \t "])
def test_blanks_after_a_value_are_no_part_of_a_host(blank):
    async def scenario():
        connection = Connection(hosts=Hosts())
        await connection.send(f"GET /x HTTP/1.1\r\nhost: localhost:80{blank}\r\n\r\n".encode())
        assert connection.statuses() == [200]

    run(scenario)


def test_nobody_goes_on_sending_a_body_after_the_answer():
    async def scenario():
        for fields in ("content-length: 100000000", "transfer-encoding: chunked"):
            connection = Connection(limits=Limits(anonymous=True))
            connection.protocol.admitted()
            connection.app.early = True
            await connection.send(head(fields, method="POST"), b"1\r\na\r\n")
            assert connection.statuses() == [200]
            assert connection.transport.ended

    run(scenario)


def test_what_is_waited_for_and_how_long():
    async def scenario():
        def opened():
            connection = Connection()
            return connection, connection.protocol.look

        connection, look = opened()  # says nothing
        look(100.0)
        look(109.9)
        assert not connection.transport.closing
        look(110.0)
        assert connection.transport.closing
        assert connection.transport.written == b""

        connection, look = opened()  # line ends, as old clients put after a body
        await connection.send(head("content-length: 2", method="POST") + b"{}", b"\r\n")
        look(100.0)
        look(110.0)
        assert connection.transport.closing
        assert connection.statuses() == [200]

        connection, look = opened()  # a head, however often octets of it come
        await connection.send(head()[:-4])
        for second in range(10):
            look(100.0 + second)
            await connection.send(b"a")
        assert connection.statuses() == []
        look(110.0)
        assert connection.statuses() == [408]

        connection, look = opened()  # a head each second is another one
        for second in range(30):
            await connection.send((b"" if second == 0 else b"\r\n\r\n") + head()[:-4])
            look(100.0 + second)
        assert connection.statuses() == [200] * 29

        for target in ("/x", SIGNING):
            connection, look = opened()  # a body, by what arrives of it
            await connection.send(head("content-length: 65536", method="POST", target=target))
            now = 100.0
            for _ in range(3):
                look(now)
                await connection.send(b"a" * 16_384)
                now += 19
                look(now)
            assert connection.statuses() == []
            await connection.send(b"a" * 16_000)
            look(now + 20)
            await connection.settle()
            assert connection.statuses() == [408]
            assert connection.app.given_up == (target == "/x")

        connection, look = opened()  # somebody who reads nothing, and then something
        await connection.send(head())
        connection.protocol.pause_writing()
        look(100.0)
        look(159.0)
        connection.transport.get_write_buffer_size = lambda: 5
        look(161.0)
        look(220.0)
        assert not connection.transport.closing
        look(221.0)
        assert connection.transport.aborted

        connection, look = opened()  # nobody waits for an answer of ours
        connection.app.may.clear()
        await connection.send(head())
        look(100.0)
        look(1000.0)
        assert not connection.transport.closing
        connection.app.may.set()
        await connection.settle()
        now = asyncio.get_running_loop().time()
        look(now + 4)
        assert not connection.transport.closing
        look(now + 6)  # idle, as uvicorn has it
        assert connection.transport.closing

    run(scenario)


def test_who_is_answered_by_the_head_and_goes_on_sending_is_closed():
    async def scenario():
        for fields, ended in (("content-length: 4000000", True), ("content-length: 7", False)):
            connection = Connection(limits=Limits())
            connection.app.early = True
            await connection.send(head(fields, method="PUT"))
            assert connection.statuses() == [200]
            assert connection.transport.ended is ended
            await connection.send(b"1234567" + head())
            assert connection.statuses() == ([200] if ended else [200, 200])

    run(scenario)


# Calls whose batch is asked about ----------------------------------------------------------------


def _call(body):
    return head(f"content-length: {len(body)}", method="POST", target=VERIFICATION) + body


def _bodies(connection):
    return [body[2].encode() for _, body in connection.answers()]


def test_the_calls_of_a_turn_are_asked_about_at_once_and_others_do_not_wait():
    async def scenario():
        first = Connection()
        listener = [first, *(Connection(others=first) for _ in range(9))]
        for number, each in enumerate(listener):
            body = b"ask%d" % number if number % 3 else b"new%d" % number
            each.protocol.data_received(_call(body))
        await first.settle()
        assert first.calls.batches == [6]
        assert first.calls.asking == 6
        assert [len(each.answers()) for each in listener] == [1, 0, 0] * 3 + [1]
        for each in listener:
            each.protocol.look(100.0)
            each.protocol.look(100.0 + 3600 if each.answers() == [] else 100.0)
            assert not each.transport.closing  # it is we who are waited for
        first.calls.may.set()
        await first.settle()
        assert [_bodies(each) for each in listener] == [
            [b"ask%d" % n if n % 3 else b"new%d" % n] for n in range(10)
        ]
        assert first.calls.asking == 0
        assert all(each.app.seen == [] for each in listener)  # without the application

    run(scenario)


@pytest.mark.parametrize("size", [1, 60, 4096])
@pytest.mark.parametrize("order", ["asked first", "read first"])
def test_what_follows_a_call_that_is_asked_about_is_answered_after_it(size, order):
    async def scenario():
        connection = Connection()
        if order == "asked first":
            connection.calls.may.set()
        bodies = [b"ask1", b"new2", b"ask3", b"ask4", b"new5"]
        await connection.send(*cut(b"".join(map(_call, bodies)), size))
        connection.calls.may.set()
        await connection.settle()
        assert _bodies(connection) == bodies
        await connection.send(_call(b"ask6"), _call(b"new7"))
        assert _bodies(connection)[5:] == [b"ask6", b"new7"]

    run(scenario)


def test_what_is_refused_after_a_call_that_is_asked_about_is_refused_after_it():
    async def scenario():
        connection = Connection()
        await connection.send(_call(b"ask1"))
        await connection.send(b"no request\r\n\r\n")
        assert connection.transport.written == b""
        connection.calls.may.set()
        await connection.settle()
        assert connection.statuses() == [200, 400]
        assert connection.transport.ended

    run(scenario)


def test_who_leaves_while_being_asked_about_harms_nobody():
    async def scenario():
        one = Connection()
        other = Connection(others=one)
        for each in (one, other):
            each.protocol.data_received(_call(b"ask"))
        await one.settle()
        one.transport.closing = True
        one.protocol.connection_lost(None)
        other.protocol.shutdown()  # the service stops: what is under way is answered
        one.calls.may.set()
        await other.settle()
        assert one.transport.written == b""
        assert other.statuses() == [200]
        assert b"connection: close" in other.transport.written
        assert other.transport.closing

    run(scenario)


def test_calls_that_are_asked_about_count_as_waiting():
    async def scenario():
        calls = StubCalls()
        calls.policy = CallPolicy(max_waiting=5)
        first = Connection(calls=calls)
        listener = [first, *(Connection(calls=calls, others=first) for _ in range(6))]
        for each in listener[:5]:
            await each.send(_call(b"ask"))
        assert calls.asking == 5
        for each in listener[5:]:
            await each.send(_call(b"new"))
            assert each.transport.written.startswith(b"HTTP/1.1 503")
        calls.may.set()
        await first.settle()
        await listener[5].send(_call(b"new"))
        assert listener[5].transport.written.count(b"HTTP/1.1 200") == 1

    run(scenario)


class Failing:
    """A front end that fails of what came together, whichever it was."""

    def takes(self, target):
        return target == b"/theirs"

    def answer_all(self, requests):
        raise ValueError("of one of them")


def test_a_front_end_that_fails_takes_nobody_along():
    async def scenario():
        first = Connection()
        listener = [first, *(Connection(others=first) for _ in range(3))]
        first.protocol.batch.further = Failing()
        for number, each in enumerate(listener):
            body = b"new%d" % number
            target = VERIFICATION if number % 2 else "/theirs"
            post = head(f"content-length: {len(body)}", method="POST", target=target)
            each.protocol.data_received(post + body)
        await first.settle()
        await asyncio.sleep(0)
        assert [each.statuses() for each in listener] == [[200]] * 4
        assert [told[:3] for told in first.app.seen] == [["POST", "/theirs", "new0"]]

    run(scenario)


@pytest.mark.parametrize("target", ["/x", SIGNING])
@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("version", ["2.0", "0.9", "1.2", "3.0", "9.9"])
def test_another_version_of_http_is_not_answered_as_if_it_were_ours(version, admin, target):
    """RFC 9110 section 15.6.6; the parser takes 0.9 and 2.0 for good."""

    async def scenario():
        connection = Connection(admin=admin)
        whole = head("content-length: 2", method="POST", target=target) + b"{}"
        await connection.send(whole.replace(b"HTTP/1.1", f"HTTP/{version}".encode()) + whole)
        assert connection.refused == ["HTTP_VERSION"]
        assert connection.statuses() == [505]

    run(scenario)
