"""A world in memory: carriers, their certificates, the hosts that publish them, calls.

Tests talk to it instead of to mocks. Every key, signature, certificate and list is real; the
clock is an argument; the network is a dictionary that can misbehave and remembers what was asked.

    world = World()
    north = world.carrier("1234")
    identity = north.call("12155550100", "12155550199").signed()
    north.certificate.revoke()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from zhenxian.certs import ca
from zhenxian.certs.ca import Authority
from zhenxian.certs.chain import Chain, parse_chain
from zhenxian.certs.fetch import Caching, Fetched, FetchError, NotModified, Purpose
from zhenxian.certs.keys import Credential
from zhenxian.certs.revocation import RevocationPolicy, RevocationView, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import SigningKey, Token, b64url_encode
from zhenxian.passport.ppt.div import Div
from zhenxian.passport.ppt.div_o import DivO
from zhenxian.passport.ppt.shaken import Shaken, parse_attest
from zhenxian.verifier.request import VerificationRequest

NOW = 1_795_500_000  # 2026-11-24T06:00:00Z
DAY = 86_400
ORIGID = "de305d54-75b4-431b-adb2-eb6b9e546014"
CRL_URL = ca.CRL_URL


class Fault(Enum):
    """How a host can misbehave, as a fetcher sees it. The wire's own faults: test_fetch.py."""

    TIMEOUT = "no answer in time"
    SERVER_ERROR = "HTTP status 500"
    GONE = "HTTP status 404"
    REDIRECTED = "redirected"
    TOO_LARGE = "larger than accepted"
    POLICY = "resolves to 127.0.0.1"
    GARBAGE = "serves a web page"
    TRUNCATED = "serves half of it"
    NOT_MODIFIED = "304 to a request that was not conditional"


class Request(NamedTuple):
    """What was asked of a host."""

    url: str
    purpose: Purpose
    etag: str | None


class Repository:
    """All hosts of the world: a Fetcher (certs.fetch) without a network.

    Attributes:
        requests: everything that was asked, in order; what is not here was not fetched.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._files: dict[str, tuple[bytes, Caching]] = {}
        self._faults: dict[str, Fault] = {}
        self._held: dict[str, asyncio.Event] = {}
        self._down = False

    @property
    def fetched(self) -> list[str]:
        """The URLs that were asked for, in order."""
        return [request.url for request in self.requests]

    def publish(self, url: str, body: bytes, caching: Caching | None = None) -> None:
        """Serve a body; with the caching fields it had before unless told."""
        _, before = self._files.get(url, (b"", Caching()))
        self._files[url] = (body, before if caching is None else caching)

    def fail(self, url: str, fault: Fault | None) -> None:
        """Misbehave at one URL until told None."""
        if fault is None:
            self._faults.pop(url, None)
        else:
            self._faults[url] = fault

    def down(self) -> None:
        """Answer nothing any more."""
        self._down = True

    def up(self) -> None:
        """Answer again."""
        self._down = False

    def hold(self, url: str) -> None:
        """Let requests for a URL wait until it is released."""
        self._held[url] = asyncio.Event()

    def release(self, url: str) -> None:
        """Answer the requests that wait."""
        self._held.pop(url).set()

    async def fetch(
        self, url: str, *, purpose: Purpose = Purpose.CHAIN, etag: str | None = None
    ) -> Fetched | NotModified:
        """See certs.fetch.Fetcher."""
        self.requests.append(Request(url, purpose, etag))
        held = self._held.get(url)
        if held is not None:
            await held.wait()
        await asyncio.sleep(0)
        fault = Fault.TIMEOUT if self._down else self._faults.get(url)
        found = self._files.get(url)
        if fault is None and found is None:
            fault = Fault.GONE
        if fault in (None, Fault.TRUNCATED):
            assert found is not None
            body, caching = found
            if fault is None and etag is not None and etag == caching.etag:
                return NotModified(caching)
            return Fetched(body if fault is None else body[: len(body) // 2], caching)
        if fault is Fault.GARBAGE:
            return Fetched(b"<html>It works!</html>")
        if fault is Fault.NOT_MODIFIED:
            return NotModified()
        reason = Reason.X5U_POLICY if fault is Fault.POLICY else Reason.CERT_UNREACHABLE
        raise FetchError(
            reason, f"{url}: {fault.value}", passing=fault not in (Fault.GONE, Fault.POLICY)
        )


class World:
    """Roots, the STI-PA, carriers, hosts."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now
        self.repository = Repository()
        begin, end = now - 30 * DAY, now + 365 * DAY
        self.administrator = Authority.create_root("STI-PA CRL", not_before=begin, not_after=end)
        issuer = self.administrator.certificate.subject
        self.root = Authority.create_root(not_before=begin, not_after=end, crl_issuer=issuer)
        self.intermediate = self.root.create_intermediate(not_before=begin, not_after=end)
        self.other_root = Authority.create_root(
            "SHAKEN other root", not_before=begin, not_after=end, crl_issuer=issuer
        )
        self.revoked: list[x509.Certificate] = []
        self.publish_crl()

    def carrier(self, spc: str = "1234", name: str | None = None) -> Carrier:
        """A carrier with a good certificate, published."""
        return Carrier(self, spc, name or f"Carrier {spc}", self.intermediate, (SPC(spc),))

    @property
    def trust(self) -> TrustList:
        """The trust list of the STI-PA."""
        return TrustList((self.root.certificate,), "world")

    @property
    def crl_issuers(self) -> TrustList:
        """Who may sign the indirect list."""
        return TrustList((self.administrator.certificate,), "world")

    def crl(self, *, this_update: int | None = None, next_update: int | None = None) -> bytes:
        """The STI-PA's list as it stands."""
        return self.administrator.issue_crl(
            self.revoked,
            this_update=self.now - 60 if this_update is None else this_update,
            next_update=self.now + DAY if next_update is None else next_update,
            indirect=True,
        )

    def publish_crl(self) -> None:
        """Serve the list where certificates say it is."""
        self.repository.publish(CRL_URL, self.crl())

    def revocation(
        self, *lists: bytes, policy: RevocationPolicy = RevocationPolicy.REQUIRE
    ) -> RevocationView:
        """The lists in force: those given, else the STI-PA's."""
        view, problems = build_view(
            lists or (self.crl(),), issuers=self.crl_issuers, trust=self.trust, policy=policy
        )
        assert not problems, problems
        return view


