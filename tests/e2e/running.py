"""The real service in a process of its own, and what callers do to it."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import forks
import httpx
from cryptography import x509
from described import check_response
from ports import free_port

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.api.published.certificates import PATH, Publisher
from zhenxian.certs import ca
from zhenxian.certs.ca import Authority
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import SigningKey, Token, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.simulation.demo import BANK_ORIGID, CALLEE, World, prepare

_ZHENXIAN = [sys.executable, "-m", "zhenxian"]
START_SECONDS = 60
STOP_SECONDS = 15
ELSEWHERE_ORIGID = "e0000000-0000-4000-8000-0000000000ee"


def environment(**settings: object) -> dict[str, str]:
    """This environment without settings of ours, but those given as table__key=value."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZHENXIAN_")}
    return kept | {f"ZHENXIAN_{name.upper()}": str(value) for name, value in settings.items()}


class Service:
    """`zhenxian serve` on a folder that the demonstration prepared.

    `start` forks it from a process that has imported it (forks.py), unless `own_process` is given
    or it is started in a special way; `launch` starts it as an operator does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        alter: Callable[[World], object] | None = None,
        tls: bool = False,
        descriptors: int | None = None,
        own_process: bool = False,
        **settings: object,
    ) -> None:
        self._descriptors = descriptors
        self._own_process = own_process
        self.launched_by = _ZHENXIAN
        self.folder = folder
        self.port = free_port()
        self.listener = f"127.0.0.1:{self.port}"
        self.base = f"{'https' if tls else 'http'}://{self.listener}"
        self.world = prepare(folder, self.listener, int(time.time()))
        if alter is not None:
            alter(self.world)
        self.settings = settings
        self.log = folder / "service.log"
        self._process: subprocess.Popen[bytes] | forks.Forked | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it as an operator does, and do not wait until it answers."""
        limits = [] if self._descriptors is None else ["prlimit", f"--nofile={self._descriptors}"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*limits, *self.launched_by, "serve", "-c", str(self.world.config)],
                stdout=output,
                stderr=output,
                env=environment(**self.settings),
            )
        return self._process

    def _fork(self) -> forks.Forked:
        words = ["serve", "-c", str(self.world.config)]
        with self.log.open("ab") as output:
            self._process = forks.fork(words, environment(**self.settings), output, output)
        return self._process

    def _may_fork(self) -> bool:
        """Whether nobody can tell: workers are processes of their own, and import by themselves."""
        plain = self.launched_by == _ZHENXIAN and self._descriptors is None
        return plain and not self._own_process and self.settings.get("server__workers", 1) == 1

    def start(self) -> Service:
        """Start it, and wait until it answers; until it listens, if it speaks TLS."""
        process = self._fork() if self._may_fork() else self.launch()
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.base.startswith("https"):
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return self
                asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                with contextlib.closing(asked):
                    asked.request("GET", "/healthz")
                    if asked.getresponse().status == 200:
                        return self
            assert process.poll() is None, self.logged()
            assert time.monotonic() < deadline, self.logged()
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        if self._process is None:
            return 0
        self.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Process ids of the worker processes."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def client(self, **options: Any) -> httpx.Client:
        """A client whose JSON answers are held to the OpenAPI document."""
        return httpx.Client(
            **{"base_url": self.base, "timeout": 20, "trust_env": False} | options,
            event_hooks={"response": [check_response]},
        )

    def x5u(self, spc: str) -> str:
        return self.base + PATH + Publisher.name(self.world.pki.carriers[spc].chain.read_bytes())

    def token(
        self,
        spc: str,
        orig: str,
        *,
        x5u: str | None = None,
        iat: int | None = None,
        origid: str = ELSEWHERE_ORIGID,
        dest: str = CALLEE,
        key: bytes | None = None,
    ) -> str:
        """An Identity header that a carrier or key signed, whatever the registry says."""
        x5u = x5u or self.x5u(spc)
        passport = PASSporT(
            Header(x5u, "shaken"),
            TN(orig),
            Destination((TN(dest),)),
            int(time.time()) if iat is None else iat,
            Shaken(Attestation.A, origid),
        )
        header = b64url_encode(passport.header.dumps())
        payload = b64url_encode(passport.payload())
        signer = SigningKey.from_pem(key or self.world.pki.carriers[spc].key.read_bytes())
        signature = b64url_encode(signer.sign(header + b"." + payload))
        return IdentityHeader(Token(header, payload, signature), x5u, "ES256", "shaken").dumps()


def signing(orig: str, **more: Any) -> dict[str, Any]:
    """A body for the signing route."""
    members = {
        "attest": "A",
        "orig": {"tn": orig},
        "dest": {"tn": [CALLEE]},
        "iat": int(time.time()),
        "origid": BANK_ORIGID,
    }
    return {"signingRequest": members | more}


def verification(orig: str, identity: str | None = None, **more: Any) -> dict[str, Any]:
    """A body for the verification route."""
    members: dict[str, Any] = {
        "from": {"tn": orig},
        "to": {"tn": [CALLEE]},
        "time": int(time.time()),
    }
    if identity is not None:
        members["identity"] = identity
    return {"verificationRequest": members | more}


