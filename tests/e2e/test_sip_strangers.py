"""Those who hold SIP connections, on a machine with few descriptors: everybody else is served."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from pathlib import Path

import pytest
from ports import free_port
from running import Service, signed, tls_files, until
from sips import Reply, invite

from zhenxian.simulation.demo import BANK

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

DESCRIPTORS = 300
MANY = 450


def _whole():
    return invite("X-Trunk: bank-trunk", via="SIP/2.0/TCP 127.0.0.1:5060")


HALVES = (
    _whole()[:200],
    _whole().replace(b"Content-Length: 0", b"Content-Length: 9000"),  # of which nothing follows
    b"",
)


def _opened(port, context):
    made = socket.create_connection(("127.0.0.1", port), 10)
    return context.wrap_socket(made, server_hostname="x") if context else made


def _asked(port, context):
    """The code of an answer to an INVITE."""
    with _opened(port, context) as caller:
        caller.sendall(_whole())
        octets = b""
        while b"\r\n\r\n" not in octets:
            more = caller.recv(65_536)
            if not more:
                return None
            octets += more
    return Reply(octets).code


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_who_holds_half_messages_takes_nobodys_descriptors(tmp_path, transport):
    """With as few as a process may have: calls over HTTP, the registry and other proxies go on."""
    secure = transport == "tls"
    tls_files(tmp_path)
    port = free_port()
    settings = (
        {"server__tls_cert": tmp_path / "server.pem", "server__tls_key": tmp_path / "server.key"}
        if secure
        else {}
    )
    service = Service(
        tmp_path,
        tls=secure,
        descriptors=DESCRIPTORS,
        sip__originating=json.dumps([f"{'tls:' if secure else ''}127.0.0.1:{port}"]),
        sip__access_header="X-Trunk",
        **settings,
    )
    trust = ssl.create_default_context(cafile=tmp_path / "tls-ca.pem")
    trust.check_hostname = False
    context = trust if secure else None
    held = []
    service.start()
    try:
        with service.client(verify=trust) as client:
            assert _asked(port, context) == 302
            if secure:  # handshakes that nobody goes on with keep nobody out either
                for number in range(MANY):
                    one = socket.create_connection(("127.0.0.1", port), 10)
                    held.append(one)
                    one.sendall(b"\x16\x03\x01\x02"[: number % 5])
                assert _asked(port, context) == 302
                while held:
                    held.pop().close()
            for number in range(MANY):
                with contextlib.suppress(OSError):
                    one = _opened(port, context)
                    held.append(one)
                    one.sendall(HALVES[number % len(HALVES)])
            assert _asked(port, context) == 302
            found = Path(f"/proc/{service.pid}/fd")
            until(lambda: len(list(found.iterdir())) < DESCRIPTORS - 100)
        with service.client(verify=trust) as client:  # a new connection
            assert signed(client, BANK)["attest"] == "A"
            assert client.get("/readyz").status_code == 200
            why = {"reason": "a"}
            assert client.put("/v1/subjects/x", json={"name": "x"}, params=why).status_code == 200
    finally:
        for one in held:
            one.close()
        service.stop()
    assert "Traceback" not in service.logged()
    assert "Too many open files" not in service.logged()
