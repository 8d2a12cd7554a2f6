"""Fetching, against an Internet in memory; and against real sockets on loopback (e2e)."""

import asyncio
import gzip
import ssl
import subprocess
import time

import anyio
import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.certs.fetch import (
    Caching,
    Fetched,
    FetchError,
    FetchLimits,
    Fields,
    HttpFetcher,
    NotModified,
    Purpose,
    caching,
)
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason

HOST = "cert.example.org"
URL = f"https://{HOST}/chain.pem"
PUBLIC = "93.184.216.34"


def answer(body=b"chain", status="200 OK", *fields):
    lines = [f"HTTP/1.1 {status}", *fields]
    if not any(f.lower().startswith(("content-length", "transfer-encoding")) for f in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Stream(httpcore.AsyncNetworkStream):
    """Gives out chunks; a number is a pause in seconds; the last chunk is followed by the end."""

    def __init__(self, internet, script):
        self.internet = internet
        self.script = list(script)

    async def read(self, max_bytes, timeout=None):  # noqa: ASYNC109
        with anyio.fail_after(timeout):
            while self.script:
                part = self.script.pop(0)
                if isinstance(part, (int, float)):
                    await anyio.sleep(part)
                elif callable(part):
                    self.script.insert(0, part)
                    return part()
                else:
                    if len(part) > max_bytes:
                        self.script.insert(0, part[max_bytes:])
                    return part[:max_bytes]
        return b""

    async def write(self, buffer, timeout=None):  # noqa: ASYNC109
        self.internet.sent.append(bytes(buffer))

    async def aclose(self):
        self.internet.closed += 1

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):  # noqa: ASYNC109
        self.internet.tls.append((server_hostname, ssl_context))
        return self


class Internet(httpcore.AsyncNetworkBackend):
    """Names and hosts. Records who was looked up and connected to."""

    def __init__(self, *scripts, names=None):
        self.scripts = list(scripts)
        self.names = names if names is not None else {HOST: [PUBLIC]}
        self.lookups, self.connections, self.sent, self.tls = [], [], [], []
        self.down = set()
        self.closed = 0

    async def resolve(self, host, port):
        self.lookups.append(host)
        found = self.names[host]
        if callable(found):
            return found()
        if isinstance(found, OSError):
            raise found
        return found

    async def connect_tcp(
        self,
        host,
        port,
        timeout=None,  # noqa: ASYNC109
        local_address=None,
        socket_options=None,
    ):
        self.connections.append((host, port))
        if host in self.down:
            raise httpcore.ConnectError("refused")
        if host == "192.0.1.99":
            with anyio.fail_after(timeout):
                await anyio.sleep(60)
        return Stream(self, self.scripts.pop(0))


def fetch(internet, url=URL, *, policy=None, limits=None, **arguments):
    fetcher = HttpFetcher(
        policy=policy or X5uPolicy(),
        limits=limits or FetchLimits(total_seconds=2),
        backend=internet,
        resolve=internet.resolve,
    )
    return asyncio.run(fetcher.fetch(url, **arguments))


def refused(internet, url=URL, **arguments):
    with pytest.raises(FetchError) as caught:
        fetch(internet, url, **arguments)
    return caught.value


def test_a_chain_is_fetched_by_name_over_tls():
    internet = Internet([answer(b"chain", "200 OK", 'ETag: "1"', "Cache-Control: max-age=600")])
    assert fetch(internet) == Fetched(b"chain", Caching('"1"', 600))
    assert internet.connections == [(PUBLIC, 443)]
    [(name, context)] = internet.tls
    assert name == HOST
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    request = internet.sent[0].decode()
    assert request.startswith("GET /chain.pem HTTP/1.1\r\n")
    assert f"Host: {HOST}\r\n" in request
    assert "Accept-Encoding: identity\r\n" in request
    assert "cookie" not in request.lower()
    assert internet.closed


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://10.0.0.1:3128")
    internet = Internet([answer()])
    fetch(internet)
    assert internet.connections == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1",
     "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "224.0.0.1"],
)  # fmt: skip
def test_a_name_of_a_special_address_is_not_connected_to(address):
    internet = Internet(names={HOST: [address]})
    error = refused(internet)
    assert error.reason is Reason.X5U_POLICY
    assert "not public" in error.detail
    assert internet.connections == []