class Carrier:
    """Somebody who signs calls: a service provider, or a delegate of one."""

    def __init__(
        self,
        world: World,
        spc: str,
        name: str,
        authority: Authority,
        entries: tuple[SPC | TNRange | TN, ...],
    ) -> None:
        self.world = world
        self.spc = spc
        self.name = name
        self.x5u = f"https://cert-{name.replace(' ', '-').lower()}.example.org/chain.pem"
        self.private_key = ca.new_key()
        self.certificate = Certificate(self, authority, entries)

    @property
    def key(self) -> SigningKey:
        """What calls are signed with."""
        return SigningKey(self.private_key)

    @property
    def key_pem(self) -> bytes:
        """The key file."""
        return ca.key_pem(self.private_key)

    @property
    def chain_pem(self) -> bytes:
        """The chain file, as published."""
        return self.certificate.chain_pem

    @property
    def chain(self) -> Chain:
        """The chain as a verifier gets it."""
        return parse_chain(self.chain_pem)

    @property
    def credential(self) -> Credential:
        """Key and chain as a signer holds them."""
        chain = self.chain
        return Credential(
            key=self.key,
            chain=chain,
            chain_pem=self.chain_pem,
            spc=chain.spc,
            x5u=self.x5u,
            not_after=chain.not_after,
        )

    def renew(self) -> None:
        """A new key and a new certificate, at the same URL."""
        self.private_key = ca.new_key()
        self.certificate.reissue()

    def delegate(self, *entries: TNRange | TN, name: str = "Delegate") -> Carrier:
        """A customer with a certificate for some numbers (RFC 9060)."""
        return Carrier(self.world, "", name, self.delegating_authority(), entries)

    def delegating_authority(self, *entries: SPC | TNRange | TN) -> Authority:
        """The CA that this carrier delegates with; for its own code unless told."""
        return self.certificate.authority.create_intermediate(
            f"SHAKEN {self.spc} delegation",
            not_before=self.world.now - DAY,
            not_after=self.world.now + 90 * DAY,
            tnauthlist=TNAuthList(entries or (SPC(self.spc),)),
        )

    def call(
        self,
        orig: str,
        *dest: str,
        attest: str = "A",
        origid: str = ORIGID,
        iat: int | None = None,
        x5u: str | None = None,
        crn: str | None = None,
    ) -> Call:
        """A call that this carrier signs."""
        passport = PASSporT(
            Header(x5u or self.x5u, "shaken"),
            TN.parse(orig),
            Destination(tuple(TN.parse(number) for number in dest)),
            self.world.now if iat is None else iat,
            Shaken(parse_attest(attest), origid, crn),
        )
        return Call(passport, self.key)

    def diverts(
        self,
        orig: str,
        diverting: str,
        dest: str,
        *,
        iat: int | None = None,
        opt: str | None = None,
        x5u: str | None = None,
    ) -> Call:
        """A step of a diverted call that this carrier signs; with opt, a token, as a div-o."""
        passport = PASSporT(
            Header(x5u or self.x5u, "div" if opt is None else "div-o"),
            TN.parse(orig),
            Destination((TN.parse(dest),)),
            self.world.now if iat is None else iat,
            Div(TN.parse(diverting)) if opt is None else DivO(TN.parse(diverting), opt=opt),
        )
        return Call(passport, self.key)


