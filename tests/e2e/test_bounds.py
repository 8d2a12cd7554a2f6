"""What one client may send and hold: heads, trailers, pipelines, connections, slow senders."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
from running import (
    Service,
    Wire,
    dumps,
    metric,
    raw,
    signing,
    taken,
    tls_files,
    until,
    verification,
)

from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.simulation.demo import BANK

OWN_PROCESS = True  # how much memory a process takes is asked of shared services

MEGABYTE = 1_000_000


def _resident(pid):
    """Octets of memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Calls(threading.Thread):
    """Signs calls one after the other, and keeps how long the slowest took."""

    def __init__(self, service, key=""):
        super().__init__()
        self._base, self._ended = service.base, threading.Event()
        self._headers = {"x-api-key": key} if key else {}
        self.slowest = 0.0

    def run(self):
        with httpx.Client(
            base_url=self._base, trust_env=False, timeout=30, headers=self._headers
        ) as client:
            while not self._ended.is_set():
                began = time.monotonic()
                assert client.post(SIGNING, json=signing(BANK)).status_code == 200
                self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


def _pour(port, begin, more, octets):
    """Send until all is sent or the service will have no more; octets sent, and what it said."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        sent = 0
        try:
            connection.sendall(begin)
            while sent < octets:
                connection.sendall(more)
                sent += len(more)
        except OSError:
            pass
        said = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65_536):
                said += part
    return sent, said


_FIELDS = b"x-one: " + b"y" * 50 + b"\r\n"
_POURED = {
    "target": (b"GET /", b"a" * 65_536, b"414"),
    "target of a call": (f"POST {SIGNING}?".encode(), b"a" * 65_536, b"414"),
    "fields": (b"GET / HTTP/1.1\r\nhost: localhost\r\n", _FIELDS * 1000, b"431"),
    "fields of a call": (
        f"POST {SIGNING} HTTP/1.1\r\nhost: localhost\r\n".encode(), _FIELDS * 1000, b"431"
    ),
    "one field": (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", b"y" * 65_536, b"431"),
    "blanks before a value": (b"GET / HTTP/1.1\r\nhost: localhost\r\nx:", b" " * 65_536, b"431"),
    "empty lines": (b"", b"\r\n" * 30_000, b"431"),
    "trailers": (
        b"PUT /v1/subjects/x HTTP/1.1\r\nhost: localhost\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n",
        _FIELDS * 1000,
        b"404 431",  # what is not there may be told before they come
    ),
    "trailers of a call": (
        f"POST {SIGNING} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        .encode(),
        _FIELDS * 1000,
        b"404 411 431",  # 404 where calls are not answered
    ),
    "extension of a chunk": (
        b"PUT /v1/subjects/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;",
        b"e" * 65_536,
        b"404 431",  # likewise
    ),
    "after other requests": (
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 3 + b"GET /", b"a" * 65_536, b"414"
    ),
}  # fmt: skip


@pytest.mark.parametrize("listener", ["calls", "admin"])
@pytest.mark.parametrize("name", _POURED)
def test_what_never_ends_is_refused_early(apart, name, listener):
    """48 MB are tried; neither memory nor calls notice."""
    begin, more, statuses = _POURED[name]
    port = apart.port if listener == "calls" else apart.admin
    before = _resident(apart.pid)
    with Calls(apart) as calls:
        sent, said = _pour(port, begin, more, 48 * MEGABYTE)
    assert sent < 16 * MEGABYTE  # most of it in the kernel's buffers
    assert said.rpartition(b"HTTP/1.1 ")[2][:3] in statuses.split(), said
    assert b"connection: close" in said
    assert calls.slowest < 1.0
    assert _resident(apart.pid) - before < 8 * MEGABYTE


def test_what_is_refused_is_told_in_the_words_of_its_route_and_counted(service):
    for path, where in ((SIGNING, "requestError"), ("/v1/holdings", "title")):
        with Wire(service) as wire:
            wire.send(raw(path, b"", *[f"x{n}: y" for n in range(100)]))
            status, fields, body = wire.answer()
            assert (status, fields["connection"]) == (431, "close")
            assert where in body.decode()
            assert wire.closed(4)
    with service.client() as client:
        text = client.get("/metrics").text
    assert metric(text, "zhenxian_request_errors_total", route="http", reason="HEAD_TOO_LARGE") >= 2


def test_a_head_as_large_as_is_permitted_is_answered(service):
    body = dumps(signing(BANK))
    for path in (SIGNING, SIGNING + "?asgi"):
        bare = raw(path, b"", f"content-length: {len(body)}", "x: ")
        padded = raw(path, b"", f"content-length: {len(body)}", "x: " + "y" * (65_536 - len(bare)))
        assert len(padded) == 65_536
        with Wire(service) as wire:
            for _ in range(2):
                wire.send(padded + body)
                assert wire.answer()[0] == 200
            wire.send(padded[:-4] + b"y\r\n\r\n" + body)
            assert wire.answer()[0] == 431


@pytest.mark.parametrize("path", ["/healthz", "/v1/holdings", SIGNING + "?asgi", "/docs"])
def test_pipelines_that_nobody_reads_take_little(service, path):
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    before = _resident(service.pid)
    wires = [Wire(service) for _ in range(20)]
    try:
        for wire in wires:
            wire._socket.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 20 * MEGABYTE:
                    sent += wire._socket.send(request * 1000)
        time.sleep(1)
        for wire in wires:
            with contextlib.suppress(BlockingIOError):
                wire._socket.send(request * 1000)
        time.sleep(1)
        assert _resident(service.pid) - before < len(wires) * MEGABYTE
    finally:
        for wire in wires:
            wire.__exit__()
    with service.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_long_pipeline_that_is_read_is_answered_whole(service):
    request = raw("/healthz", b"", method="GET")
    call = dumps(signing(BANK))
    with Wire(service) as wire:
        sending = threading.Thread(
            target=wire.send,
            args=((request * 9 + raw(SIGNING, call, f"content-length: {len(call)}")) * 500,),
        )
        sending.start()
        for number in range(5000):
            status, _, body = wire.answer()
            assert status == 200
            assert (b"identity" in body) == (number % 10 == 9)
        sending.join()


# Connections ------------------------------------------------------------------------------------


def _refused(service, **more):
    """A connection that got 503 at once; None for one that is let in."""
    connection = socket.create_connection(("127.0.0.1", service.port), 10)
    until(lambda: taken(service.port))
    connection.settimeout(0.3)  # it is told in the turn in which it is taken
    try:
        said = connection.recv(4096)
    except TimeoutError:
        return connection
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after:" in said
    assert b"problem" in said
    connection.close()
    return None


def _keyed(tmp_path):
    path = tmp_path / "keys.toml"
    return path, add_key(path, "sbc", [Role.PROXY]), add_key(path, "desk", [Role.OPERATOR])


def _bounds(service, key):
    with service.client(headers={"x-api-key": key}) as client:
        text = client.get("/metrics").text
    return {
        bound: metric(text, "zhenxian_connections_refused_total", bound=bound)
        for bound in ("all", "strangers", "address")
    } | {
        "open": metric(text, "zhenxian_connections"),
        "unknown": metric(text, "zhenxian_connections_strangers"),
    }


@pytest.mark.parametrize("path", [SIGNING, SIGNING + "?asgi"])
def test_strangers_are_bounded_and_who_has_credentials_is_not(serve, tmp_path, path):
    keys, proxy, desk = _keyed(tmp_path)
    service = serve(
        auth__keys=keys,
        server__max_strangers_per_address=8,
        server__max_connections=40,
    )
    body = dumps(signing(BANK))
    call = raw(path, body, f"x-api-key: {proxy}", f"content-length: {len(body)}")
    wrong = raw(path, body, "x-api-key: zx_a_b", f"content-length: {len(body)}")
    with contextlib.ExitStack() as stack:
        known = [stack.enter_context(Wire(service)) for _ in range(4)]
        for _ in range(4):  # each batch shows credentials, and makes place for the next
            for wire in known[-4:]:
                wire.send(call)
                assert wire.answer()[0] == 200
            known += [stack.enter_context(Wire(service)) for _ in range(4)]
        strangers = known[-4:]
        for wire in strangers:
            wire.send(wrong)
            assert wire.answer()[0] == 401
        more = []
        for _ in range(10):  # those that asked wrongly give way; who is in the midst of one stays
            more.append(_refused(service))
            if more[-1] is not None:
                more[-1].sendall(call[:9])
                until(lambda: taken(service.port))
        assert [each is not None for each in more] == [True] * 8 + [False] * 2
        assert known[0].send(call) is None
        assert known[0].answer()[0] == 200
        for each in more:
            if each is not None:
                each.close()
        told = until(lambda: (t := _bounds(service, desk))["unknown"] <= 5 and t)
        assert told["address"] == 2
        assert told["open"] >= 16


def test_who_only_holds_connections_keeps_nobody_out(serve, tmp_path):
    keys, proxy, _ = _keyed(tmp_path)
    service = serve(auth__keys=keys, server__max_strangers_per_address=8)
    body = dumps(signing(BANK))
    call = raw(SIGNING, body, f"x-api-key: {proxy}", f"content-length: {len(body)}")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(Wire(service)) for _ in range(8)]
        wire = stack.enter_context(Wire(service))
        wire.send(call)
        assert wire.answer()[0] == 200
        assert held[0].closed()
        for each in held[1:]:  # a request that is begun is not given up
            each.send(call[:-1])
        until(lambda: taken(service.port))
        more = stack.enter_context(Wire(service))
        newest = _refused(service)
        assert newest is not None
        newest.close()
        assert more.closed()
        for each in held[1:]:
            each.send(call[-1:])
            assert each.answer()[0] == 200


def test_a_pool_that_connects_ahead_is_served(serve, tmp_path):
    keys, proxy, _ = _keyed(tmp_path)
    service = serve(auth__keys=keys)
    body = dumps(signing(BANK))
    call = raw(SIGNING, body, f"x-api-key: {proxy}", f"content-length: {len(body)}")
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(Wire(service)) for _ in range(200)]
        time.sleep(0.5)  # so that they are connections without a request for a while
        for wire in pool:
            wire.send(call)
        assert {wire.answer()[0] for wire in pool} == {200}


def test_listed_proxies_are_bounded_by_the_whole_only(serve, tmp_path):
    keys, _, desk = _keyed(tmp_path)
    service = serve(
        auth__keys=keys,
        server__max_strangers=4,
        server__max_connections=20,
        server__proxies='["127.0.0.0/8"]',
    )
    connections = [_refused(service) for _ in range(25)]
    assert sum(each is not None for each in connections) == 20
    for each in connections:
        if each is not None:
            each.close()
    until(lambda: httpx.get(service.base + "/healthz", trust_env=False).status_code == 200)
    assert _bounds(service, desk)["all"] >= 5


def test_without_credentials_nobody_is_a_stranger(serve):
    service = serve(server__max_strangers=2, server__max_strangers_per_address=1)
    connections = [_refused(service) for _ in range(3)]
    assert None not in connections
    for each in connections:
        each.close()


def test_slow_senders_are_told_so_and_closed(service):
    began = time.monotonic()
    with (
        Wire(service) as silent,
        Wire(service) as head,
        Wire(service) as fed,
        Wire(service) as body,
    ):
        head.send(b"GET /healthz HTTP/1.1\r\nhost")
        fed.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ")
        body.send(raw("/v1/subjects/x", b"{", "content-length: 1000", method="PUT"))
        for _ in range(8):
            time.sleep(1)
            fed.send(b"x")
        for wire in (head, fed):
            assert wire.answer()[0] == 408
            assert wire.closed(4)
        assert silent.closed(30)
        assert body.readable(30)
        assert body.answer()[0] == 408
        assert body.closed(4)
        assert time.monotonic() - began < 60


def test_who_leaves_in_the_middle_of_a_body_is_no_error_of_the_service(service):
    csv, json = "content-type: text/csv", "content-type: application/json"
    for method, path, kind in (
        ("POST", "/v1/imports/subjects?reason=a", csv),
        ("POST", "/v1/bindings/batch?reason=a", json),
        ("PUT", "/v1/subjects/half?reason=a", json),
        ("POST", SIGNING, json),
    ):
        for length in ("content-length: 1000", "transfer-encoding: chunked"):
            with Wire(service) as wire:
                wire.send(raw(path, b"5\r\nid,na\r\n", length, kind, method=method))
                assert until(lambda: taken(service.port))
        with Wire(service) as wire:  # it has looked after those before when it answers
            rows = b"id,name\nwhole,x\n"
            wire.send(
                raw("/v1/imports/subjects?reason=a", rows, f"content-length: {len(rows)}", csv)
            )
            assert wire.answer()[0] == 200
    assert "Traceback" not in service.logged()


def test_an_upload_that_goes_on_is_not_cut_off(service):
    """Slower than a second a step, faster than the bound."""
    body = dumps(signing(BANK)).ljust(60_000)
    with Wire(service) as wire:
        wire.send(raw(SIGNING, b"", f"content-length: {len(body)}"))
        for start in range(0, len(body), 10_000):
            time.sleep(1.1)
            wire.send(body[start : start + 10_000])
        assert wire.answer()[0] == 200


def test_over_tls_the_same_holds(serve, tmp_path):
    keys, proxy, _ = _keyed(tmp_path)
    service = serve(
        alter=lambda world: tls_files(world.config.parent),
        tls=True,
        auth__keys=keys,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        server__max_strangers_per_address=3,
    )
    context = ssl.create_default_context(cafile=service.folder / "tls-ca.pem")

    def connect():
        plain = socket.create_connection(("127.0.0.1", service.port), 10)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    with connect() as connection:
        with contextlib.suppress(OSError):
            for number in range(100):
                connection.sendall(b"GET /" if number == 0 else b"a" * 60_000)
        with contextlib.suppress(OSError):
            assert connection.recv(4096).startswith(b"HTTP/1.1 414 ")
    body = dumps(signing(BANK))
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            connection = stack.enter_context(connect())
            connection.sendall(
                raw(SIGNING, body, f"x-api-key: {proxy}", f"content-length: {len(body)}")
            )
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        for number in range(4):
            connection = stack.enter_context(connect())
            if number < 3:
                connection.sendall(b"GET /")  # begun, so it does not give way
                until(lambda: taken(service.port))
            else:
                assert connection.recv(4096).startswith(b"HTTP/1.1 503 ")


# Before a body is read ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "zx_a_b"])
@pytest.mark.parametrize("length", ["content-length: 4000000", "transfer-encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/bindings/batch"),
        ("PUT", "/v1/subjects/x?reason=y"),
        ("POST", "/v1/orders"),
        ("POST", "/v1/imports/holdings"),
        ("PUT", "/v1/nothing"),
    ],
)
def test_administration_is_refused_by_the_head_alone(keyed, method, path, length, key):
    """Nothing of the body is waited for, read or parsed; then the connection ends."""
    service, _ = keyed
    shown = (f"x-api-key: {key}",) if key is not None else ()
    with Wire(service) as wire:
        wire.send(raw(path, b"", "content-type: application/json", length, *shown, method=method))
        status, fields, body = wire.answer()
        assert (status, fields["www-authenticate"]) == (401, "Bearer")
        assert b"credentials" in body
        assert wire.closed(4)


def test_who_sends_a_small_body_without_credentials_keeps_the_connection(keyed):
    """A client often sends head and body apart, and learns the key later."""
    service, key = keyed
    with Wire(service) as wire:
        wire.send(raw("/v1/subjects/x?reason=y", b"", "content-length: 2", method="PUT"))
        assert wire.answer()[0] == 401
        wire.send(b"{}")
        wire.send(
            raw("/v1/subjects/x?reason=y", b"{}", "content-length: 2", f"x-api-key: {key}",
                "content-type: application/json", method="PUT")
        )  # fmt: skip
        assert wire.answer()[0] == 200


def test_large_bodies_without_credentials_do_not_slow_calls(keyed):
    service, key = keyed
    body = b'{"items":[' + b'{"id":"x"},' * 360_000 + b"{}]}"
    request = raw("/v1/bindings/batch", body, f"content-length: {len(body)}",
                  "content-type: application/json")  # fmt: skip
    slowest = []
    for _ in range(3):  # a machine on which others work is slow now and then, and not each time
        with Calls(service, key) as calls:
            for _ in range(10):
                with Wire(service) as wire, contextlib.suppress(OSError):
                    wire.send(request)
        slowest.append(calls.slowest)
        if slowest[-1] < 0.4:
            return
    pytest.fail(f"calls took {slowest} s")


@pytest.fixture
def serve(serve):
    """Nobody asks how much memory these take."""
    return partial(serve, own_process=False)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A service with credentials, and a key that opens calls and the registry."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys.toml"
    key = add_key(keys, "all", [Role.PROXY, Role.REGISTRAR])
    running = Service(folder / "service", auth__keys=keys).start()
    yield running, key
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


def test_running_out_of_descriptors_is_an_answer_and_not_an_end(serve):
    service = serve(descriptors=330)
    connections = [socket.create_connection(("127.0.0.1", service.port), 10) for _ in range(100)]
    until(lambda: taken(service.port))
    time.sleep(1)
    told = select.select(connections, [], [], 0)[0]
    assert all(each.recv(4096).startswith(b"HTTP/1.1 503 ") for each in told)
    let_in = [each for each in connections if each not in told]
    for each in told:
        each.close()
    assert 60 <= len(let_in) <= 330 - 256
    body = dumps(signing(BANK))
    for each in let_in:
        each.settimeout(10)
        each.sendall(raw(SIGNING, body, f"content-length: {len(body)}"))
        assert each.recv(4096).startswith(b"HTTP/1.1 200 ")
        each.close()
    assert until(lambda: httpx.get(service.base + "/healthz", trust_env=False).status_code == 200)


# What every route answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/docs/swagger-ui.css",
     "/v1/subjects", "/v1/subjects/bank", "/v1/holdings", "/v1/nothing", "/nothing"],
)  # fmt: skip
def test_head_is_answered_as_get_without_content(service, path):
    with Wire(service) as wire:
        wire.send(raw(path, b"", method="HEAD"))
        status, fields, _ = wire.answer(head_only=True)
        assert not wire.readable(0.1)
        wire.send(raw(path, b"", method="GET"))
        expected, told, _ = wire.answer()
        assert status == expected
        if path != "/metrics":
            assert fields == told


def test_health_routes_answer_options(service):
    for path in ("/healthz", "/readyz"):
        with Wire(service) as wire:
            wire.send(raw(path, b"", method="OPTIONS"))
            status, fields, _ = wire.answer()
            assert (status, fields["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", [VERIFICATION, VERIFICATION + "?asgi"])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connection_close_is_obeyed_by_calls_that_wait(service, host, path, cached, version):
    """On the short way, the ASGI way, and from one to the other while a chain is fetched."""
    name = f"{path[-4:]}{version}.pem"
    chain = service.world.pki.carriers["1001"].chain.read_bytes()
    x5u = host.publish(name, chain) if not cached else service.x5u("1001")
    body = dumps(verification(BANK, service.token("1001", BANK, x5u=x5u)))
    closing = raw(path, body, "connection: close", f"content-length: {len(body)}", version=version)
    with Wire(service) as wire:
        wire.send(closing + raw("/v1/subjects", b"", method="GET"))
        status, fields, told = wire.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert b"TN-Validation-Passed" in told
        assert wire.closed(4)


# One connection and the others -------------------------------------------------------------------


def _pump(port, data, seconds, *, reads=True):
    """Send the same again and again, from a process of its own, as one client may."""
    script = (
        "import socket, sys, time\n"
        "data, until = sys.stdin.buffer.read(), time.monotonic() + float(sys.argv[2])\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "s.setblocking(False)\n"
        "at = 0\n"
        "while time.monotonic() < until:\n"
        "    try: at = (at + s.send(memoryview(data)[at:])) % len(data)\n"
        "    except BlockingIOError: time.sleep(0.001)\n"
        "    except OSError: break\n"
        "    try: s.recv(1 << 20) if sys.argv[3] == 'True' else 0\n"
        "    except OSError: pass\n"
    )
    pumping = subprocess.Popen(
        [sys.executable, "-c", script, str(port), str(seconds), str(reads)], stdin=subprocess.PIPE
    )
    pumping.stdin.write(data)
    pumping.stdin.close()
    return pumping


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("credentials", [False, True])
def test_one_connection_that_pipelines_calls_stops_nobody(keyed, credentials, reads):
    service, key = keyed
    shown = (f"x-api-key: {key}",) if credentials else ()
    data = raw(SIGNING, b"1", "content-length: 1", *shown) * 400
    pumping = _pump(service.port, data, 4, reads=reads)
    time.sleep(0.7)
    with Calls(service, key) as calls:
        time.sleep(2.5)
    assert pumping.wait(10) == 0
    assert calls.slowest < 2.5  # it was stopped for as long as somebody sent, 3.3 s here


@pytest.mark.parametrize("path", [SIGNING, VERIFICATION])
def test_who_breaks_off_writes_nothing_into_the_log(keyed, path):
    service, key = keyed
    for shown in ((), (f"x-api-key: {key}",)):
        for length in (100, 60_000, 1_000_000_000):
            with Wire(service) as wire:
                wire.send(raw(path, b"{", f"content-length: {length}", "expect: x", *shown))
                time.sleep(0.05)
    time.sleep(0.3)
    assert "Traceback" not in service.logged()


@pytest.mark.parametrize("path", [SIGNING, VERIFICATION])
def test_a_large_call_of_nobody_is_refused_by_its_head(keyed, path):
    service, _ = keyed
    with Wire(service) as wire:
        wire.send(raw(path, b"", "content-length: 1000000000", "expect: 100-continue"))
        assert wire._socket.recv(12) == b"HTTP/1.1 401"