def test_one_special_address_among_public_ones_is_enough():
    internet = Internet(names={HOST: [PUBLIC, "127.0.0.1"]})
    assert refused(internet).reason is Reason.X5U_POLICY
    assert internet.connections == []


def test_a_name_that_changes_its_mind_gains_nothing():
    """DNS rebinding: the first answer is checked and is the one connected to."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    internet = Internet([answer()], names={HOST: lambda: next(answers)})
    fetch(internet)
    assert internet.connections == [(PUBLIC, 443)]
    assert internet.lookups == [HOST]
    assert refused(internet).reason is Reason.X5U_POLICY
    assert internet.connections == [(PUBLIC, 443)]


def test_a_policy_refusal_touches_nothing():
    internet = Internet()
    assert refused(internet, "http://cert.example.org/c.pem").reason is Reason.X5U_POLICY
    assert refused(internet, "not a url").reason is Reason.INFO_INVALID
    assert internet.lookups == internet.connections == []


def test_a_name_that_resolves_to_loopback_stays_refused_in_development():
    internet = Internet(names={HOST: ["127.0.0.1"], "localhost": ["127.0.0.1", "::1"]})
    policy = X5uPolicy(allow_http_loopback=True)
    assert refused(internet, policy=policy).reason is Reason.X5U_POLICY
    internet.scripts = [[answer()]]
    assert fetch(internet, "http://localhost:8080/c", policy=policy).body == b"chain"
    assert internet.connections == [("127.0.0.1", 8080)]
    assert internet.tls == []
    internet.names["localhost"] = [PUBLIC]
    assert refused(internet, "http://localhost/c", policy=policy).reason is Reason.X5U_POLICY


def test_an_address_in_the_url_is_checked_without_a_lookup():
    internet = Internet([answer()])
    fetch(internet, f"https://{PUBLIC}/c")
    assert internet.lookups == []
    assert internet.connections == [(PUBLIC, 443)]
    assert internet.tls[0][0] == PUBLIC


def test_the_next_address_is_tried_when_one_is_down():
    internet = Internet([answer()], names={HOST: ["192.0.1.1", PUBLIC]})
    internet.down = {"192.0.1.1"}
    assert fetch(internet).body == b"chain"
    assert internet.connections == [("192.0.1.1", 443), (PUBLIC, 443)]
    internet.down.add(PUBLIC)
    assert refused(internet).reason is Reason.CERT_UNREACHABLE


def test_at_most_four_addresses_are_tried():
    addresses = [f"192.0.1.{n}" for n in range(1, 10)]
    internet = Internet(names={HOST: addresses})
    internet.down = set(addresses)
    refused(internet)
    assert len(internet.connections) == 4


@pytest.mark.parametrize("found", [[], OSError(-2, "Name or service not known")])
def test_a_name_without_address(found):
    error = refused(Internet(names={HOST: found}))
    assert error.reason is Reason.CERT_UNREACHABLE


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "206 Partial",
                                    "304 Not Modified", "300 Choices"])  # fmt: skip
def test_another_status_is_an_error(status):
    error = refused(Internet([answer(b"", status)]))
    assert error.reason is Reason.CERT_UNREACHABLE
    assert status[:3] in error.detail


def test_revalidation():
    internet = Internet([answer(b"", "304 Not Modified", "Cache-Control: max-age=60")])
    assert fetch(internet, etag='"1"') == NotModified(Caching(None, 60))
    assert b'If-None-Match: "1"\r\n' in internet.sent[0]


class TestSize:
    LIMITS = FetchLimits(total_seconds=2, chain_bytes=1000)

    def test_announced(self):
        internet = Internet([answer(b"", "200 OK", "Content-Length: 10485760")])
        assert "1000 bytes" in refused(internet, limits=self.LIMITS).detail

    def test_ten_megabytes_without_announcement(self):
        """Reading stops at the limit, not at the end."""
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        served = 0

        def chunk():
            nonlocal served
            served += 4096
            return b"x" * 4096

        internet = Internet([head, chunk])
        assert "1000 bytes" in refused(internet, limits=self.LIMITS).detail
        assert served <= 65536 + 4096

    def test_chunked(self):
        body = b"FFFF\r\n" + b"x" * 0xFFFF + b"\r\n0\r\n\r\n"
        internet = Internet([answer(body, "200 OK", "Transfer-Encoding: chunked")])
        assert "1000 bytes" in refused(internet, limits=self.LIMITS).detail

    def test_exactly_the_limit(self):
        assert len(fetch(Internet([answer(b"x" * 1000)]), limits=self.LIMITS).body) == 1000
        assert refused(Internet([answer(b"x" * 1001)]), limits=self.LIMITS)

    def test_a_revocation_list_may_be_larger(self):
        internet = Internet([answer(b"x" * 5000)])
        assert len(fetch(internet, limits=self.LIMITS, purpose=Purpose.CRL).body) == 5000

    def test_a_truncated_body_is_no_body(self):
        error = refused(Internet([answer(b"half", "200 OK", "Content-Length: 400")]))
        assert error.reason is Reason.CERT_UNREACHABLE

    def test_headers_without_end(self):
        error = refused(Internet([b"HTTP/1.1 200 OK\r\n", lambda: b"X-Filler: " + b"x" * 9000]))
        assert error.reason is Reason.CERT_UNREACHABLE

    def test_a_compression_bomb_is_not_unfolded(self):
        bomb = gzip.compress(b"\0" * 10_000_000)
        error = refused(Internet([answer(bomb, "200 OK", "Content-Encoding: gzip")]))
        assert "Content-Encoding" in error.detail
        identity = answer(b"chain", "200 OK", "Content-Encoding: identity")
        assert fetch(Internet([identity])).body == b"chain"


class TestTime:
    LIMITS = FetchLimits(total_seconds=0.2, connect_seconds=0.1)

    def timed(self, internet, **arguments):
        started = time.monotonic()
        error = refused(internet, limits=self.LIMITS, **arguments)
        assert time.monotonic() - started < 20
        assert error.reason is Reason.CERT_UNREACHABLE
        return error

    def test_silence(self):
        assert "0.2 s" in self.timed(Internet([30])).detail

    def test_a_body_that_drips(self):
        drip = [part for _ in range(300) for part in (b"x", 0.15)]
        self.timed(Internet([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *drip]))

    def test_endless_interim_answers(self):
        drip = [part for _ in range(300) for part in (b"HTTP/1.1 103 Hints\r\n\r\n", 0.15)]
        self.timed(Internet(drip))

    def test_an_address_that_does_not_answer(self):
        internet = Internet(names={HOST: ["192.0.1.99"]})
        self.timed(internet)

    def test_a_name_server_that_does_not_answer(self):
        async def never(host, port):
            await anyio.sleep(60)

        internet = Internet()
        internet.resolve = never
        self.timed(internet)

    def test_redirects_share_the_time(self):
        hop = answer(b"", "302 Found", "Location: http://crl.example.org/next")
        internet = Internet(
            [0.08, hop], [0.08, hop], [0.08, hop], names={"crl.example.org": [PUBLIC]}
        )
        self.timed(internet, url="http://crl.example.org/a", purpose=Purpose.CRL)


class TestRedirects:
    NAMES = {  # noqa: RUF012
        HOST: [PUBLIC],
        "other.example.org": ["192.0.1.7"],
        "inside.example.org": ["10.0.0.8"],
    }
    TWO = FetchLimits(total_seconds=2, chain_redirects=2)

    def hop(self, location):
        return answer(b"", "302 Found", f"Location: {location}")

    def test_a_chain_follows_none_by_default(self):
        internet = Internet([self.hop("https://other.example.org/c")], names=self.NAMES)
        assert "redirects" in refused(internet).detail
        assert internet.connections == [(PUBLIC, 443)]

    def test_followed_when_permitted(self):
        internet = Internet([self.hop("https://other.example.org/c")], [answer()], names=self.NAMES)
        assert fetch(internet, limits=self.TWO).body == b"chain"
        assert internet.connections == [(PUBLIC, 443), ("192.0.1.7", 443)]
        assert [name for name, _ in internet.tls] == [HOST, "other.example.org"]

    def test_relative(self):
        internet = Internet([self.hop("/elsewhere")], [answer()])
        assert fetch(internet, limits=self.TWO).body == b"chain"
        assert [sent for sent in internet.sent if sent.startswith(b"GET /elsewhere ")]

    @pytest.mark.parametrize(
        "location",
        [
            "https://127.0.0.1/c",
            "https://169.254.169.254/latest/meta-data",
            "http://other.example.org/c",
            "https://other.example.org:22/c",
            "https://inside.example.org/c",
            "https://user@other.example.org/c",
            "file:///etc/passwd",
        ],
    )
    def test_each_target_is_checked(self, location):
        internet = Internet([self.hop(location)], names=self.NAMES)
        assert refused(internet, limits=self.TWO).reason is not Reason.CERT_UNREACHABLE
        assert internet.connections == [(PUBLIC, 443)]

    def test_a_target_that_is_no_url(self):
        internet = Internet([self.hop("https://[::1/c")])
        assert "redirect to" in refused(internet, limits=self.TWO).detail

    def test_a_loop_ends(self):
        internet = Internet(*[[self.hop(URL)]] * 9)
        assert "2 redirects" in refused(internet, limits=self.TWO).detail
        assert len(internet.connections) == 3

    def test_without_location(self):
        internet = Internet([answer(b"", "302 Found")])
        assert "without Location" in refused(internet, limits=self.TWO).detail

    def test_a_revocation_list_keeps_the_address_check(self):
        internet = Internet([self.hop("http://inside.example.org/list")], names=self.NAMES)
        error = refused(internet, f"http://{HOST}/list", purpose=Purpose.CRL)
        assert error.reason is Reason.X5U_POLICY
        assert internet.connections == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x16\x03\x01",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_is_our_error(garbage):
    assert refused(Internet([garbage])).reason is Reason.CERT_UNREACHABLE


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_our_error(octets):
    """An answer that these few octets cannot be has no other exception either."""
    assert refused(Internet([octets])).reason is Reason.CERT_UNREACHABLE


def test_a_bad_ca_file_is_a_configuration_error(tmp_path):
    file = tmp_path / "ca.pem"
    for content in (None, b"nothing"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"ca\.pem"):
            HttpFetcher(policy=X5uPolicy(), ca_file=file)


DATE = "Date: Tue, 24 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Caching()),
        (["Cache-Control: max-age=600"], Caching(None, 600)),
        (["CACHE-CONTROL: Public, MAX-AGE=600"], Caching(None, 600)),
        (["Cache-Control: max-age=600, s-maxage=60"], Caching(None, 60)),
        (["Cache-Control: max-age=600", "Cache-Control: s-maxage=60"], Caching(None, 60)),
        (['Cache-Control: max-age="600"'], Caching(None, 600)),
        (["Cache-Control: max-age=600", "Age: 500"], Caching(None, 100)),
        (["Cache-Control: max-age=600", "Age: 5000"], Caching(None, 0)),
        (["Cache-Control: max-age=-5"], Caching(None, 0)),
        (["Cache-Control: max-age=soon"], Caching(None, 0)),
        (["Cache-Control: max-age"], Caching(None, 0)),
        (["Cache-Control: max-age=999999999999"], Caching(None, 31536000)),
        (["Cache-Control: no-store"], Caching(None, 0, store=False, stale=False)),
        (["Cache-Control: no-cache, max-age=600"], Caching(None, 0, stale=False)),
        (["Pragma: no-cache"], Caching(None, 0, stale=False)),
        (["Pragma: no-cache", "Cache-Control: max-age=5"], Caching(None, 5)),
        (["Cache-Control: max-age=600, must-revalidate"], Caching(None, 600, stale=False)),
        (['Cache-Control: x="no-store, a", max-age=5'], Caching(None, 5)),
        ([DATE, "Expires: Tue, 24 Nov 2026 11:00:00 GMT"], Caching(None, 3600)),
        ([DATE, "Expires: Tue, 24 Nov 2026 09:00:00 GMT"], Caching(None, 0)),
        ([DATE, "Expires: 0"], Caching(None, 0)),
        (["Expires: Tue, 24 Nov 2026 11:00:00 GMT"], Caching(None, 0)),
        ([DATE, "Expires: Tue, 24 Nov 2026 11:00:00 GMT", "Cache-Control: max-age=7"],
         Caching(None, 7)),
        (['ETag: W/"x"'], Caching('W/"x"')),
        ([f'ETag: "{"x" * 300}"'], Caching()),
    ],
)  # fmt: skip
def test_caching(lines, expected):
    pairs = [tuple(part.strip().encode() for part in line.split(":", 1)) for line in lines]
    assert caching(Fields(pairs)) == expected


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60),
       st.text(alphabet=st.characters(max_codepoint=255), max_size=40))  # fmt: skip
def test_any_caching_fields_can_be_read(control, date):
    fields = [(b"cache-control", control.encode("latin-1")), (b"expires", date.encode("latin-1")),
              (b"date", date.encode("latin-1")), (b"age", date.encode("latin-1"))]  # fmt: skip
    age = caching(Fields(fields)).max_age
    assert age is None or 0 <= age <= 31536000


@pytest.mark.e2e
@pytest.mark.enable_socket
class TestRealSockets:
    """The system's resolver, TCP and TLS, on loopback."""

    POLICY = X5uPolicy(allow_http_loopback=True)

    async def serve(self, script, scenario, tls=None):
        async def handle(reader, writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                for part in script:
                    if isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
                    else:
                        await asyncio.sleep(part)
            except asyncio.IncompleteReadError:
                pass  # the client did not trust us
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        async with server:
            return await scenario(server.sockets[0].getsockname()[1])

    def test_http_by_name(self):
        async def scenario(port):
            fetcher = HttpFetcher(policy=self.POLICY, limits=FetchLimits(total_seconds=5))
            return await fetcher.fetch(f"http://localhost:{port}/c")

        try:
            assert asyncio.run(self.serve([answer()], scenario)).body == b"chain"
        except FetchError as error:  # a machine whose localhost is ::1 alone
            pytest.fail(error.detail)

    def test_a_slow_host(self):
        async def scenario(port):
            fetcher = HttpFetcher(policy=self.POLICY, limits=FetchLimits(total_seconds=0.2))
            with pytest.raises(FetchError, match="within 0"):
                await fetcher.fetch(f"http://127.0.0.1:{port}/c")

        asyncio.run(self.serve([answer(b"")[:20], 0.5], scenario))

    def test_an_untrusted_server_certificate(self, tmp_path):
        key, crt = tmp_path / "k.pem", tmp_path / "c.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", key, "-out", crt, "-days", "3650", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)

        async def scenario(port):
            limits = FetchLimits(total_seconds=5)
            trusting = HttpFetcher(policy=self.POLICY, limits=limits, ca_file=crt)
            assert (await trusting.fetch(f"https://localhost:{port}/c")).body == b"chain"
            with pytest.raises(FetchError, match="its TLS certificate is not trusted"):
                # the name in the URL is what the certificate must carry
                await trusting.fetch(f"https://127.0.0.1:{port}/c")
            system = HttpFetcher(policy=self.POLICY, limits=limits)
            with pytest.raises(FetchError, match="its TLS certificate is not trusted") as caught:
                await system.fetch(f"https://localhost:{port}/c")
            assert caught.value.reason is Reason.CERT_UNREACHABLE

        asyncio.run(self.serve([answer()], scenario, context))
