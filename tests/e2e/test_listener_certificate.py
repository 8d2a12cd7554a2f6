"""The listeners' certificate replaced under load, over HTTP and SIP alike, by whatever comes."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
import time

import pytest
from ports import free_port
from running import Service, replace, tls_files, until
from sips import Reply, invite

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


class Callers:
    """Who connects again and again, by HTTP and by SIP, and asks once each time."""

    def __init__(self, ports, trust):
        self._ports, self._trust = ports, trust
        self.seen = set()  # which certificates were shown, by way
        self.asked = 0
        self.failed = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(way,)) for way in ports]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, way):
        while not self._over.is_set():
            try:
                self.seen.add((way, self._ask(way)))
                self.asked += 1
            except OSError as error:
                self.failed.append((way, error))

    def _ask(self, way):
        """The certificate that was shown."""
        made = socket.create_connection(("127.0.0.1", self._ports[way]), 20)
        with self._trust.wrap_socket(made, server_hostname="127.0.0.1") as wire:
            if way == "sip":
                wire.sendall(invite(method="OPTIONS", via="SIP/2.0/TLS 127.0.0.1:5060"))
            else:
                wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            octets = b""
            while b"\r\n\r\n" not in octets:
                octets += wire.recv(4096) or b"closed\r\n\r\n"
            code = Reply(octets).code if way == "sip" else int(octets.split()[1])
            if code not in (200, 503):  # OPTIONS tells whether the service is ready
                raise OSError(f"{code}")
            return wire.getpeercert(binary_form=True)


def test_a_pair_that_is_no_pair_is_not_taken_and_disturbs_nobody(tmp_path):
    tls_files(tmp_path)
    chain, key = tmp_path / "server.pem", tmp_path / "server.key"
    sip = free_port()
    service = Service(
        tmp_path,
        tls=True,
        server__tls_cert=chain,
        server__tls_key=key,
        sip__originating=json.dumps([f"tls:127.0.0.1:{sip}"]),
    )
    service.start()
    trust = ssl.create_default_context(cafile=tmp_path / "tls-ca.pem")
    first = (chain.read_bytes(), key.read_bytes())
    second = ((tmp_path / "client.pem").read_bytes(), (tmp_path / "client.key").read_bytes())

    def problems(client):
        return [text for text in client.get("/readyz").json()["problems"] if "read before" in text]

    def pipe(path):
        path.unlink()
        os.mkfifo(path, 0o600)

    bad = {
        "another's key": lambda: replace(chain, second[0]),
        "half a certificate": lambda: replace(chain, first[0][: len(first[0]) // 2]),
        "half a key": lambda: replace(key, first[1][: len(first[1]) // 2]),
        "nothing": lambda: replace(key, b""),
        "a key for everybody": lambda: replace(key, first[1], 0o644),
        "a pipe": lambda: pipe(key),
        "no file": key.unlink,
    }
    ways = {"http": service.port, "sip": sip}
    try:
        with Callers(ways, trust) as callers, service.client(verify=trust) as client:
            until(lambda: len(callers.seen) == 2)
            for name, spoil in bad.items():
                spoil()
                time.sleep(0.05)
                os.kill(service.pid, signal.SIGHUP)  # which has it look at once
                until(lambda: problems(client), 20)
                if key.is_fifo():
                    key.unlink()
                replace(chain, first[0])
                replace(key, first[1])
                os.kill(service.pid, signal.SIGHUP)
                until(lambda: not problems(client), 20)
                assert len(callers.seen) == 2, name
            before = callers.asked
            replace(chain, second[0])
            replace(key, second[1])
            until(lambda: len(callers.seen) == 4, 20)
            time.sleep(0.2)
            assert callers.asked > before
    finally:
        service.stop()
    assert callers.failed == []
    assert "Traceback" not in service.logged()
