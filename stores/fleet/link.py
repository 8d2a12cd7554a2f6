"""How a fleet reaches Redis: one server, a primary that Sentinel names, or a Cluster.

Errors and logs name hosts and never credentials.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import MsgspecError, Struct
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as NotConnectedError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from zhenxian.certs.files import read_file
from zhenxian.core.errors import ConfigError
from zhenxian.stores.ending import within

_OF_ANOTHER_FORM: Final = (TypeError, AttributeError, LookupError, ValueError, MsgspecError)
_Kind = TypeVar("_Kind", bound=type)
_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


class GarbledError(RedisError):
    """An answer that is none to what was asked: whether that was done is not known."""

    def __init__(self) -> None:
        super().__init__("Redis answered in another form than was asked for")


def in_form(ask: Callable[_Given, Awaitable[_Found]]) -> Callable[_Given, Awaitable[_Found]]:
    """Have a coroutine raise GarbledError for answers of another form."""

    @wraps(ask)
    async def asked(*given: _Given.args, **more: _Given.kwargs) -> _Found:
        try:
            return await ask(*given, **more)
        except _OF_ANOTHER_FORM as error:
            raise GarbledError from error

    return asked


def understood(kind: _Kind) -> _Kind:
    """Have all coroutines of a class do so."""
    for name, ask in list(vars(kind).items()):
        if iscoroutinefunction(ask):
            setattr(kind, name, in_form(ask))
    return kind


# Everything by which the client says that Redis did not answer, or not as asked. By a RuntimeError
# uvloop says that the other end closed the connection just before it was written to.
UNREACHABLE: Final = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)

# Likewise, where an answer is looked into in the same place; by what follows another form shows.
UNANSWERED: Final = (*UNREACHABLE, *_OF_ANOTHER_FORM)

_SCHEMES: Final = {
    "redis": False,
    "rediss": True,
    "sentinel": False,
    "sentinels": True,
    "cluster": False,
    "clusters": True,
}
_FORMS: Final = (
    "redis://host:port/db, sentinel://host:port,host:port/primary-name or"
    " cluster://host:port,host:port; rediss, sentinels and clusters are the same over TLS"
)
_MAX_PASSWORD: Final = 4_096  # octets of a password file

Client: TypeAlias = Redis


class FleetOptions(Struct, frozen=True, kw_only=True):
    """How a node takes part in a fleet. Never shows its URL in repr: it may hold a password.

    Attributes:
        url: redis://host:port/db, sentinel://host:port,host:port/primary-name or
            cluster://host:port,host:port; rediss, sentinels, clusters over TLS.
        password_file: holds the password of Redis; comes before one in the URL.
        sentinel_password_file: holds the password of the Sentinels, if they have one.
        tls_ca: PEM file of the CAs that Redis' certificate is checked against; None for the
            system's.
        tag: first part of every key, and the hash tag of the registry's.
        lag_limit: seconds without a word from Redis after which the copy is not current.
        timeout: seconds an answer of Redis may take.
        wait_replicas: replicas that must confirm a write before it is acknowledged.
        wait_ms: milliseconds they have for that.
        allow_volatile: trust a Redis that keeps nothing on disk, or that evicts keys.
        take_over_foreign: replace the local copy when Redis holds another journal.
        checkpoint_commits: commits of the stream after which a checkpoint is made.
        checkpoint_bytes: octets of the stream after which a checkpoint is made; when the one
            before was larger, its size counts.
        compare_every: seconds between two comparisons of the nodes' copies.
        keep_commits: commits below a checkpoint that stay in the stream for nodes that lag.
        version: of the release, shown to operators.
    """

    url: str
    password_file: Path | None = None
    sentinel_password_file: Path | None = None
    tls_ca: Path | None = None
    tag: str = "zx"
    lag_limit: float = 5.0
    timeout: float = 2.0
    wait_replicas: int = 0
    wait_ms: int = 1_000
    allow_volatile: bool = False
    take_over_foreign: bool = False
    checkpoint_commits: int = 100_000
    checkpoint_bytes: int = 256 * 1024 * 1024
    keep_commits: int = 1_000
    compare_every: float = 15.0
    version: str = ""

    def __repr__(self) -> str:
        return f"FleetOptions(tag={self.tag!r}, lag_limit={self.lag_limit})"


class _Watching(Redis):
    """One Sentinel. One that answers in another form is as one that is away: others are asked."""

    async def sentinel_masters(self) -> dict[str, dict[str, Any]]:
        """The primaries that it watches, by name, of which it says where they are."""
        try:
            found: Any = await super().sentinel_masters()
            return {name: of for name, of in found.items() if _located(of)}
        except _OF_ANOTHER_FORM as error:
            raise NotConnectedError(str(GarbledError())) from error
        except RedisError as error:
            if isinstance(error, NotConnectedError | RedisTimeoutError) or refused(error):
                raise
            raise NotConnectedError(str(error)) from error


def _located(state: dict[str, Any]) -> bool:
    known = {"ip": str, "port": int, "num-other-sentinels": int}
    return all(isinstance(state.get(name), kind) for name, kind in known.items())


class Link:
    """Connections to a fleet's Redis; they are made when first used, and again after `lost`."""

    def __init__(self, options: FleetOptions) -> None:
        """Raises ConfigError; nothing is connected yet."""
        address = _split(options.url)
        self._kind = address.scheme.removesuffix("s") if address.scheme != "redis" else "redis"
        self._kwargs = _kwargs(options, address)
        self._hosts = _hosts(address)
        self._sentinel_kwargs: dict[str, Any] = {
            name: value for name, value in self._kwargs.items() if name not in _OWN
        }
        if options.sentinel_password_file is not None:
            self._sentinel_kwargs["password"] = _password(options.sentinel_password_file)
        self._primary_name = unquote(address.path.strip("/"))
        self._tag = "{" + options.tag + "}"
        self._client: Client | None = None
        self._cluster: RedisCluster | None = None
        self._sentinel: Sentinel | None = None
        self._left: list[Client | Sentinel] = []

    @property
    def apart(self) -> bool:
        """True when Redis may be on another machine, with a clock of its own."""
        return any(host not in _HERE for host, _ in self._hosts)

    async def client(self) -> Client:
        """The server that takes writes to the registry's keys. Raises one of UNREACHABLE."""
        if self._client is not None:
            return self._client
        if self._kind == "redis":
            (host, port), *_ = self._hosts
            self._client = Redis(host=host, port=port, **self._kwargs)
        elif self._kind == "sentinel":
            self._sentinel = Sentinel([], **self._kwargs)  # type: ignore[no-untyped-call]
            self._sentinel.sentinels = [
                _Watching(host=host, port=port, **self._sentinel_kwargs)
                for host, port in self._hosts
            ]
            self._client = self._sentinel.master_for(self._primary_name)
        else:
            cluster = await self._topology()
            node = cluster.get_node_from_key(self._tag)
            if node is None:
                raise NotConnectedError("the Cluster names no primary for the registry's slot")
            if self._client is None:  # others asked at the same time
                self._client = Redis(host=node.host, port=int(node.port), **self._kwargs)
        return self._client

    async def spread(self) -> Client | RedisCluster:
        """What keys of all slots may be asked of. Raises one of UNREACHABLE."""
        return await self._topology() if self._kind == "cluster" else await self.client()

    async def confirm(self) -> None:
        """Ask again who the primary is, when somebody else decides that.

        Raises:
            redis.exceptions.ConnectionError: it is another server now; call `lost`.
        """
        if self._sentinel is None or self._client is None:
            return
        pool: Any = self._client.connection_pool
        before = pool.master_address
        try:
            found = await self._sentinel.discover_master(self._primary_name)
        except UNREACHABLE:
            return  # the Sentinels are away; the primary itself may be well
        if before is not None and tuple(found) != tuple(before):
            raise NotConnectedError("Sentinel names another primary")

    async def lost(self) -> None:
        """After an error: find the primary anew when next asked."""
        left = self._left
        asked = [one for one in (self._client, self._sentinel) if one is not None]
        # Others may be in the middle of a question: they are closed the next time, and again then,
        # as a question that was cut off connects once more.
        self._left = [*left, *asked][-_LEFT:]
        self._client = self._sentinel = None
        for old in left:
            await _close(old)
        if self._cluster is not None:
            await _close(self._cluster)  # it learns the topology again by itself

    async def close(self) -> None:
        """Close all connections; those that do not let themselves be closed are left."""
        for _ in range(2):
            await within(_LETTING_GO, self.lost())
        self._cluster = None

    async def _topology(self) -> RedisCluster:
        if self._cluster is None:
            kwargs = {name: value for name, value in self._kwargs.items() if name != "db"}
            self._cluster = RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in self._hosts], **kwargs
            )
        await self._cluster.initialize()
        return self._cluster