def verdict(client: httpx.Client, orig: str, identity: str | None, **more: Any) -> dict[str, Any]:
    answer = client.post(VERIFICATION, json=verification(orig, identity, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()["verificationResponse"]


def signed(client: httpx.Client, orig: str, **more: Any) -> dict[str, Any]:
    answer = client.post(SIGNING, json=signing(orig, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()["signingResponse"]


def until(true: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Wait until something holds; its value. The time is for a machine that others use, too."""
    deadline = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def raw(path: str, body: bytes, *fields: str, method: str = "POST", version: str = "1.1") -> bytes:
    """A request as it goes over the wire, with exactly these fields and Host."""
    head = [f"{method} {path} HTTP/{version}", "host: 127.0.0.1", *fields]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def taken(port: int) -> bool:
    """True when whoever listens on a port has taken all who came, and read all that they sent."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = [row for row in rows if row[1].endswith(f":{port:04X}")]
    there = [row for row in rows if row[2].endswith(f":{port:04X}")]
    unread = [row[4].partition(":")[2] for row in here]
    unsent = [row[4].partition(":")[0] for row in there]
    return not any(int(octets, 16) for octets in unread + unsent)


def alive(pid: int) -> bool:
    """Whether a process runs: one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def sockets(port: int, state: str) -> set[str]:
    """Inodes of TCP sockets on a local port: listening (0A) or connected (01)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == state}


class Wire:
    """One connection, octet by octet."""

    def __init__(self, service: Service, port: int | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port or service.port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def readable(self, seconds: float) -> bool:
        return bool(self._rest) or bool(select.select([self._socket], [], [], seconds)[0])

    def closed(self, seconds: float = 8.0) -> bool:
        """True when the service closes the connection and sends nothing more."""
        if not self.readable(seconds):
            return False
        try:
            return self._rest == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of the next answer; 100 Continue is passed over."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status == 100:
            return self.answer(head_only=head_only)
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in fields, f"{name} given twice"
            fields[name.lower()] = value.strip()
        length = 0 if head_only or status in (204, 304) else int(fields["content-length"])
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return status, fields, body

    def _more(self) -> None:
        data = self._socket.recv(65_536)
        assert data, f"closed after {self._rest!r}"
        self._rest += data


class OwnPki:
    """Certificates of the demonstration's carriers, issued by a CA that is still there."""

    def __init__(self, world: World) -> None:
        now = int(time.time())
        begin, self._end = now - 3600, now + 30 * ca.DAY
        self._begin = begin
        self._pki = world.pki
        self._administrator = Authority.create_root(
            "STI-PA CRL", not_before=begin, not_after=self._end
        )
        self._root = Authority.create_root(
            not_before=begin,
            not_after=self._end,
            crl_issuer=self._administrator.certificate.subject,
        )
        self._intermediate = self._root.create_intermediate(not_before=begin, not_after=self._end)
        world.pki.root.write_bytes(ca.pem(self._root.certificate))
        world.pki.crl_issuers.write_bytes(ca.pem(self._administrator.certificate))
        self.leaves = {}
        for spc, files in world.pki.carriers.items():
            key, leaf, chain = self.issue(spc)
            files.key.write_bytes(key)
            files.chain.write_bytes(chain)
            self.leaves[spc] = leaf
            Publisher(world.published).publish(chain)
        (world.pki.crl_folder / "sti-pa.crl").write_bytes(self.crl(begin))

    def issue(self, spc: str) -> tuple[bytes, x509.Certificate, bytes]:
        """Key, certificate, chain."""
        key = ca.new_key()
        leaf = self._intermediate.issue_shaken(
            spc, key.public_key(), not_before=self._begin, not_after=self._end
        )
        return ca.key_pem(key), leaf, ca.pem(*self._intermediate.chain(leaf))

    def crl(self, this_update: int, *revoked: x509.Certificate) -> bytes:
        return self._administrator.issue_crl(
            revoked, this_update=this_update, next_update=self._end, indirect=True
        )

    def revoke(self, spc: str) -> None:
        """Drop a newer list into the folder, as an operator does."""
        folder = self._pki.crl_folder
        fresh = folder.parent / "fresh"
        fresh.write_bytes(self.crl(int(time.time()), self.leaves[spc]))
        fresh.replace(folder / "newer.crl")


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file at once, as a deployment tool does."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(path)


class Host:
    """A certificate host on loopback: slow, failing or away as a test wishes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.delay = 0.0
        self.caching = "max-age=3600"
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                time.sleep(host.delay)
                body = host.files.get(urllib.parse.urlsplit(self.path).path)
                self.send_response(200 if body is not None else 404)
                self.send_header("content-length", str(len(body or b"")))
                self.send_header("cache-control", host.caching)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def publish(self, name: str, body: bytes) -> str:
        self.files[f"/{name}"] = body
        return f"{self.base}/{name}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    total = 0.0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        bare, _, rest = series.partition("{")
        if bare == name and all(f'{key}="{val}"' in rest for key, val in labels.items()):
            total += float(value)
    return total


def dumps(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def tls_files(folder: Path, late: Sequence[str] = ()) -> None:
    """A server's and a client's certificate, and the CA of both.

    Args:
        late: of "expired" and "not-yet": certificates of that CA which are out of their dates.
    """
    now = int(time.time())
    root = ca.Authority.create_root("TLS root", not_before=now - 60, not_after=now + ca.DAY)
    (folder / "tls-ca.pem").write_bytes(ca.pem(root.certificate))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    dates = {"expired": (now - 50, now - 1), "not-yet": (now + 3600, now + ca.DAY)}
    for who in ("server", "client", "registrar", "stranger", *late):
        key = ca.new_key()
        begin, end = dates.get(who, (now - 60, now + ca.DAY))
        certificate = root.issue(
            ca.name(who),
            None,
            key.public_key(),
            not_before=begin,
            not_after=end,
            change=lambda builder: builder.add_extension(names, critical=False),
        )
        (folder / f"{who}.pem").write_bytes(ca.pem(certificate))
        path = folder / f"{who}.key"
        path.write_bytes(ca.key_pem(key))
        path.chmod(0o600)


def tls_context(service: Service, who: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=service.folder / "tls-ca.pem")
    context.load_cert_chain(service.folder / f"{who}.pem", service.folder / f"{who}.key")
    return context
