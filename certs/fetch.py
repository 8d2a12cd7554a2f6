"""Fetching from hosts that a stranger's token names: what stands between an x5u and the network.

The name is resolved here, every address is checked, and the checked address is the one connected
to, so a name that resolves differently the second time (DNS rebinding) gains nothing. Size, time
and redirects are bounded. There are no cookies, no proxies and no connection kept for later.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Protocol, TypeAlias
from urllib.parse import urljoin
from urllib.request import parse_http_list

import anyio
import anyio.streams.tls  # else it is read while the first fetch is waited for
import httpcore
from msgspec import Struct, structs

from zhenxian.certs.resolver import SystemResolver
from zhenxian.certs.x5u import (
    UrlRefused,
    X5uPolicy,
    check_crl_url,
    check_x5u,
    host_of,
    is_public,
    names_loopback,
)
from zhenxian.core.errors import ConfigError, ZhenxianError, shown
from zhenxian.core.reasons import Reason

MAX_AGE: Final = 31_536_000  # seconds; RFC 9111 section 1.2.2 lets a cache treat more as this
_MAX_ETAG: Final = 256  # characters; a longer one is not remembered
_MAX_ADDRESSES: Final = 4  # tried per host, in the resolver's order
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})  # the host answers, and has no such thing
_DIGITS = re.compile(r"[0-9]{1,12}\Z")


class Purpose(Enum):
    """What is fetched; decides which URLs, sizes and redirects are accepted."""

    CHAIN = "certificate chain"
    CRL = "revocation list"


class FetchLimits(Struct, frozen=True, kw_only=True):
    """Bounds of one fetch.

    Attributes:
        total_seconds: from the first name lookup to the last octet, redirects included.
        connect_seconds: to reach one address, TLS handshake excluded.
        chain_bytes: a chain of four P-256 certificates has some 4 KiB.
        crl_bytes: some 40 octets an entry.
        chain_redirects: ATIS-1000074 section 5.3.1: a verifier follows none.
        crl_redirects: how many a revocation list may take.
    """

    total_seconds: float = 5.0
    connect_seconds: float = 2.0
    chain_bytes: int = 64 * 1024
    crl_bytes: int = 8 * 1024 * 1024
    chain_redirects: int = 0
    crl_redirects: int = 3


class Caching(Struct, frozen=True):
    """What an answer says about keeping it (RFC 9111).

    Attributes:
        etag: the entity tag to revalidate with.
        max_age: seconds the answer is fresh for from now on; None when it does not say.
        store: False for no-store.
        stale: False when the answer forbids use after it ceased to be fresh.
    """

    etag: str | None = None
    max_age: int | None = None
    store: bool = True
    stale: bool = True


class Fetched(Struct, frozen=True):
    """A complete body (status 200).

    Attributes:
        secured: every host on the way to it, redirects included, was asked over https, or is this
            machine.
    """

    body: bytes
    caching: Caching = Caching()
    secured: bool = True


class NotModified(Struct, frozen=True):
    """What the caller holds is still what the host serves (status 304)."""

    caching: Caching = Caching()


class FetchError(ZhenxianError):
    """Nothing usable was fetched.

    Attributes:
        reason: X5U_POLICY or INFO_INVALID when the place is refused, else CERT_UNREACHABLE.
        detail: a sentence for people.
        passing: True when the host may be all right in a while: it could not be reached, or said
            so itself (429, 5xx); False when the place is refused or the host says there is
            nothing there.
    """

    def __init__(self, reason: Reason, detail: str, *, passing: bool | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.passing = reason is Reason.CERT_UNREACHABLE if passing is None else passing


class Fetcher(Protocol):
    """Fetches one URL."""

    async def fetch(
        self, url: str, *, purpose: Purpose = Purpose.CHAIN, etag: str | None = None
    ) -> Fetched | NotModified:
        """Fetch the URL; NotModified only when an etag was given.

        Raises:
            FetchError: anything else than a complete, acceptable answer in time.
        """
        ...


Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to a name."""

    def __init__(
        self, backend: httpcore.AsyncNetworkBackend, resolve: Resolve, policy: X5uPolicy
    ) -> None:
        self._backend = backend
        self._resolve = resolve
        self._policy = policy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = await self._checked(host, port)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
        return await self._backend.connect_tcp(
            str(last), port, timeout, local_address, socket_options
        )

    async def _checked(self, host: str, port: int) -> list[Address]:
        """The host's addresses; all must be acceptable, for the resolver chooses their order."""
        bare = host.strip("[]").lower()
        loopback = self._policy.allow_http_loopback and names_loopback(bare)
        addresses = []
        for text in await self._addresses(bare, port):
            address = ip_address(text)
            if not (address.is_loopback if loopback else is_public(address)):
                raise FetchError(
                    Reason.X5U_POLICY, f"{shown(host)} resolves to {address}, which is not public"
                )
            addresses.append(address)
        if not addresses:
            raise FetchError(Reason.CERT_UNREACHABLE, f"{shown(host)} has no address")
        return addresses[:_MAX_ADDRESSES]

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise FetchError(Reason.CERT_UNREACHABLE, f"{shown(host)} cannot be resolved") from None
        return tuple(dict.fromkeys(found))