_LETTING_GO: Final = 0.5  # seconds for the other end to say that it is closed
_LEFT: Final = 8  # clients and Sentinels that are no longer asked and may have connections
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_OWN: Final = ("db", "username", "password")


def reason_text(error: BaseException) -> str:
    """An error as one line: Redis's own words, or what became of the connection."""
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, AskError | TryAgainError):  # MOVED is a kind of the former
        return "the registry's slot of the Cluster is at another server, or on its way there"
    if isinstance(error, ResponseError):
        return " ".join(str(error).split())
    if isinstance(error, _OF_ANOTHER_FORM):
        return str(GarbledError())
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split()) or "the connection failed"


def refused(error: BaseException) -> str | None:
    """What to do when Redis refuses who we are; None for other errors."""
    text = reason_text(error)
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError) or (
        isinstance(error, ResponseError) and text.startswith(("NOAUTH", "WRONGPASS", "NOPERM"))
    ):
        return (
            f"Redis refuses the user or password ({text}); check the credentials in the fleet's"
            " URL or password file, and the user's rights"
        )
    return None


def unwritable(error: BaseException) -> str | None:
    """Why Redis takes no writes, while reading may well go on; None for other errors."""
    text = reason_text(error)
    if isinstance(error, OutOfMemoryError):
        return f"Redis is out of memory, reading goes on ({text})"
    if isinstance(error, ResponseError) and text.startswith(("MISCONF", "NOREPLICAS", "NOPERM")):
        return f"Redis refuses to be written, reading goes on ({text})"
    return None


