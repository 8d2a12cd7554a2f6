"""secsipidx and libsecsipid verify our tokens, and we verify theirs: good, altered, expired."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import time

import httpx
import pytest
from interop.world import World
from plain import PlainRegistry

from zhenxian.certs.chain import parse_chain
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.revocation import RevocationPolicy, build_view
from zhenxian.certs.trustlist import TrustList, load_trust_list
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import b64url_decode, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.sign import sign
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.opened import NeedCertificates
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.trust import Trust
from zhenxian.verifier.verify import Verifier

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("es256")]
ORIG, DEST = "12155550100", "12155550113"
ORIGID = "123e4567-e89b-12d3-a456-426655440000"
CERT_VERIFY = 1 + 4 + 8  # time, custom root, custom intermediate


@pytest.fixture
def world(tmp_path, files):
    return World(tmp_path, files)


def ours(world, *, iat=None, dest=DEST) -> str:
    decision = Decision(Attestation.A, Reason.HELD_AND_VERIFIED, "test", ORIGID)
    request = SigningRequest(
        TN(ORIG), Destination((TN(dest),)), int(time.time()) if iat is None else iat
    )
    return sign(request, decision, world.credential).identity


def alter(identity: str) -> str:
    """Another calling number in the payload, the signature left as it is."""
    header = parse_identity_header(identity)
    payload = b64url_decode(header.token.payload, "payload")
    forged = b64url_encode(payload.replace(ORIG.encode(), b"12155559999"))
    return identity.replace(header.token.payload.decode(), forged.decode())


def verify(world, identity, *, orig=ORIG, now=None):
    now = int(time.time()) if now is None else now
    roots = load_trust_list(world.root)
    view, problems = build_view(
        [world.crl.read_bytes()],
        issuers=load_trust_list(world.crl_issuers),
        trust=roots,
        policy=RevocationPolicy.REQUIRE,
    )
    assert not problems
    verifier = Verifier(
        ScreenPolicy(x5u=X5uPolicy(allow_http_loopback=True)),
        Nothing(),
        Trust(roots, view, ProfilePolicy()),
        MemoryReplayStore(),
        PlainRegistry(),
    )
    request = VerificationRequest(TN(orig), (TN(DEST),), now, (identity,))
    verdict = verifier.verify(request, now)
    if isinstance(verdict, NeedCertificates):
        assert verdict.urls == (world.x5u,)
        chain = parse_chain(world.chain.read_bytes())
        verdict = verifier.verify(request, now, {world.x5u: chain})
    return verdict


class Nothing:
    def cached(self, x5u, now):
        return None

    def keep(self, x5u):
        pass


class CommandLine:
    """The secsipidx program; its check takes the certificate from a file."""

    def __init__(self, program, world):
        self.program, self.world = program, world

    def check(self, identity: str, expire: int = 3600) -> bool:
        done = subprocess.run(
            [
                self.program, "-check", "-identity", identity, "-expire", str(expire),
                "-p", str(self.world.chain),
            ],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        return (
            done.returncode == 0 and done.stdout.endswith(b"ok\n") and b"not-ok" not in done.stdout
        )

    def sign(self) -> str:
        done = subprocess.run(
            [
                self.program, "-sign-full", "-orig-tn", ORIG, "-dest-tn", DEST, "-attest", "A",
                "-orig-id", ORIGID, "-x5u", self.world.x5u, "-k", str(self.world.key),
            ],
            capture_output=True, timeout=30, check=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()


class Server:
    """secsipidx's HTTP server: full header at /v1/check, CSV at /v1/sign-csv."""

    def __init__(self, program, world):
        self.world = world
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}/v1"
        self.process = subprocess.Popen(
            [
                program, "-http-srv", f"127.0.0.1:{port}", "-fprvkey", str(world.key),
                "-ca-file", str(world.root), "-ca-inter", str(world.intermediate),
                "-cert-verify", str(CERT_VERIFY), "-expire", "3600",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while self.post("sign-csv", "x").status_code != 400:
            assert time.monotonic() < deadline, "secsipidx does not answer"
            time.sleep(0.05)

    def post(self, route, body):
        try:
            return httpx.post(f"{self.base}/{route}", content=body, timeout=10)
        except httpx.TransportError:
            return httpx.Response(503)

    def check(self, identity, expire=3600):
        assert expire == 3600, "the server's -expire is one for all"
        answer = self.post("check", identity)
        assert (answer.status_code == 200) == (answer.text == "OK\n")
        return answer.status_code == 200

    def sign(self):
        answer = self.post("sign-csv", f"{ORIG},{DEST},A,{ORIGID},{self.world.x5u}")
        assert answer.status_code == 200
        return answer.text.strip()

    def close(self):
        self.process.terminate()
        self.process.wait(10)


class Library:
    """libsecsipid over its C interface."""

    def __init__(self, library, world):
        self.library, self.world = library, world
        for name, value in (
            ("CertCAFile", world.root),
            ("CertCAInter", world.intermediate),
        ):
            library.SecSIPIDOptSetS(name.encode(), str(value).encode())
        library.SecSIPIDOptSetN(b"CertVerify", CERT_VERIFY)

    def check(self, identity: str, expire: int = 3600) -> bool:
        data = identity.encode()
        return self.library.SecSIPIDCheckFull(data, len(data), expire, b"", 5) == 0

    def sign(self) -> str:
        out = ctypes.c_char_p()
        status = self.library.SecSIPIDGetIdentity(
            ORIG.encode(), DEST.encode(), b"A", ORIGID.encode(), self.world.x5u.encode(),
            str(self.world.key).encode(), ctypes.byref(out),
        )  # fmt: skip
        assert status >= 0
        assert out.value is not None
        return out.value.decode()


@pytest.fixture(params=["command line", "server", "library"])
def peer(request, world):
    if request.param == "library":
        yield Library(request.getfixturevalue("libsecsipid"), world)
        return
    program = request.getfixturevalue("secsipidx")
    if request.param == "command line":
        yield CommandLine(program, world)
        return
    server = Server(program, world)
    yield server
    server.close()


def test_the_peer_verifies_ours(peer, world, files):
    assert peer.check(ours(world))
    # All but the command line fetched the chain and checked it against their root.
    assert files.fetched or isinstance(peer, CommandLine)


def test_the_peer_refuses_ours_altered(peer, world):
    assert not peer.check(alter(ours(world)))


def test_the_peer_refuses_ours_expired(peer, world):
    assert not peer.check(ours(world, iat=int(time.time()) - 7200))


def test_we_verify_the_peers(peer, world):
    verdict = verify(world, peer.sign())
    assert (verdict.verstat, verdict.attest) == (Verstat.PASSED, Attestation.A)
    assert verdict.decisive.spc == world.spc


def test_we_refuse_the_peers_altered(peer, world):
    forged = alter(peer.sign())
    assert verify(world, forged).reason is Reason.ORIG_MISMATCH
    spoofed = verify(world, forged, orig="12155559999")
    assert (spoofed.verstat, spoofed.reason) == (Verstat.FAILED, Reason.SIGNATURE_INVALID)


def test_we_refuse_the_peers_expired(peer, world):
    verdict = verify(world, peer.sign(), now=int(time.time()) + 300)
    assert verdict.reason is Reason.IAT_STALE


def test_we_write_what_the_peer_writes(peer, world):
    """Same claims, same octets: header and payload segments agree."""
    theirs = parse_identity_header(peer.sign())
    mine = parse_identity_header(ours(world, iat=theirs.passport().iat))
    assert (mine.token.header, mine.token.payload) == (theirs.token.header, theirs.token.payload)
    assert mine.passport() == theirs.passport()


def test_a_root_that_is_not_trusted_is_refused_by_both(peer, world):
    identity = ours(world)
    stranger = world.stranger_root()
    world.root.write_bytes(stranger)
    if not isinstance(peer, CommandLine):  # whose check looks at no root
        assert not peer.check(identity)
    assert verify_without_lists(world, identity).reason is Reason.CERT_UNTRUSTED


def verify_without_lists(world, identity):
    now = int(time.time())
    roots = load_trust_list(world.root)
    view, _ = build_view([], issuers=TrustList((), ""), trust=roots, policy=RevocationPolicy.PREFER)
    verifier = Verifier(
        ScreenPolicy(x5u=X5uPolicy(allow_http_loopback=True)),
        Nothing(),
        Trust(roots, view, ProfilePolicy()),
        MemoryReplayStore(),
        PlainRegistry(),
    )
    request = VerificationRequest(TN(ORIG), (TN(DEST),), now, (identity,))
    return verifier.verify(request, now, {world.x5u: parse_chain(world.chain.read_bytes())})
