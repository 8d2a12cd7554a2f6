"""One typed settings object from a TOML file and the environment: the only reader of either.

A member `verifier.date_window` is the key `date_window` of table `[verifier]` in the file, and
the variable ZHENXIAN_VERIFIER__DATE_WINDOW in the environment, which wins over the file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from zhenxian.api.words import member, sentence
from zhenxian.core.errors import ConfigError, shown
from zhenxian.registry.consent import MARKETING
from zhenxian.registry.model import PERSON_LIMITS
from zhenxian.service.certificate_settings import Fetch, Trust
from zhenxian.service.display_settings import Displays, Redress
from zhenxian.service.number_settings import Numbers
from zhenxian.service.role_settings import Signer, Verifier
from zhenxian.service.setting_types import (
    CountryCode,
    Name,
    NetworkText,
    Section,
)
from zhenxian.service.sip_settings import Sip

ENV_PREFIX = "ZHENXIAN_"


def _listener(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError('expected "address:port", e.g. "127.0.0.1:8080" or "[::1]:8080"')
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError("expected an IP address before the port, not a name") from None
    return value


Listener = Annotated[str, BeforeValidator(_listener)]


def listener_address(listener: str) -> tuple[str, int]:
    """Split a validated "address:port"."""
    host, _, port = listener.rpartition(":")
    return host.strip("[]"), int(port)


class Server(Section):
    """Where the service listens and how it answers."""

    calls: Listener = Field(
        "127.0.0.1:8080", description="Address and port of the signing and verification routes."
    )
    admin: Listener | None = Field(
        None,
        description="Address and port for administration, metrics and docs, apart from the calls."
        " Unset: on the calls listener.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Worker processes. More than one share the replay store through the"
        " data folder.",
    )
    dialect: Literal["auto", "atis", "3gpp"] = Field(
        "auto",
        description="REST dialect of the answers. auto: by the body, ATIS-1000082 where both fit.",
    )
    es256: Literal["auto", "openssl", "aws-lc"] = Field(
        "auto",
        description="What makes and checks signatures: OpenSSL inside the package cryptography, or"
        " AWS-LC inside awscrt (pip install 'zhenxian[aws-lc]'), which takes a quarter less time."
        " auto: AWS-LC where it is installed.",
    )
    max_body: int = Field(
        65_536, ge=1024, le=1_048_576, description="Largest request body accepted, bytes."
    )
    max_import: int = Field(
        268_435_456,
        ge=1024,
        le=17_179_869_184,
        description="Largest CSV file that the management API imports at once, bytes. It is put"
        " into the data folder while it arrives.",
    )
    explain: bool = Field(
        True,
        description="Add members of our own to answers: why A, B, C or a refusal, and which"
        " checks were made.",
    )
    hosts: tuple[Name, ...] = Field(
        (),
        description="Names or addresses, besides those of this machine alone and the one in"
        " signer.publish_base, that a service without credentials is called by: in Host, and as"
        " origin of a page (one of this machine's with its port). Others are refused, or a page"
        " could reach it through the browser of somebody on this machine.",
    )
    proxies: tuple[NetworkText, ...] = Field(
        (),
        description="Addresses or networks of SIP proxies and load balancers. Their connections,"
        " like those that have shown credentials, count against max_connections only.",
    )
    max_connections: int = Field(
        8192,
        ge=16,
        le=1_000_000,
        description="Open connections of a worker process; further ones are answered 503. Fewer"
        " where the process may not open so many descriptors.",
    )
    max_strangers: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Of these, connections that have shown no credentials yet, where credentials"
        " are asked for.",
    )
    max_strangers_per_address: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Of these, connections from one IPv4 address, or one IPv6 network of 64 bits."
        " Beyond it the oldest that is idle is closed.",
    )
    max_waiting: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Calls of a worker process that wait for their answers; further ones are"
        " answered 503 with Retry-After, by JSON and by SIP alike. A worker answers some thousands"
        " in a second.",
    )
    shutdown_seconds: int = Field(
        10, ge=1, le=300, description="How long a graceful stop waits for calls in flight."
    )
    tls_cert: Path | None = Field(None, description="PEM certificate chain: serve TLS.")
    tls_key: Path | None = Field(None, description="PEM private key of tls_cert, mode 0600.")
    tls_client_ca: Path | None = Field(
        None, description="PEM bundle: require client certificates issued by these (mTLS)."
    )


class Auth(Section):
    """API credentials."""

    keys: Path | None = Field(
        None,
        description="TOML file of hashed API keys (made by `zhenxian key add`). Required to listen"
        " beyond loopback unless client certificates are.",
    )


class Registry(Section):
    """Who may show what: subjects, holdings, accesses, bindings, orders."""

    node: str = Field(
        "", max_length=64, description="This node's name in acknowledgements. Empty: host name."
    )
    issuers: Path | None = Field(
        None, description="TOML: who may give orders, with their public keys. Unset: nobody."
    )
    nodes: Path | None = Field(
        None,
        description="TOML: the nodes and the thumbprints of their keys (`zhenxian fleet node`)."
        " Unset: any key of a node is accepted.",
    )
    identity_key: Path | None = Field(
        None,
        description="File with the key that identity document numbers are hashed with; the same"
        " on every node. Unset: made in the data folder.",
    )
    numbers_a_person: dict[CountryCode, PositiveInt] = Field(
        dict(PERSON_LIMITS),
        description="How many numbers a person may hold at one carrier, by country code, such as"
        " 86 = 5. What is registered stays; `zhenxian doctor` tells who holds more.",
    )
    kinds: tuple[Path, ...] = Field(
        (), description="CSV tables of number kinds, such as MVNO prefixes; the later wins."
    )


class Consent(Section):
    """Calls that their callee refuses, by the purpose that the caller states."""

    marketing: Literal["refuse", "label", "off"] = Field(
        "label",
        description="A call stated to be marketing, to a callee on record as refusing that. refuse:"
        " no token when signing, 607 when verifying; label: says so in the answer.",
    )
    marketing_terms: tuple[str, ...] = Field(
        MARKETING,
        description="A purpose with one of these is marketing. Case, full width and spaces make no"
        " difference; Latin letters are matched by whole words; non, not, no, 非 or 不是 before a"
        " term denies it.",
    )


class Fleet(Section):
    """Many nodes, one registry, on Redis. Unset url: this machine's file is the registry."""

    url: str = Field(
        "",
        repr=False,
        description="redis://host:port/db, sentinel://host:port,host:port/primary-name or"
        " cluster://host:port,host:port; rediss, sentinels and clusters over TLS.",
    )
    password: Path | None = Field(None, description="File with the password of Redis.")
    sentinel_password: Path | None = Field(
        None, description="File with the password of the Sentinels, if they have one."
    )
    tls_ca: Path | None = Field(
        None, description="PEM bundle that authenticates Redis. Unset: the system's."
    )
    name: str = Field(
        "zx",
        pattern=r"^[A-Za-z0-9._-]{1,32}$",
        description="First part of every key, so that fleets can share one Redis.",
    )
    lag_limit: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="Seconds without word from Redis after which this node signs no A.",
    )
    timeout: float = Field(2.0, gt=0, le=60, description="Seconds an answer of Redis may take.")
    wait_replicas: int = Field(
        0,
        ge=0,
        le=16,
        description="Replicas that must confirm a write before it is acknowledged.",
    )
    allow_volatile: bool = Field(
        False,
        description="Trust a Redis that keeps nothing on disk, or that may evict keys: a restart"
        " of it can lose the registry.",
    )
    take_over_foreign: bool = Field(
        False,
        description="Replace this node's copy when Redis holds another registry than it.",
    )