class Certificate:
    """A carrier's certificate, and the ways it can be wrong. Every change is published at once."""

    def __init__(
        self, carrier: Carrier, authority: Authority, entries: tuple[SPC | TNRange | TN, ...]
    ) -> None:
        self._carrier = carrier
        self._now = carrier.world.now
        self.authority = authority
        self._listed: TNAuthList | None = TNAuthList(entries)
        self._dates = (self._now - DAY, self._now + 90 * DAY)
        self._whole = True
        self._change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder] | None = None
        self.reissue()

    def reissue(self) -> None:
        """A new certificate for the carrier's present key."""
        carrier = self._carrier
        begin, end = self._dates
        self.leaf = self.authority.issue(
            ca.name(f"SHAKEN {carrier.spc}".strip(), carrier.name),
            self._listed,
            carrier.private_key.public_key(),
            not_before=begin,
            not_after=end,
            change=self._change or (lambda builder: builder),
        )
        chain = self.authority.chain(self.leaf) if self._whole else (self.leaf,)
        self.chain_pem = ca.pem(*chain)
        carrier.world.repository.publish(carrier.x5u, self.chain_pem)

    def expire(self) -> None:
        """Let it have ended a second ago."""
        self._dates = (self._now - 90 * DAY, self._now - 1)
        self.reissue()

    def not_yet_valid(self) -> None:
        """Let it begin in a minute."""
        self._dates = (self._now + 60, self._now + 90 * DAY)
        self.reissue()

    def revoke(self) -> None:
        """Put it on the STI-PA's list."""
        self._carrier.world.revoked.append(self.leaf)
        self._carrier.world.publish_crl()

    def wrong_key(self) -> None:
        """Let the carrier sign with a key that is not the certificate's."""
        self._carrier.private_key = ca.new_key()

    def missing_intermediate(self) -> None:
        """Publish the certificate without what lies between it and the root."""
        self._whole = False
        self.reissue()

    def untrusted(self) -> None:
        """Let it come from a root that is not on the trust list."""
        self.authority = self._carrier.world.other_root
        self.reissue()

    def drop_tnauthlist(self) -> None:
        """Leave the TNAuthList out."""
        self._listed = None
        self.reissue()

    def tnauthlist(self, *entries: SPC | TNRange | TN) -> None:
        """Let it speak for something else."""
        self._listed = TNAuthList(entries)
        self.reissue()

    def change(self, change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder]) -> None:
        """Alter the certificate before it is signed."""
        self._change = change
        self.reissue()


class Call(NamedTuple):
    """One call, on both sides of the wire."""

    passport: PASSporT
    key: SigningKey

    def signed(self) -> str:
        """The Identity header field value."""
        header = b64url_encode(self.passport.header.dumps())
        payload = b64url_encode(self.passport.payload())
        signature = b64url_encode(self.key.sign(header + b"." + payload))
        return IdentityHeader(
            Token(header, payload, signature),
            self.passport.header.x5u,
            "ES256",
            self.passport.header.ppt,
        ).dumps()

    def arrives(
        self, *identities: str, time: int | None = None, call_id: str | None = None
    ) -> VerificationRequest:
        """What the terminating proxy asks: with this call's header unless others are given."""
        return VerificationRequest(
            self.passport.orig,
            (*self.passport.dest.tn, *self.passport.dest.uri),
            self.passport.iat if time is None else time,
            identities or (self.signed(),),
            call_id,
        )


@contextmanager
def served(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve bodies by path over real HTTP on loopback; gives the base URL.

    For end-to-end tests with `allow_http_loopback`. The mapping is looked at on every request;
    what is not in it is 404. Answers carry an entity tag and are fresh for a minute.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = files.get(self.path)
            etag = f'"{hash(body):x}"'
            same = body is not None and self.headers.get("If-None-Match") == etag
            self.send_response(404 if body is None else 304 if same else 200)
            if body is None or same:
                body = b""
            if not same:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", etag)
            self.send_header("Cache-Control", "max-age=60")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def other_curve_key() -> ec.EllipticCurvePrivateKey:
    """A key that must not sign: P-384."""
    return ec.generate_private_key(ec.SECP384R1())
