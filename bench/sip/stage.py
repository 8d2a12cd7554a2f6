"""Everything around a call: a signing and a verifying service, certificates over TLS, two proxies,
a hostile middle, a caller and a callee, each on an address of its own on the loopback network.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import itertools
import json
import os
import shutil
import signal
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from cryptography import x509

from bench.machine import BenchError, Service, answers, free_port, listens, send
from bench.sip.middle import MIDDLE_PORT, Middle, Stranger
from bench.sip.phones import PORT, Call, Callee, Caller, Load, LoadResult, answering
from bench.sip.proxies import DEPLOY, Kamailio, OpenSips, Proxy
from zhenxian.api.published.certificates import MEDIA_TYPE, PATH, Publisher
from zhenxian.certs import ca
from zhenxian.passport.jws import SigningKey
from zhenxian.simulation.demo import BANK_ORIGID, World, prepare, token_of

HOST: Final = "127.0.0.1"
_MINUTE: Final = 60


class Addresses(NamedTuple):
    """Where the parts of one line are: of 127.0.0.0/8, and nobody else's in this run or another."""

    originating: str
    terminating: str
    caller: str
    callee: str
    stranger: str


_lines: Final = itertools.cycle(range(0, 250, 5))


def _addresses() -> Addresses:
    number, first = os.getpid(), next(_lines)
    net = f"127.{100 + number // 256 % 128}.{number % 256}"
    return Addresses(*(f"{net}.{first + host}" for host in range(1, 6)))


class CertificateHost:
    """An https server for the chains of a folder, as an STI-CR is one.

    Attributes:
        asked: the paths that were asked for.
        down: True answers nothing any more.
    """

    def __init__(self, folder: Path, chains: Path) -> None:
        self.asked: list[str] = []
        self.ca_file = folder / "tls-ca.pem"
        now = int(time.time())
        root = ca.Authority.create_root(
            "TLS root", not_before=now - _MINUTE, not_after=now + ca.DAY
        )
        self.ca_file.write_bytes(ca.pem(root.certificate))
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        key = ca.new_key()
        certificate = root.issue(
            ca.name("certificates"), None, key.public_key(), not_before=now - _MINUTE,
            not_after=now + ca.DAY,
            change=lambda builder: builder.add_extension(names, critical=False),
        )  # fmt: skip
        pair = folder / "tls.pem"
        pair.write_bytes(ca.key_pem(key) + ca.pem(certificate))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair)
        self._chains = chains
        self._server: http.server.ThreadingHTTPServer | None = None
        self.port = free_port()
        self.base = f"https://{HOST}:{self.port}"

    def start(self) -> None:
        """Serve, again on the same port where it had been stopped."""
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                name = Path(urllib.parse.urlsplit(self.path).path).name
                file = host._chains / name
                body = file.read_bytes() if file.is_file() else None
                self.send_response(200 if body is not None else 404)
                self.send_header("content-type", MEDIA_TYPE)
                self.send_header("content-length", str(len(body or b"")))
                self.send_header("cache-control", "max-age=3600")
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer((HOST, self.port), Handler)
        server.daemon_threads = True
        server.socket = self._context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._server = server

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Node:
    """`zhenxian serve` on a folder that the demonstration prepared, by HTTP and by SIP.

    Attributes:
        base: address of its routes.
        redirect: address and port of its redirect service.
    """

    def __init__(self, folder: Path, name: str, way: str, settings: Mapping[str, object]) -> None:
        self.folder = folder / name
        self.port = free_port()
        self.base = f"http://{HOST}:{self.port}"
        self._name = name
        self.redirect = f"{HOST}:{free_port()}"
        own = {"sip__access_header": "X-Access"}
        self._settings = own | {f"sip__{way}": [self.redirect]} | dict(settings)
        self.world: World = prepare(self.folder, f"{HOST}:{self.port}", int(time.time()))
        self._started = 0
        self.service: Service | None = None

    def start(self, core: int | None = None) -> None:
        """Start it, again where it had been stopped; on one core, or on any."""
        command = [sys.executable, "-m", "zhenxian", "serve", "-c", str(self.world.config)]
        environment = {
            f"ZHENXIAN_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self._settings.items()
        }
        self.service = Service(
            self._name, self.port, core=core, command=command, environment=environment
        )
        self._started += 1
        log = self.folder / f"service{self._started}.log"
        tls = "server__tls_cert" in self._settings
        ready = partial(listens, self.port) if tls else partial(answers, self.port, "/readyz", 200)
        self.service.start(log, ready)

    def stop(self) -> None:
        """End it as an operator does."""
        if self.service is not None:
            self.service.stop()

    def logged(self) -> str:
        """The log of every start."""
        return "".join(
            file.read_text("utf-8", "replace") for file in sorted(self.folder.glob("service*.log"))
        )

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Stopped by SIGSTOP, as a machine is that is out of breath."""
        if self.service is None:
            raise BenchError(f"{self._name} does not run")
        os.kill(self.service.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.service.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Stopped, and started again."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request over REST; the decoded answer."""
        data = b"" if body is None else json.dumps(body).encode()
        _, answer = send(self.port, method, path, data, "application/json")
        return json.loads(answer)