class Log(Section):
    """Structured logs: one JSON object a line on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level logged. Calls are logged at info."
    )
    clear_numbers: bool = Field(
        False,
        description="Write telephone numbers in clear. Otherwise a keyed hash, stable for the"
        " life of the data folder.",
    )


class Settings(BaseSettings):
    """All settings. Frozen; a bad value is named with what was expected."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    data: Path = Field(Path("data"), description="Folder for state; created with mode 0700.")
    server: Server = Server()
    auth: Auth = Auth()
    signer: Signer = Signer()
    verifier: Verifier = Verifier()
    numbers: Numbers = Numbers()
    trust: Trust = Trust()
    fetch: Fetch = Fetch()
    registry: Registry = Registry()
    consent: Consent = Consent()
    fleet: Fleet = Fleet()
    redress: Redress = Redress()
    displays: Displays = Displays()
    sip: Sip = Sip()
    log: Log = Log()

    @property
    def country(self) -> str | None:
        """The country whose national numbers are read."""
        return self.numbers.country or self.verifier.country

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings file and the environment.

    Relative paths in a file are taken from the file's own folder.

    Raises:
        ConfigError: names each bad key, what was given and what was expected.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"settings file {file} does not exist")

    class Located(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    Located.__name__ = "Settings"
    try:
        settings = Located(**overrides)
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error, file, overrides))) from None
    except ValueError as error:
        raise ConfigError(f"settings file {file}: {error}") from None
    newer, older = settings.numbers.country, settings.verifier.country
    if newer is not None and older is not None and newer != older:
        raise ConfigError(
            f"numbers.country is {newer}, and verifier.country, its older name, {older}: set one"
        )
    return _rooted(settings, file.parent.resolve() if file is not None else None)


def _problems(error: ValidationError, file: Path | None, overrides: Mapping[str, Any]) -> list[str]:
    lines = []
    for problem in error.errors():
        name = member(problem["loc"])
        variable = ENV_PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
        kind, value = problem["type"], problem["input"]
        given = "" if kind in ("extra_forbidden", "missing") else f" (given: {shown(value)})"
        place = f"in {file} or {variable}" if file is not None else f"in {variable}"
        if _overridden(problem["loc"], overrides):
            place = "on the command line"
        lines.append(f"{name}: {sentence(problem)}{given}; set {place}")
    return lines


def _overridden(path: Sequence[int | str], overrides: Mapping[str, Any]) -> bool:
    """Whether a member, or one of its parts, was given beside the file and the environment."""
    given: Any = overrides
    for part in path[:2]:
        if not isinstance(given, Mapping) or part not in given:
            return False
        given = given[part]
    return True


def _rooted(settings: Settings, folder: Path | None) -> Settings:
    """Make relative paths that came from a file relative to that file's folder."""

    def rooted(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return type(value).model_construct(**members(value))
        if isinstance(value, tuple):
            return tuple(rooted(item) for item in value)
        if folder is not None and isinstance(value, Path) and not value.is_absolute():
            return folder / value
        return value

    def members(model: BaseModel) -> dict[str, Any]:
        return {name: rooted(getattr(model, name)) for name in type(model).model_fields}

    return Settings.model_construct(**members(settings))


def loopback(listener: str) -> bool:
    """True when the listener can be reached from this machine only."""
    return loopback_host(listener_address(listener)[0])


def loopback_host(host: str) -> bool:
    """True for an address of this machine alone."""
    return ipaddress.ip_address(host).is_loopback
