"""The redirect service in a process of its own: UDP, TCP, TLS, workers, a real SIPp."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from ports import free_port
from running import Service, environment, tls_files, until
from sips import Reply, invite

from zhenxian.simulation.demo import BANK, prepare

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

PASSED = f"<tel:+{BANK};verstat=TN-Validation-Passed>"
LARGE = "a=" + "x" * 13_000


class Listeners:
    """A service that listens for SIP."""

    def __init__(self, folder, *, prefix="", **more):
        self.originating, self.terminating = free_port(), free_port()
        self.service = Service(
            folder,
            sip__originating=json.dumps([f"{prefix}127.0.0.1:{self.originating}"]),
            sip__terminating=json.dumps([f"{prefix}127.0.0.1:{self.terminating}"]),
            sip__access_header="X-Trunk",
            **more,
        )

    def __enter__(self):
        self.service.start()
        return self

    def __exit__(self, *_):
        self.service.stop()


@pytest.fixture(scope="module")
def listening(tmp_path_factory):
    with Listeners(tmp_path_factory.mktemp("sip")) as made:
        yield made


class Udp:
    """Somebody with a socket."""

    def __init__(self, port):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Many answers come at once, and nobody sends them again.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self._to = ("127.0.0.1", port)
        self.port = self._socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, data):
        self._socket.sendto(data, self._to)

    def reply(self):
        return Reply(self._socket.recv(65_535))

    def ask(self, *lines, **more):
        via = f"SIP/2.0/UDP 127.0.0.1:{self._socket.getsockname()[1]};rport"
        self.send(invite(*lines, **({"via": via} | more)))
        return self.reply()


class Stream:
    """Somebody with a connection."""

    def __init__(self, port, context=None):
        made = socket.create_connection(("127.0.0.1", port), 10)
        self.socket = context.wrap_socket(made, server_hostname="x") if context else made
        self._rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        while b"\r\n\r\n" not in self._rest:
            more = self.socket.recv(65_536)
            assert more, "closed"
            self._rest += more
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return Reply(head + b"\r\n\r\n")

    def ask(self, *lines, **more):
        self.send(invite(*lines, via="SIP/2.0/TCP 127.0.0.1:5060", **more))
        return self.reply()


def _there_and_back(caller, callee, **more):
    signed = caller.ask("X-Trunk: bank-trunk", **more)
    assert signed.code == 302
    return callee.ask(f"Identity: {signed['Identity']}", **more)


@pytest.mark.parametrize("body", ["", LARGE])
def test_udp(listening, body):
    with Udp(listening.originating) as caller, Udp(listening.terminating) as callee:
        assert _there_and_back(caller, callee, body=body)["P-Asserted-Identity"] == PASSED


@pytest.mark.parametrize("body", ["", LARGE])
def test_tcp(listening, body):
    with Stream(listening.originating) as caller, Stream(listening.terminating) as callee:
        assert _there_and_back(caller, callee, body=body)["P-Asserted-Identity"] == PASSED


def test_who_comes_when_too_many_wait_is_told_and_everybody_gets_an_answer(tmp_path):
    many, bound = 120, 5
    with (
        Listeners(tmp_path / "busy", server__max_waiting=bound) as made,
        Udp(made.originating) as caller,
    ):
        assert caller.ask("X-Trunk: bank-trunk")["Identity"]
        os.kill(made.service.pid, signal.SIGSTOP)  # so that all of them wait
        try:
            via = f"SIP/2.0/UDP 127.0.0.1:{caller.port};rport"
            for number in range(many):
                caller.send(invite("X-Trunk: bank-trunk", via=via, call_id=f"{number}@busy"))
        finally:
            os.kill(made.service.pid, signal.SIGCONT)
        answers = {}
        while len(answers) < many:
            reply = caller.reply()
            if reply["Call-ID"].endswith("@busy"):
                answers.setdefault(reply["Call-ID"], reply)
        told = [reply for reply in answers.values() if reply.code == 503]
        signed = [reply for reply in answers.values() if reply.code == 302]
        assert len(told) + len(signed) == many
        assert len(told) >= 20
        assert len(signed) >= bound
        assert all(reply["Retry-After"] == "1" for reply in told)
        assert all(reply["Identity"] for reply in signed)


def test_messages_on_a_connection_need_not_arrive_as_they_were_sent(listening):
    with Stream(listening.originating) as caller:
        first, second = invite("X-Trunk: bank-trunk", body="x" * 50), invite("Subject: other")
        for octet in first[:-60]:
            caller.send(bytes([octet]))
        caller.send(first[-60:] + second + b"\r\n" + second[:100])
        assert caller.reply()["Identity"] is not None
        answer = caller.reply()
        caller.send(second[100:])  # sent again, and answered alike
        assert caller.reply().data == answer.data


def test_a_ping_is_answered(listening):
    with Stream(listening.originating) as caller:
        caller.send(b"\r\n\r\n")
        assert caller.socket.recv(10) == b"\r\n"


def test_without_content_length_a_connection_ends(listening):
    with Stream(listening.originating) as caller:
        caller.send(invite().replace(b"Content-Length: 0\r\n", b""))
        assert caller.reply().code in (302, 400)
        assert caller.socket.recv(10) == b""


def test_too_much_ends_a_connection(listening):
    with Stream(listening.originating) as caller:
        with contextlib.suppress(ConnectionError):
            caller.send(b"INVITE sip:a SIP/2.0\r\nX: " + b"x" * 200_000)
        assert _ends(caller)
    with Udp(listening.originating) as other:
        assert other.ask().code == 302


def _ends(stream):
    """Whether the service closes a connection and says nothing more."""
    try:
        return stream.socket.recv(1) == b""
    except ConnectionError:
        return True


def test_what_is_sent_again_over_udp_is_answered_alike(listening):
    with Udp(listening.originating) as caller:
        request = invite("X-Trunk: bank-trunk", via="SIP/2.0/UDP 127.0.0.1:9;rport")
        caller.send(request)
        first = caller.reply()
        caller.send(request)
        assert caller.reply().data == first.data


def test_rubbish_is_survived(listening):
    with Udp(listening.originating) as caller:
        for data in (b"", b"\0" * 1000, b"\r\n\r\n", b"INVITE", bytes(range(256)) * 100):
            caller.send(data)
        assert caller.ask().code == 302


def test_options(listening):
    with Udp(listening.terminating) as caller:
        assert caller.ask(method="OPTIONS").code == 200


def test_the_metrics_count_calls_however_they_come(listening):
    with Udp(listening.originating) as caller:
        caller.ask("X-Trunk: bank-trunk")
    with listening.service.client() as client:
        text = client.get("/metrics").text
    assert 'zhenxian_signings_total{attest="A",reason="HELD_AND_VERIFIED"}' in text
    assert 'zhenxian_sip_responses_total{code="302",method="INVITE"}' in text


@contextlib.contextmanager
def _tls(folder, **more):
    with Listeners(
        folder,
        prefix="tls:",
        alter=lambda world: tls_files(world.config.parent),
        tls=True,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        **more,
    ) as listening:
        context = ssl.create_default_context(cafile=folder / "tls-ca.pem")
        context.check_hostname = False
        yield listening, context


def test_tls(tmp_path):
    with _tls(tmp_path) as (listening, context):
        with Stream(listening.originating, context) as caller:
            assert caller.ask("X-Trunk: bank-trunk", body=LARGE)["Identity"] is not None
        with Stream(listening.originating) as plain:
            plain.send(invite())
            assert _ends(plain)


def test_handshakes_that_never_end_are_bounded_in_time_and_number(tmp_path):
    with _tls(tmp_path, server__max_strangers_per_address=4) as (listening, context):
        silent = [Stream(listening.originating) for _ in range(12)]
        until(lambda: len(_open(silent)) <= 4)
        assert _open(silent)  # they were closed for their number, not for their time
        with Stream(listening.originating, context) as caller:  # who is longest at it makes place
            assert caller.ask("X-Trunk: bank-trunk")["Identity"] is not None
            until(lambda: not _open(silent))  # ten seconds each
            assert caller.ask("X-Trunk: bank-trunk").code == 302
        for each in silent:
            each.socket.close()


def test_strangers_get_no_handshake(tmp_path):
    with (
        _tls(tmp_path, sip__allow='["192.0.2.0/24"]') as (listening, _),
        Stream(listening.originating) as stranger,
    ):
        assert _ends(stranger)


def test_a_stop_waits_for_no_handshake(tmp_path):
    with (
        _tls(tmp_path, server__shutdown_seconds=300) as (listening, context),
        Stream(listening.originating),
    ):
        with Stream(listening.originating, context) as caller:
            assert caller.ask().code == 302
        listening.service.terminate()
        assert listening.service.wait() == 0


def _open(streams):
    """Those that the service has not closed."""

    def closed(one):
        try:
            return select.select([one.socket], [], [], 0)[0] and not one.socket.recv(1)
        except OSError:
            return True

    return [one for one in streams if not closed(one)]


def test_workers_each_have_what_comes_from_one_address(tmp_path):
    with Listeners(tmp_path, server__workers=2) as listening:
        until(lambda: _answers(listening.originating))
        for _ in range(12):
            with Udp(listening.originating) as caller, Udp(listening.terminating) as callee:
                request = invite("X-Trunk: bank-trunk", via="SIP/2.0/UDP 127.0.0.1:9;rport")
                caller.send(request)
                first = caller.reply()
                caller.send(request)
                assert caller.reply().data == first.data
                identity = f"Identity: {first['Identity']}"
                assert callee.ask(identity)["P-Asserted-Identity"] == PASSED
        with Stream(listening.originating) as caller:
            assert caller.ask().code == 302


def _answers(port):
    with Udp(port) as caller:
        caller._socket.settimeout(0.5)
        try:
            return caller.ask(method="OPTIONS").code == 200
        except TimeoutError:
            return False


@pytest.mark.parametrize(
    ("listener", "more", "told"),
    [
        ("0.0.0.0:{port}", {}, "sip.allow"),
        ("tls:127.0.0.1:{port}", {}, "server.tls_cert"),
        ("nobody:{port}", {}, "IP address"),
        ("udp:127.0.0.1:99999", {}, "expected"),
        ("udp:192.0.2.77:{port}", {"sip__allow": '["192.0.2.0/24"]'}, "cannot listen"),
    ],
)
def test_what_it_does_not_start_with(tmp_path, listener, more, told):
    listeners = json.dumps([listener.format(port=free_port())])
    service = Service(tmp_path, sip__originating=listeners, **more)
    process = service.launch()
    assert process.wait(60) != 0
    assert told in service.logged()


def test_beyond_loopback_with_a_list_of_who_may_ask(tmp_path):
    port = free_port()
    service = Service(
        tmp_path,
        sip__originating=json.dumps([f"udp:0.0.0.0:{port}"]),
        sip__allow='["192.0.2.7"]',
    )
    try:
        service.start()
        with Udp(port) as caller:
            assert caller.ask().code == 403
    finally:
        service.stop()


def test_the_option_of_the_command(tmp_path):
    world = prepare(tmp_path, f"127.0.0.1:{free_port()}", int(time.time()))
    ports = free_port(), free_port()
    command = ["-m", "zhenxian", "serve", "-c", str(world.config)]
    for role, port in zip(("originating", "terminating"), ports, strict=True):
        command += ["--sip", f"{role}=127.0.0.1:{port}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=log,
            env=environment(),
        )
        try:
            for port in ports:
                until(lambda port=port: _answers(port), 60)
            # The shortest way of the page signs by the field that the files of deploy/ name.
            with Udp(ports[0]) as caller:
                identity = caller.ask("X-Access: bank-trunk")["Identity"]
            _, claims, _ = identity.partition(";")[0].split(".")
            assert json.loads(urlsafe_b64decode(claims + "=="))["attest"] == "A"
        finally:
            process.terminate()
            assert process.wait(30) == 0


SCENARIO = Path(__file__).parent / "sipp_redirect.xml"


def test_sipp_gets_its_identity_at_a_steady_rate(listening, tmp_path):
    ended = subprocess.run(
        ["sipp", f"127.0.0.1:{listening.originating}", "-sf", SCENARIO, "-s", "+8613800138000",
         "-i", "127.0.0.1", "-m", "300", "-r", "50", "-l", "300", "-nostdin", "-timeout", "120",
         "-trace_err", "-error_file", tmp_path / "errors"],
        check=False, cwd=tmp_path, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    errors = tmp_path / "errors"
    told = errors.read_text() if errors.exists() else ""
    assert ended.returncode == 0, told + ended.stdout[-2000:]