class Stage:
    """Two services, their certificate host, and what stands between a caller and a callee.

    Attributes:
        signing, verifying: the services (STI-AS, STI-VS).
        certificates: the host that x5u of every token leads to.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        chains = folder / "signing" / "state" / "published"
        folder.mkdir(parents=True, exist_ok=True)
        self.certificates = CertificateHost(folder, chains)
        common: dict[str, object] = {
            "signer__publish_base": self.certificates.base,
            "fetch__ca_file": str(self.certificates.ca_file),
            "fetch__failure_seconds": 1,
            # Ours, so that 95001@a.example is a hotline and no extension.
            "numbers__hosts": ["a.example", "b.example"],
            **settings,
        }
        self.signing = Node(folder, "signing", "originating", common)
        shutil.copytree(folder / "signing" / "pki", folder / "verifying" / "pki")
        self.verifying = Node(folder, "verifying", "terminating", common)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for part in (self.certificates, self.signing, self.verifying):
                stack.callback(part.stop)
                part.start()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.signing.stop()
        self.verifying.stop()
        self.certificates.stop()

    def token(self, spc: str, orig: str, **more: Any) -> str:
        """An Identity header of a carrier, whatever the registry says."""
        return token_of(self.signing.world.pki, self.certificates.base + PATH, spc, orig, **more)

    def secsipid(self, spc: str) -> dict[str, str]:
        """Lines of secsipid.cfg for Kamailio's module as that carrier, with its key and chain."""
        pki = self.signing.world.pki
        chain = pki.carriers[spc].chain.read_bytes()
        cache = self.folder / "secsipid"
        cache.mkdir(exist_ok=True)
        return {
            "ZX_PRIVATE": str(pki.carriers[spc].key),
            "ZX_X5U": self.certificates.base + PATH + Publisher.name(chain),
            "ZX_ORIGID": BANK_ORIGID,
            "ZX_ROOTS": str(pki.root),
            "ZX_INTERMEDIATES": str(pki.intermediate),
            "ZX_CACHE": str(cache),
        }

    def key(self, spc: str) -> SigningKey:
        """A carrier's key."""
        return SigningKey.from_pem(self.signing.world.pki.carriers[spc].key.read_bytes())


class Line:
    """The two proxies of one way, the middle between them, and phones at the ends.

    Attributes:
        at: the addresses.
        originating, terminating: the proxies.
        middle: what is between them.
        caller, callee: the phones.

    Args:
        bare: no middle, and a callee that keeps no messages: to be measured.
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        config: str,
        signing: Mapping[str, str],
        verifying: Mapping[str, str],
        *,
        verifying_config: str | None = None,
        children: int = 4,
        beside: tuple[Mapping[str, Mapping[str, str]], Mapping[str, Mapping[str, str]]] = ({}, {}),
        environment: Mapping[str, str] = MappingProxyType({}),
        transports: Sequence[str] = ("u1", "t1"),
        bare: bool = False,
    ) -> None:
        folder = self.folder = stage.folder / name
        at = self.at = _addresses()
        self.stage = stage

        def proxy(
            name: str, address: str, phone: str, file: Path, lines: Mapping[str, str], beside: Any
        ) -> Proxy:
            own = {"ZX_INSIDE": f"sip:{phone}:{PORT}", "ZX_OUTSIDE": outside}
            if file.name == "opensips.cfg":
                return OpenSips(folder / name, address, file, own | dict(lines))
            return Kamailio(
                folder / name, address, file, own | dict(lines), beside=beside,
                children=children, environment=environment,
            )  # fmt: skip

        outside = f"sip:{at.terminating}:{PORT}" if bare else f"sip:{at.originating}:{MIDDLE_PORT}"
        self.originating = proxy(
            "originating", at.originating, at.caller, DEPLOY / config, signing, beside[0]
        )
        other = DEPLOY / (verifying_config or config)
        self.terminating = proxy(
            "terminating", at.terminating, at.callee, other, verifying, beside[1]
        )
        self.middle = Middle(at.originating, at.terminating)
        self.caller = Caller(folder / "caller", at.caller, at.originating)
        self.callee = Callee(folder / "callee", at.callee, answering(), transports, traced=not bare)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for part in (self.originating, self.terminating, self.middle, self.callee):
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self, call: Call, *, rate: int, seconds: int) -> LoadResult:
        """Calls like this one at a steady rate."""
        at = self.at
        load = Load(
            self.folder, at.caller, at.originating, self.callee,
            rate=rate, seconds=seconds,
        )  # fmt: skip
        return load.run(call)

    def stranger(self) -> Stranger:
        """Somebody else in the network outside."""
        return Stranger(self.at.stranger, self.at.terminating)