def failing(error: Exception) -> str:
    """What went wrong with a connection or an answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpcore.ProtocolError):
        return "its answer is no HTTP/1.1, or it ends before its end"
    return "the connection failed"


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return _trusting_the_system()
    context = ssl.create_default_context(cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@cache
def _trusting_the_system() -> ssl.SSLContext:
    """One a process: to read the system's store takes 20 milliseconds."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class HttpFetcher:
    """Fetches over HTTP/1.1, https authenticated by host name."""

    def __init__(
        self,
        *,
        policy: X5uPolicy,
        limits: FetchLimits | None = None,
        ca_file: Path | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """Set up a fetcher; nothing is connected yet.

        Args:
            policy: which URLs are accepted, again for each redirect.
            limits: the defaults of FetchLimits when absent.
            ca_file: PEM bundle that authenticates https hosts; the system's store when absent.
            backend: opens connections to addresses. Tests give one without a network.
            resolve: the addresses of a host, as text. Raises OSError when there are none.

        Raises:
            ConfigError: ca_file cannot be read.
        """
        self._policy = policy
        self._limits = limits or FetchLimits()
        self._backend = _CheckedBackend(
            backend or httpcore.AnyIOBackend(), resolve or SystemResolver(), policy
        )
        try:
            self._tls = _trusting(ca_file)
        except ssl.SSLError:
            raise ConfigError(f"{ca_file}: not a PEM bundle of certificates") from None
        except OSError as error:
            raise ConfigError(f"{ca_file}: {error.strerror}") from None

    async def fetch(
        self, url: str, *, purpose: Purpose = Purpose.CHAIN, etag: str | None = None
    ) -> Fetched | NotModified:
        """Fetch the URL (see Fetcher)."""
        limits = self._limits
        hops = limits.chain_redirects if purpose is Purpose.CHAIN else limits.crl_redirects
        try:
            secured = True
            with anyio.fail_after(limits.total_seconds):
                for _ in range(hops + 1):
                    self._check(url, purpose)
                    secured = secured and _secured(url)
                    answer = await self._once(url, purpose, etag)
                    if isinstance(answer, Fetched):
                        return structs.replace(answer, secured=secured)
                    if not isinstance(answer, str):
                        return answer
                    url = answer
        except TimeoutError:
            raise FetchError(
                Reason.CERT_UNREACHABLE,
                f"no complete answer from {shown(url)} within {limits.total_seconds:g} s",
            ) from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            OSError,  # TLS errors after the handshake pass httpcore unmapped
        ) as error:
            raise FetchError(
                Reason.CERT_UNREACHABLE,
                f"{shown(url)}: {failing(error)}",
            ) from None
        raise FetchError(
            Reason.CERT_UNREACHABLE,
            f"redirected to {shown(url)}; {hops} redirects are followed for a {purpose.value}",
        )

    def _check(self, url: str, purpose: Purpose) -> None:
        check = check_x5u if purpose is Purpose.CHAIN else check_crl_url
        refused: UrlRefused | None = check(url, self._policy)
        if refused is not None:
            raise FetchError(refused.reason, refused.detail)

    async def _once(
        self, url: str, purpose: Purpose, etag: str | None
    ) -> Fetched | NotModified | str:
        """One request; text is where it was redirected to."""
        limits = self._limits
        headers: dict[bytes | str, bytes | str] = {
            "Accept": "application/pem-certificate-chain, application/pkix-crl, */*;q=0.1",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "zhenxian",
        }
        if etag is not None:
            headers["If-None-Match"] = etag
        timeouts = {
            "connect": limits.connect_seconds,
            "read": limits.total_seconds,
            "write": limits.total_seconds,
            "pool": limits.total_seconds,
        }
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=1,
                max_keepalive_connections=0,
                network_backend=self._backend,
            ) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as response,
        ):
            fields = Fields(response.headers)
            if response.status in _REDIRECTS:
                location = fields.one("location")
                if location is None:
                    raise FetchError(
                        Reason.CERT_UNREACHABLE, f"{shown(url)}: redirect without Location"
                    )
                try:
                    return urljoin(url, location)
                except ValueError:
                    raise FetchError(
                        Reason.CERT_UNREACHABLE, f"{shown(url)}: redirect to {shown(location)}"
                    ) from None
            if response.status == 304 and etag is not None:
                return NotModified(caching(fields))
            if response.status != 200:
                raise FetchError(
                    Reason.CERT_UNREACHABLE,
                    f"{shown(url)}: HTTP status {response.status}",
                    passing=response.status not in _GONE,
                )
            coding = fields.one("content-encoding")
            if coding is not None and coding.lower() != "identity":
                # Not asked for, and a few octets may unfold to gigabytes.
                raise FetchError(
                    Reason.CERT_UNREACHABLE, f"{shown(url)}: Content-Encoding {shown(coding)}"
                )
            most = limits.chain_bytes if purpose is Purpose.CHAIN else limits.crl_bytes
            return Fetched(await _body(response, fields, most, url), caching(fields))


