"""The two services that are compared: how each is started, asked, and held to right answers."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from bench.load import Route
from bench.machine import LOOPBACK, BenchError, Service, answers, free_port, post
from bench.measure import Contender
from bench.world import TOKEN_SECONDS, Call, World
from zhenxian.core.errors import ParseError
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination
from zhenxian.passport.es256 import Choice
from zhenxian.passport.identity import IdentityHeader, parse_identity_header
from zhenxian.passport.jws import b64url_decode, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken

OURS: Final = "zhenxian"
PEER: Final = "secsipidx"
# custom roots (4), custom intermediates (8) and validity in time (1): the full chain check
PEER_CHAIN_CHECK: Final = 13
SAMPLES: Final = 20  # tokens looked at before and after the load

_NOTHING_COUNTED: Final = 'signing = "off"\nverifying = "off"\ncarriers = "off"\n'

_encode: Final = msgspec.json.Encoder().encode


def our_settings(
    world: World, port: int, data: Path, library: Choice = Choice.AUTO, *, counted: bool = True
) -> str:
    """Production defaults, but for two: replay store, revocation, conduct and log included.

    Certificates come over http from loopback. And no number of displays is many: the load is ten
    thousand numbers that never call anybody again, of which a suspicion would be right.

    Args:
        library: what makes and checks signatures.
        counted: whether the conduct of callers and signers is counted, as by default.
    """
    thresholds = data.with_name("thresholds.toml")
    thresholds.write_text("[spread]\ndisplays = 1000000000\n", "utf-8")
    return f"""\
data = "{data}"
[server]
calls = "{LOOPBACK}:{port}"
es256 = "{library.value}"
[signer]
key = "{world.key}"
chain = "{world.chain}"
x5u = "{world.x5u}"
[trust]
roots = "{world.root}"
crl_folder = "{world.crls}"
crl_issuers = "{world.crl_issuers}"
[fetch]
allow_http_loopback = true
[displays]
thresholds = "{thresholds}"
{"" if counted else _NOTHING_COUNTED}"""


def our_command(settings: Path) -> list[str]:
    """How the service is started."""
    return [str(Path(sys.executable).with_name("zhenxian")), "serve", "--config", str(settings)]


def start_ours(
    world: World,
    core: int | None,
    folder: Path,
    library: Choice = Choice.AUTO,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    before: Callable[[Path, dict[str, str]], None] | None = None,
    ready: Callable[[int], bool] = lambda port: answers(port, "/readyz", 200),
) -> Service:
    """A service of ours: one worker, unless settings in the environment say otherwise.

    Args:
        core: None for any.
        before: what is done right before it starts, with the file of settings and the whole
            environment.
        ready: whether the service at that port has started.

    Raises:
        BenchError: it does not start.
    """
    port = free_port()
    folder = folder / f"ours-{library.value}"
    folder.mkdir()
    settings = folder / "zhenxian.toml"
    data = folder / "data"
    shutil.copytree(world.registry, data)
    settings.write_text(our_settings(world, port, data, library), "utf-8")
    command = our_command(settings)
    if before is not None:
        before(settings, {**os.environ, **environment})
    service = Service(OURS, port, core=core, command=command, environment=environment)
    return service.start(folder / "zhenxian.log", lambda: ready(port))


def start_peer(world: World, core: int, folder: Path) -> Service:
    """secsipidx's HTTP server, on one processor, with its certificate cache. Raises BenchError."""
    port = free_port()
    cache = folder / "secsipidx-cache"
    cache.mkdir()
    command = ["secsipidx", "-http-srv", f"{LOOPBACK}:{port}"]
    command += ["-fprvkey", str(world.key), "-expire", str(TOKEN_SECONDS)]
    command += ["-cert-verify", str(PEER_CHAIN_CHECK)]
    command += ["-ca-file", str(world.root), "-ca-inter", str(world.intermediate)]
    command += ["-cache-dir", str(cache), "-cache-expire", "86400"]
    service = Service(PEER, port, core=core, command=command, environment={"GOMAXPROCS": "1"})
    return service.start(folder / "secsipidx.log", lambda: answers(port, "/", 404))


def our_signing(service: Service, world: World) -> Contender:
    """Signing by ours: ATIS-1000082."""

    def prepare(file: Path, count: int) -> None:
        now = int(time.time())
        _write(file, (signing_body(call, now) for call in islice(world.calls(), count)))

    route = Route(service, "/stir/v1/signing", "application/json", f";info=<{world.x5u}>", True)
    return Contender(route, prepare)


def our_verifying(service: Service, world: World) -> Contender:
    """Verifying by ours. Every token is sent once: a second time it is a replay."""

    def prepare(file: Path, count: int) -> None:
        now = int(time.time())
        tokens = world.tokens(count, now)
        _write(file, (verification_body(call, token, now) for call, token in tokens))

    route = Route(
        service, "/stir/v1/verification", "application/json", '"TN-Validation-Passed"', False
    )
    return Contender(route, prepare)


