"""SIP responses as octets (RFC 3261 section 8.2.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from zhenxian.core.errors import ParseError
from zhenxian.sip.advice import Action, Advice
from zhenxian.sip.fields import Via, parse_via
from zhenxian.sip.message import Head

ALLOW: Final = "Allow: INVITE, ACK, CANCEL, OPTIONS"
_RPORT = re.compile(r";\s*rport(?=\s*(?:;|\Z))", re.IGNORECASE)
_RECEIVED = re.compile(r";\s*received\s*=[^;]*", re.IGNORECASE)
_BREAKS = re.compile(r"[\r\n]")
_TAG = re.compile(r";\s*tag\s*=", re.IGNORECASE)
_PHRASES: Final = {
    200: "OK",
    300: "Multiple Choices",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    481: "Call/Transaction Does Not Exist",
    487: "Request Terminated",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
}
_REPEATED: Final = {"from": "From", "call-id": "Call-ID", "cseq": "CSeq"}


class Carried(str, Enum):
    """Where a redirection carries the header fields that a proxy is to add."""

    HEADER = "header"
    CONTACT = "contact"
    BOTH = "both"


class Redirection(Struct, frozen=True, kw_only=True):
    """How advice becomes a response.

    Attributes:
        go_on: the status of a call about which nothing is to be said: 302, 404 or 503.
        moved: the status of all others that go on: 302 or 300.
    """

    go_on: int = 302
    moved: int = 302
    carried: Carried = Carried.HEADER


class Origin(Struct, frozen=True):
    """Where a request came from."""

    host: str
    port: int
    transport: str


def response(
    head: Head,
    origin: Origin,
    code: int,
    phrase: str = "",
    *,
    tag: str = "",
    lines: Sequence[str] = (),
    via: Via | None = None,
) -> bytes:
    """A response; every line of the request that it repeats is repeated as it came.

    Args:
        tag: of To, where the request's has none; empty for a 100.
        lines: further header fields, in Unicode.
        via: the topmost one of the request, where it was read already.
    """
    parts = [f"SIP/2.0 {code} {phrase or _PHRASES[code]}"]
    fields = head.fields
    for at, value in enumerate(fields.get("via", ())):
        parts.append(f"Via: {value if at else _stamped(value, via, origin)}")
    parts += [f"{shown}: {fields[name][0]}" for name, shown in _REPEATED.items() if name in fields]
    for value in fields.get("to", ())[:1]:
        has = _TAG.search(value.rpartition(">")[2]) is not None
        parts.append(f"To: {value}" if has or not tag else f"To: {value};tag={tag}")
    if head.bare:  # to some, it would begin a header field of somebody else's making
        parts = [_BREAKS.sub(" ", part) for part in parts]
    octets = "\r\n".join(parts).encode("latin-1", "replace")
    added = "".join(f"\r\n{line}" for line in lines).encode()
    return b"%b%b\r\nContent-Length: 0\r\n\r\n" % (octets, added)


def answered(advice: Advice, head: Head, redirection: Redirection) -> tuple[int, str, list[str]]:
    """Status, phrase and header fields of the final response that says the advice."""
    if advice.action is Action.REJECT:
        return advice.code, advice.phrase, list(advice.headers)
    if advice.says_nothing and redirection.go_on >= 400:
        return redirection.go_on, _PHRASES[redirection.go_on], []
    # A response has the From, To and Date of its own: what the INVITE is to have of these stands
    # in Contact alone.
    lines = [line for line in advice.headers if not line.startswith("From:")]
    replies = list(advice.replies)
    contact = f"Contact: <{head.uri}>"
    if redirection.carried is not Carried.HEADER and head.uri[:4].lower() in ("sip:", "sips"):
        # No other URI can carry any (RFC 3261 section 19.1.1): there they stay header fields.
        embedded = "&".join(
            f"{name}={quote(value.strip(), safe='')}"
            for name, _, value in (line.partition(":") for line in lines)
        )
        if embedded:
            contact = f"Contact: <{head.uri}?{embedded}>"
        if redirection.carried is Carried.CONTACT:
            lines = []
    return redirection.moved, _PHRASES[redirection.moved], [contact, *lines, *replies]


def _stamped(text: str, found: Via | None, origin: Origin) -> str:
    """The topmost Via with where its request came from (RFC 3261 section 18.2.1, RFC 3581)."""
    if found is None:
        try:
            found = parse_via(text)
        except ParseError:
            return text
    if not found.rport and found.host.strip("[]") == origin.host:
        return text
    own, rest = text[: found.ends], text[found.ends :]
    own = _RECEIVED.sub("", own)
    if found.rport:
        own = _RPORT.sub(f";rport={origin.port}", own, count=1)
    return f"{own};received={origin.host}{rest}"
