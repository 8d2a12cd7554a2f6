"""What both services are given: a development PKI, its chain on loopback, numbers, tokens."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from bench.machine import LOOPBACK
from zhenxian.certs.ca import create_development_pki
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import SigningKey, Token, VerifyingKey, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry.journal import put
from zhenxian.registry.model import Access, Holding, Record, Subject, Verification
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

HOLDINGS: Final = 10_000  # numbers held one by one, so that the registry has something to search
TOKEN_SECONDS: Final = 300  # how long secsipidx accepts a token; ours keeps its default of 60
_SPC: Final = "1001"
_SUBJECT: Final = "bench"
_FIRST_ORIG: Final = 8613910000000
_FIRST_DEST: Final = 8613800000000
_SPOOFED: Final = "8613810000001"  # held by another subject


class Call(NamedTuple):
    """Who calls whom, canonical numbers, and the access's origid."""

    orig: str
    dest: str
    origid: str


class World(Struct, frozen=True, dict=True):
    """Paths and names, as text that another process can be given."""

    file: str
    key: str
    chain: str
    root: str
    intermediate: str
    crls: str
    crl_issuers: str
    registry: str
    x5u: str
    origid: str

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key both services sign with."""
        return SigningKey.from_pem(Path(self.key).read_bytes())

    @cached_property
    def verifying_key(self) -> VerifyingKey:
        """Its public half."""
        return self.signing_key.verifying_key

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return itertools.count()

    def calls(self) -> Iterator[Call]:
        """Calls from held numbers in turn, each to a number of its own."""
        for number in self._numbers:
            yield Call(
                str(_FIRST_ORIG + number * 7919 % HOLDINGS),
                str(_FIRST_DEST + number % 10_000_000),
                self.origid,
            )

    def spoofed(self) -> Call:
        """A call that shows a number of another subject."""
        return Call(_SPOOFED, str(_FIRST_DEST), self.origid)

    def tokens(self, count: int, iat: int) -> Iterator[tuple[Call, str]]:
        """That many calls with Identity headers of attestation A, signed here and now."""
        for call in itertools.islice(self.calls(), count):
            yield call, identity(call, self.x5u, self.signing_key, iat)


def identity(call: Call, x5u: str, key: SigningKey, iat: int) -> str:
    """An Identity header of attestation A."""
    header = Header(x5u, "shaken")
    segment = b64url_encode(header.dumps())
    extension = Shaken(Attestation.A, call.origid)
    passport = PASSporT(header, TN(call.orig), Destination((TN(call.dest),)), iat, extension)
    payload = b64url_encode(passport.payload())
    signature = b64url_encode(key.sign(segment + b"." + payload))
    return IdentityHeader(Token(segment, payload, signature), x5u, "ES256", "shaken").dumps()


def load_world(file: Path) -> World:
    """The world another process made. Its service must still run there."""
    return msgspec.json.decode(file.read_bytes(), type=World)


@contextlib.contextmanager
def make_world(folder: Path) -> Iterator[World]:
    """Make PKI and registry in a new folder, and serve the chain on loopback meanwhile."""
    folder.mkdir(mode=0o700)
    pki = create_development_pki(folder / "pki", {_SPC: "Bench Telecom"}, now=int(time.time()))
    carrier = pki.carriers[_SPC]
    origid = str(uuid.uuid4())
    registry = folder / "registry"
    registry.mkdir(mode=0o700)
    _register(registry / REGISTRY_FILE, origid)
    with served({"/chain.pem": carrier.chain.read_bytes()}) as base:
        world = World(
            file=str(folder / "world.json"),
            key=str(carrier.key),
            chain=str(carrier.chain),
            root=str(pki.root),
            intermediate=str(pki.intermediate),
            crls=str(pki.crl_folder),
            crl_issuers=str(pki.crl_issuers),
            registry=str(registry),
            x5u=f"{base}/chain.pem",
            origid=origid,
        )
        Path(world.file).write_bytes(msgspec.json.encode(world))
        yield world


def _register(file: Path, origid: str) -> None:
    numbers = [str(_FIRST_ORIG + index) for index in range(HOLDINGS)]
    records: list[Record] = [
        Subject(id=_SUBJECT),
        Subject(id="another"),
        Access(id="bench-trunk", origid=origid, subject=_SUBJECT),
        *(_held(number, _SUBJECT) for number in numbers),
        _held(_SPOOFED, "another"),
    ]
    registry = RegistryFile(file, writer=True)
    registry.write([put(r) for r in records], author="bench", reason="bench", now=int(time.time()))
    registry.close()


def _held(number: str, subject: str) -> Holding:
    numbers = TNRange(TN(number), TN(number))
    return Holding(
        numbers=numbers, subject=subject, verification=Verification.VERIFIED, spcs=(_SPC,)
    )


@contextlib.contextmanager
def served(chains: Mapping[str, bytes]) -> Iterator[str]:
    """Serve chains by their paths on a free loopback port, from a thread; yields the base URL."""

    class Repository(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            chain = chains.get(self.path, b"")
            self.send_response(200 if chain else 404)
            self.send_header("Content-Type", "application/pem-certificate-chain")
            self.send_header("Content-Length", str(len(chain)))
            self.send_header("Cache-Control", "max-age=86400")
            self.end_headers()
            self.wfile.write(chain)

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal belongs to the table."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024  # all signers' chains are asked for at once

    server = Server((LOOPBACK, 0), Repository)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