def peer_signing(service: Service, world: World) -> Contender:
    """Signing by secsipidx: its CSV."""

    def prepare(file: Path, count: int) -> None:
        _write(file, (_csv(world, call) for call in islice(world.calls(), count)))

    route = Route(service, "/v1/sign-csv", "text/plain", f";info=<{world.x5u}>", True)
    return Contender(route, prepare)


def peer_verifying(service: Service, world: World) -> Contender:
    """Verifying by secsipidx; its tokens, too, are sent once."""

    def prepare(file: Path, count: int) -> None:
        _write(file, (token.encode() for _, token in world.tokens(count, int(time.time()))))

    return Contender(Route(service, "/v1/check", "text/plain", "OK", False), prepare)


def _write(file: Path, bodies: Iterator[bytes]) -> None:
    with file.open("wb") as lines:
        lines.writelines(body + b"\n" for body in bodies)


def signing_body(call: Call, now: int) -> bytes:
    """An ATIS-1000082 signing request."""
    return _encode(
        {
            "signingRequest": {
                "attest": "A",
                "orig": {"tn": call.orig},
                "dest": {"tn": [call.dest]},
                "iat": now,
                "origid": call.origid,
            }
        }
    )


def verification_body(call: Call, token: str, now: int) -> bytes:
    """An ATIS-1000082 verification request."""
    return _encode(
        {
            "verificationRequest": {
                "from": {"tn": call.orig},
                "to": {"tn": [call.dest]},
                "time": now,
                "identity": token,
            }
        }
    )


def _csv(world: World, call: Call) -> bytes:
    return f"{call.orig},{call.dest},A,{call.origid},{world.x5u}".encode()


def check_answers(world: World, ours: Service, peer: Service) -> None:
    """Hold both services to right answers: good calls, altered ones, and for ours a replay and
    a spoofed display.

    Raises:
        BenchError: names the service and what it answered.
    """
    for call in islice(world.calls(), SAMPLES):
        now = int(time.time())
        answer = _expect(ours, "/stir/v1/signing", signing_body(call, now), 200)
        signed = msgspec.json.decode(answer)["signingResponse"]["identity"]
        _holds(world, call, signed, ours)
        answer = _expect(peer, "/v1/sign-csv", _csv(world, call), 200)
        _holds(world, call, answer.decode().strip(), peer)
    tokens = world.tokens(SAMPLES, int(time.time()))
    for index, (call, token) in enumerate(tokens):
        now = int(time.time())
        bad = _altered(token, index)
        for identity, verstat in (
            (bad, "TN-Validation-Failed"),
            (token, "TN-Validation-Passed"),
            (token, "TN-Validation-Failed"),  # a replay
        ):
            body = verification_body(call, identity, now)
            answer = _expect(ours, "/stir/v1/verification", body, 200)
            given = msgspec.json.decode(answer)["verificationResponse"]
            if given["verstat"] != verstat:
                raise BenchError(f"{OURS} answered {given} where {verstat} is right")
        answer = _expect(peer, "/v1/check", token.encode(), 200)
        if answer.strip() != b"OK":
            raise BenchError(f"{PEER} answered {answer!r} to a good token")
        status, answer = post(peer.port, "/v1/check", bad.encode(), "text/plain")
        if status == 200 and answer.strip() == b"OK":
            raise BenchError(f"{PEER} believed an altered token")
    spoofed = signing_body(world.spoofed(), int(time.time()))
    _expect(ours, "/stir/v1/signing", spoofed, 403)


def _expect(service: Service, path: str, body: bytes, expected: int) -> bytes:
    kind = "application/json" if path.startswith("/stir") else "text/plain"
    status, answer = post(service.port, path, body, kind)
    if status != expected:
        raise BenchError(f"{service.name} answered {path} with {status}: {answer[:500]!r}")
    return answer


def _holds(world: World, call: Call, identity: str, service: Service) -> None:
    """The header is for that call, attests A, and its signature verifies."""
    try:
        header = parse_identity_header(identity)
        passport = header.passport()
    except ParseError as error:
        raise BenchError(f"{service.name} signed something unreadable: {error}") from None
    said = (passport.orig, passport.dest, passport.extension)
    right = (TN(call.orig), Destination((TN(call.dest),)), Shaken(Attestation.A, call.origid))
    if said != right:
        raise BenchError(f"{service.name} signed {said} where {right} is right")
    token = header.token
    signature = b64url_decode(token.signature, "signature")
    if not world.verifying_key.verifies(token.signing_input, signature):
        raise BenchError(f"{service.name}: the signature does not verify")


def _altered(identity: str, index: int) -> str:
    """The token with one bit of its signature flipped."""
    header: IdentityHeader = parse_identity_header(identity)
    signature = bytearray(b64url_decode(header.token.signature, "signature"))
    signature[index % len(signature)] ^= 1
    flipped = msgspec.structs.replace(header.token, signature=b64url_encode(bytes(signature)))
    return msgspec.structs.replace(header, token=flipped).dumps()