def _split(url: str) -> SplitResult:
    # The URL is not repeated in the text: it may hold a password.
    try:
        address = urlsplit(url)
    except ValueError:
        raise ConfigError(f"the fleet's URL cannot be read; it has the form {_FORMS}") from None
    if address.scheme not in _SCHEMES:
        raise ConfigError(f"the fleet's URL begins with none of: {_FORMS}")
    if address.scheme.startswith("sentinel") and not address.path.strip("/"):
        raise ConfigError("the fleet's URL names no primary: sentinel://host:port/primary-name")
    if address.query or address.fragment:
        raise ConfigError("the fleet's URL takes no query; the fleet's own settings do")
    return address


def _hosts(address: SplitResult) -> list[tuple[str, int]]:
    listed = address.netloc.rpartition("@")[2]
    default = 26379 if address.scheme.startswith("sentinel") else 6379
    found = []
    for part in listed.split(","):
        try:
            one = urlsplit(f"//{part}")
            host, port = one.hostname, one.port
        except ValueError:
            host, port = None, None
        if not host:
            raise ConfigError(f"the fleet's URL: host:port expected; it has the form {_FORMS}")
        found.append((host, port or default))
    if address.scheme.startswith("redis") and len(found) > 1:
        raise ConfigError("the fleet's URL: several hosts need sentinel:// or cluster://")
    return found


def _kwargs(options: FleetOptions, address: SplitResult) -> dict[str, Any]:
    user, _, secret = address.netloc.rpartition("@")[0].partition(":")
    database = address.path.strip("/") if address.scheme.startswith("redis") else ""
    if database and not database.isdecimal():
        raise ConfigError("the fleet's URL: the number of a database expected after the port")
    kwargs: dict[str, Any] = {
        "db": int(database or 0),
        "username": unquote(user) or None,
        "password": unquote(secret) or None,
        "socket_timeout": options.timeout,
        "socket_connect_timeout": options.timeout,
        # Once, for connections that died while they were idle. What is sent twice is safe twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=(NotConnectedError,)),
        "protocol": 2,
    }
    if options.password_file is not None:
        kwargs["password"] = _password(options.password_file)
    if _SCHEMES[address.scheme]:
        kwargs |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if options.tls_ca is not None:
            kwargs["ssl_ca_certs"] = str(_authorities(options.tls_ca))
    elif options.tls_ca is not None:
        raise ConfigError(
            "fleet.tls_ca is set, but the fleet's URL speaks no TLS: rediss, sentinels or clusters"
        )
    return kwargs


def _authorities(path: Path) -> Path:
    """The file, which holds certificates. Raises ConfigError."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # also for a file that is no PEM
        raise ConfigError(f"fleet.tls_ca {path}: {error.strerror or error}") from None
    return path


def _password(path: Path) -> str:
    try:
        text = read_file(path, _MAX_PASSWORD).decode().strip()
    except ValueError:
        raise ConfigError(f"{path}: not UTF-8") from None
    if not text:
        raise ConfigError(f"{path}: one password of at most {_MAX_PASSWORD} octets expected")
    return text


async def _close(connection: Any) -> None:
    with contextlib.suppress(*UNREACHABLE):
        await connection.aclose()
