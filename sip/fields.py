"""Header field values of SIP that say how a request came: Via, CSeq (RFC 3261 section 25)."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from zhenxian.core.errors import shown
from zhenxian.core.header_fields import WORD, parse_parameters, plain, syntax

MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 section 8.1.1.5

_NAME = re.compile(rf"{WORD}\Z")
_VIA = re.compile(
    rf"\s*SIP\s*/\s*2\.0\s*/\s*(?P<transport>{WORD})\s+"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?:\s*:\s*(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)
_USUAL_VIA = re.compile(  # as nearly every request has it, with nothing behind it
    rf"SIP/2\.0/(UDP|TCP|TLS) ([a-z0-9.\-]+)(?::([1-9][0-9]{{0,3}}|[1-5][0-9]{{4}}))?"
    rf";branch=({WORD})(;rport)?(?:;i=[0-9a-f]+)?\Z"
)
_CSEQ = re.compile(rf"([0-9]{{1,10}})\s+({WORD})\Z")


class Via(Struct, frozen=True, kw_only=True):
    """The topmost Via value: who sent the request, and where the answer goes.

    Attributes:
        branch: empty for a client of RFC 2543.
        rport: whether the answer is to go to the port that the request came from (RFC 3581).
        ends: where the value ends in its header field, which may have further ones.
    """

    transport: str
    host: str
    port: int | None = None
    branch: str = ""
    rport: bool = False
    ends: int = 0


def is_token(text: str) -> bool:
    """Whether a text is a token (RFC 3261 section 25.1)."""
    return _NAME.match(text) is not None


def parse_via(text: str) -> Via:
    """The first of the Via values of a header field. Raises ParseError."""
    usual = _USUAL_VIA.match(text)
    if usual is not None:
        transport, host, number, branch, rport = usual.groups()
        return Via(
            transport=transport,
            host=host,
            port=int(number) if number is not None else None,
            branch=branch,
            rport=rport is not None,
            ends=len(text),
        )
    match = _VIA.match(text)
    if match is None:
        raise syntax("Via", f"{shown(plain(text))} is no Via")
    parameters, end = parse_parameters(text, match.end(), "Via")
    if text[end:].lstrip(" \t")[:1] not in ("", ","):
        raise syntax("Via", f"{shown(plain(text[end:]))} stands behind it")
    given = dict(parameters)
    port = match["port"]
    if port is not None and not 0 < int(port) <= 65535:
        raise syntax("Via", f"{port} is no port")
    return Via(
        transport=match["transport"].upper(),
        host=match["host"].lower(),
        port=int(port) if port is not None else None,
        branch=given.get("branch") or "",
        rport="rport" in given,
        ends=end,
    )


def parse_cseq(text: str) -> tuple[int, str]:
    """Number and method. Raises ParseError."""
    match = _CSEQ.match(text)
    if match is None or int(match[1]) > MAX_CSEQ:
        raise syntax("CSeq", f"{shown(plain(text))} is no sequence number and method")
    return int(match[1]), match[2]
