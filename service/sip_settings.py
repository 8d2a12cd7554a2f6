"""The table [sip] of the settings: INVITEs over SIP, and over HTTP."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from zhenxian.service.setting_types import NetworkText

_TRANSPORTS: Final = ("udp", "tcp", "tls")
_WORD: Final = r"^[A-Za-z0-9\-.!%*_+`'~]{1,64}$"


class SipAddress(NamedTuple):
    """One socket of the SIP service."""

    transport: str
    host: str
    port: int


def sip_addresses(listener: str) -> list[SipAddress]:
    """The sockets of a listener; one without transport has UDP and TCP. Raises ValueError."""
    transport, colon, rest = listener.partition(":")
    if colon and transport.lower() in _TRANSPORTS:
        transports: tuple[str, ...] = (transport.lower(),)
    else:
        transports, rest = ("udp", "tcp"), listener
    host, colon, port = rest.rpartition(":")
    if not colon or re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65535:
        raise ValueError('expected "127.0.0.1:5070", or "udp:", "tcp:" or "tls:" before it')
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError("expected an IP address before the port, not a name") from None
    return [SipAddress(each, host.strip("[]"), int(port)) for each in transports]


def _listener(value: object) -> object:
    if isinstance(value, str):
        sip_addresses(value)
    return value


def _lower(value: object) -> object:
    return value.lower().rstrip(".") if isinstance(value, str) else value


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


SipListener = Annotated[str, BeforeValidator(_listener)]
_Host = Annotated[str, BeforeValidator(_lower), Field(min_length=1, max_length=253)]
_Token = Annotated[str, Field(pattern=_WORD)]
_Parameter = Annotated[str, BeforeValidator(_lower), Field(pattern=_WORD)]
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class SipTrunk(BaseModel):
    """One table of sip.trunks: whose calls come from an address, or for a host, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access: _Name
    source: NetworkText | None = None
    host: _Host | None = None
    customer: _Name | None = None

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.source is None and self.host is None:
            raise ValueError("expected source, host or both")
        return self


class Sip(BaseModel):
    """INVITEs: the redirect service, and what both it and the HTTP routes make of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    originating: tuple[SipListener, ...] = Field(
        (),
        description='Where the redirect service takes INVITEs to be signed: "127.0.0.1:5070" for'
        ' UDP and TCP, or "udp:", "tcp:" or "tls:" before it (tls with server.tls_cert). Empty: it'
        " does not listen.",
    )
    terminating: tuple[SipListener, ...] = Field(
        (), description="The same for INVITEs to be verified."
    )
    allow: tuple[NetworkText, ...] = Field(
        (),
        description="Addresses or networks that may ask; others get 403. Empty: all, which is for"
        " loopback, digest or client certificates alone.",
    )
    digest: Path | None = Field(
        None,
        description="TOML file of users that must authenticate by digest (made by `zhenxian key"
        " add-sip`). Unset: no digest is asked for.",
    )
    rate: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="INVITEs a second from one address beyond which it gets 503; emergency calls"
        " are always accepted. 0: any number.",
    )
    trunks: tuple[SipTrunk, ...] = Field(
        (),
        description="By which access a call came in: tables with access, and source (an address or"
        " network), host (of the Request-URI) or both, and customer where it is one of those who"
        " share the access. The first that matches counts.",
    )
    access_header: _Token | None = Field(
        None,
        description="A header field whose value names the access, such as X-Trunk; goes before"
        " trunks. The proxy must not let callers set it.",
    )
    access_parameter: _Parameter | None = Field(
        None,
        description="A parameter of From whose value names the access, such as otg; goes before"
        " access_header.",
    )
    customer_parameter: _Parameter | None = Field(
        None,
        description="A parameter of From whose value names the customer of those who share an"
        " access; goes before customer_header. Whatever asks must not let callers set it.",
    )
    customer_header: _Token | None = Field(
        None,
        description="A header field whose value names the customer of those who share an access,"
        " such as X-Customer; goes before trunks. Whatever asks must not let callers set it.",
    )
    caller: Literal["asserted", "from"] = Field(
        "asserted",
        description="What is signed and verified as the display: P-Asserted-Identity and without it"
        " From; or From, and P-Asserted-Identity where From is anonymous. In signing, a number in"
        " the other field must be the caller's, too.",
    )
    callee: Literal["to", "request-uri"] = Field("to", description="What says who is called.")
    failed: Literal["continue", "reject"] = Field(
        "continue",
        description="What becomes of a call with TN-Validation-Failed: it goes on and"
        " P-Asserted-Identity says so, or it gets 403, 428, 436, 437 or 438 with Reason"
        " (RFC 9410).",
    )
    refused: Annotated[Literal[403, 608], BeforeValidator(_number)] = Field(
        403,
        description="Answer to a call that policy does not sign. 608 is sent only with a redress"
        " contact; without one it is 403.",
    )
    go_on: Annotated[Literal[302, 404, 503], BeforeValidator(_number)] = Field(
        302, description="Redirect service: answer where nothing is to be added to the INVITE."
    )
    redirection: Annotated[Literal[300, 302], BeforeValidator(_number)] = Field(
        302, description="Redirect service: answer that has something to be added."
    )
    carried: Literal["header", "contact", "both"] = Field(
        "header",
        description="Redirect service: where that stands, as header fields, URL-encoded in the URI"
        " of Contact, or both.",
    )
    wait_ms: int = Field(
        400,
        ge=0,
        le=30_000,
        description="Redirect service: milliseconds that an INVITE may wait for certificates; then"
        " it goes on as No-TN-Validation. Emergency calls do not wait.",
    )
    max_connections: int = Field(
        256, ge=1, le=100_000, description="Open TCP and TLS connections of a worker process."
    )

    def addresses(self) -> list[tuple[SipAddress, bool]]:
        """All sockets in order; True for those whose INVITEs are to be signed."""
        return [
            (address, signing)
            for listeners, signing in ((self.originating, True), (self.terminating, False))
            for listener in listeners
            for address in sip_addresses(listener)
        ]
