"""TLS and client certificates on the wire, while somebody does not play by the rules."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from running import Service, dumps, raw, signing, tls_context, tls_files, until

from zhenxian.api.auth import Role, add_certificate
from zhenxian.api.calls.messages import SIGNING
from zhenxian.certs import ca
from zhenxian.simulation.demo import BANK

OPENSSL = shutil.which("openssl") or "/usr/bin/openssl"


def _others(folder: Path) -> None:
    """Client certificates that must not open anything."""
    now = int(time.time())
    ours = ca.Authority.create_root("other", not_before=now - 60, not_after=now + ca.DAY)
    _issued(folder, "wrong-ca", ours, now - 60, now + ca.DAY)
    root = ca.Authority.create_root("TLS root", not_before=now - 60, not_after=now + ca.DAY)
    _issued(folder, "false-name", root, now - 60, now + ca.DAY)  # a CA that calls itself ours


def _issued(folder, who, root, begin, end):
    key = ca.new_key()
    made = root.issue(ca.name(who), None, key.public_key(), not_before=begin, not_after=end)
    (folder / f"{who}.pem").write_bytes(ca.pem(made))
    path = folder / f"{who}.key"
    path.write_bytes(ca.key_pem(key))
    path.chmod(0o600)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory):
    """One running service that asks for client certificates."""
    folder = tmp_path_factory.mktemp("mutual")
    keys = folder / "keys.toml"

    def alter(world):
        tls_files(world.config.parent, late=("expired", "not-yet"))
        _others(world.config.parent)
        whole = (world.config.parent / "client.pem").read_bytes()
        add_certificate(keys, "sbc", [Role.PROXY], certificate=whole)

    service = Service(
        folder / "service",
        alter=alter,
        tls=True,
        auth__keys=keys,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        server__tls_client_ca="tls-ca.pem",
        server__max_strangers_per_address=8,
    ).start()
    until(lambda: _calls(service))
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.logged()


def _calls(service, context=None):
    """Whether a known client's call is signed."""
    context = context or tls_context(service, "client")
    with (
        contextlib.suppress(httpx.TransportError),
        httpx.Client(base_url=service.base, verify=context, trust_env=False, timeout=20) as client,
    ):
        return client.post(SIGNING, json=signing(BANK)).status_code == 200
    return False


def _descriptors(service):
    return len(list(Path(f"/proc/{service.pid}/fd").iterdir()))


def _wire(service, context, **how):
    plain = socket.create_connection(("127.0.0.1", service.port), 10)
    return context.wrap_socket(plain, server_hostname="127.0.0.1", **how)


@pytest.mark.parametrize("who", ["wrong-ca", "false-name", "expired", "not-yet", None])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bad_client_certificates_open_nothing_and_disturb_nobody(mutual, who, version):
    context = (
        tls_context(mutual, who)
        if who is not None
        else ssl.create_default_context(cafile=mutual.folder / "tls-ca.pem")
    )
    context.minimum_version = context.maximum_version = version
    before = _descriptors(mutual)
    for _ in range(20):
        assert not _calls(mutual, context)
    assert _calls(mutual)
    until(lambda: _descriptors(mutual) <= before + 8)


def _command(service, *arguments):
    """`openssl s_client` as a known client."""
    folder = service.folder
    return subprocess.Popen(
        [OPENSSL, "s_client", "-connect", f"127.0.0.1:{service.port}", "-CAfile",
         folder / "tls-ca.pem", "-cert", folder / "client.pem", "-key", folder / "client.key",
         *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _feed(process, line, seconds):
    """Lines as fast as they are taken; how many."""
    os.set_blocking(process.stdin.fileno(), False)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if select.select([], [process.stdin], [], 0.05)[1]:
            try:
                count += os.write(process.stdin.fileno(), line * 20) // len(line)
            except (BlockingIOError, BrokenPipeError):
                time.sleep(0.01)
    return count


def test_renegotiation_is_refused(mutual):
    """TLS 1.2: the client asks for a new handshake on a connection that stands."""
    process = _command(mutual, "-tls1_2")
    try:
        until(lambda: process.poll() is not None or _feed(process, b"R\n", 0.2))
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert b"RENEGOTIATING" in out
    assert b"no renegotiation" in out or b"alert" in out
    assert _calls(mutual)


def test_new_keys_asked_for_without_end_hold_nobody_up(mutual):
    """TLS 1.3: each KeyUpdate wants keys derived and, as "K" asks, one in answer."""
    idle = min(_took(mutual) for _ in range(3))
    flood = [_command(mutual, "-tls1_3") for _ in range(3)]
    try:
        took = []
        for _ in range(4):
            for each in flood:
                _feed(each, b"K\n", 0.1)
            took.append(_took(mutual))
        assert min(took) < max(1.0, 50 * idle)
    finally:
        for each in flood:
            each.kill()
            each.communicate()
    assert _calls(mutual)


def _took(service):
    began = time.monotonic()
    assert _calls(service)
    return time.monotonic() - began


def test_slow_and_silent_handshakes_keep_no_client_out(mutual):
    """Beyond the bound of an address the oldest silent one gives way to who comes."""
    silent = []
    for number in range(24):
        one = socket.create_connection(("127.0.0.1", mutual.port), 10)
        one.sendall(b"\x16\x03\x01\x02\x00\x01"[: number % 7])  # some octets of a hello
        silent.append(one)
    try:
        assert _calls(mutual)
        pairs = [_wire(mutual, tls_context(mutual, "client")) for _ in range(4)]
        assert _calls(mutual)
        for pair in pairs:
            pair.close()
    finally:
        for one in silent:
            one.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_half_closed_connections_are_closed(mutual, version):
    """The sending half is closed after a request, or in the middle of one; nothing stays."""
    context = tls_context(mutual, "client")
    context.minimum_version = context.maximum_version = version
    body = dumps(signing(BANK))
    call = raw(SIGNING, body, f"content-length: {len(body)}")
    before = _descriptors(mutual)
    ends = []
    for number in range(30):
        one = _wire(mutual, context)
        one.sendall((call, call[: len(call) // 2], call + call[:40])[number % 3])
        one.shutdown(socket.SHUT_WR)
        ends.append(one)
    assert _calls(mutual)
    until(lambda: _descriptors(mutual) <= before + 4)
    for one in ends:
        one.close()


def test_a_client_that_leaves_during_its_handshake_leaves_nothing(mutual):
    before = _descriptors(mutual)
    for number in range(60):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls_context(mutual, "client")
        hand = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with contextlib.suppress(ssl.SSLWantReadError):
            hand.do_handshake()
        with socket.create_connection(("127.0.0.1", mutual.port), 10) as one:
            one.sendall(outgoing.read()[: 50 + number * 10])
            if number % 2:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: _descriptors(mutual) <= before + 4)
    assert _calls(mutual)