def _secured(url: str) -> bool:
    """True when nobody on the way can change what is fetched from there."""
    return url[:6].lower() == "https:" or names_loopback(host_of(url) or "")


async def _body(response: httpcore.Response, fields: Fields, most: int, url: str) -> bytes:
    too_large = FetchError(Reason.CERT_UNREACHABLE, f"{shown(url)}: larger than {most} bytes")
    announced = fields.one("content-length")
    if announced is not None and _DIGITS.match(announced) and int(announced) > most:
        raise too_large
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


class Fields:
    """Header fields of an answer: names without regard to case."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in headers:
            self._fields.setdefault(name.decode("latin-1").lower(), []).append(
                value.decode("latin-1").strip()
            )

    def one(self, name: str) -> str | None:
        """The field's value, several joined by commas; None when absent."""
        values = self._fields.get(name)
        return None if values is None else ", ".join(values)


def caching(fields: Fields) -> Caching:
    """What the header fields say about keeping the answer (RFC 9111 sections 4.2 and 5.2.2).

    For a shared cache: s-maxage, then max-age, then Expires against Date, less Age. Unreadable
    values count as not fresh. s-maxage alone does not forbid stale use here, though section
    5.2.2.10 would have it so: a repository that is down must not take a carrier's calls with it.
    """
    directives: dict[str, str | None] = {}
    for item in parse_http_list(fields.one("cache-control") or ""):
        name, equals, value = item.partition("=")
        directives.setdefault(name.strip().lower(), value.strip().strip('"') if equals else None)
    if not directives and "no-cache" in (fields.one("pragma") or "").lower():
        directives["no-cache"] = None
    etag = fields.one("etag")
    if etag is not None and (len(etag) > _MAX_ETAG or not etag.isascii()):
        etag = None
    store = "no-store" not in directives
    revalidate = "no-cache" in directives
    max_age = 0 if revalidate or not store else _max_age(directives, fields)
    stale = store and not (
        revalidate or "must-revalidate" in directives or "proxy-revalidate" in directives
    )
    return Caching(etag, max_age, store, stale)


def _max_age(directives: dict[str, str | None], fields: Fields) -> int | None:
    lifetime: int | None = None
    for name in ("s-maxage", "max-age"):
        if name in directives:
            value = directives[name] or ""
            lifetime = min(int(value), MAX_AGE) if _DIGITS.match(value) else 0
            break
    else:
        expires = fields.one("expires")
        if expires is None:
            return None
        lifetime = _between(fields.one("date"), expires)
    age = fields.one("age") or ""
    return max(0, lifetime - (int(age) if _DIGITS.match(age) else 0))


def _between(date: str | None, expires: str) -> int:
    """Seconds from Date to Expires; 0 when either cannot be read (RFC 9111 section 5.3)."""
    try:
        seconds = parsedate_to_datetime(expires) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError, OverflowError):
        return 0
    return max(0, min(int(seconds.total_seconds()), MAX_AGE))
