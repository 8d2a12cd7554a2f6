"""HTTP messages of the two call routes: what is read of a request, and what goes back."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from zhenxian.api.auth import Peer

SIGNING: Final = "/stir/v1/signing"
VERIFICATION: Final = "/stir/v1/verification"
ROUTES: Final = {SIGNING: "signing", VERIFICATION: "verification"}
JSON: Final = b"application/json"


class Headers(Struct, kw_only=True):
    """The request headers that the two routes look at; values as received.

    Attributes:
        host: what the client calls us.
        connection: "close" or, for HTTP/1.0 only of consequence, "keep-alive".
        request_id: X-RequestID, which the proxy makes: it names the question.
        trace_id: X-Request-Id, which whatever is between may make anew for each attempt.
        unusual: of a field that only the ASGI way handles, or that must be looked at: a second
            Host, Transfer-Encoding, Expect, Upgrade, and what a browser says of its page.
        peer: the connection's client certificate; of no header.
        address: where the connection comes from; of no header.
    """

    content_type: bytes | None = None
    content_length: bytes | None = None
    accept: bytes | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    request_id: bytes | None = None
    trace_id: bytes | None = None
    host: bytes | None = None
    connection: bytes | None = None
    unusual: bytes | None = None
    peer: Peer | None = None
    address: str = ""

    @classmethod
    def of(cls, pairs: list[tuple[bytes, bytes]]) -> Headers:
        """Pick them out of lower-case names and values."""
        headers = cls()
        for name, value in pairs:
            attribute = _NAMES.get(name)
            if attribute is not None:
                if attribute is _HOST and headers.host is not None:
                    headers.unusual = value
                elif attribute is _ACCEPT and headers.accept is not None:
                    headers.accept += b"," + value  # RFC 9110 section 5.3
                else:
                    setattr(headers, attribute, value)
        return headers


_RANGES: Final = (b"*/*", b"application/*", JSON)  # the closer one last
_NEVER: Final = re.compile(rb"q=0(\.0*)?")
_HOST: Final = "host"
_ACCEPT: Final = "accept"
_UNUSUAL: Final = "unusual"
_NAMES: Final = {
    b"host": _HOST,
    b"connection": "connection",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"accept": _ACCEPT,
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"x-requestid": "request_id",
    b"x-request-id": "trace_id",
    b"transfer-encoding": _UNUSUAL,
    b"expect": _UNUSUAL,
    b"upgrade": _UNUSUAL,
    b"origin": _UNUSUAL,
    b"sec-fetch-site": _UNUSUAL,
}


class Answer(Struct, frozen=True, gc=False):
    """What goes back: HTTP status, JSON body, and X-RequestID, echoed or made."""

    status: int
    body: bytes
    request_id: bytes


class Foreign(Struct, frozen=True):
    """What goes back of another front end: all of it but the fields of the connection."""

    status: int
    fields: bytes  # lines after that of the status and Content-Length
    body: bytes


class Handed(Struct, frozen=True):
    """A request of another front end that its route is to answer, with its body."""

    body: bytes


class Incoming(Struct, frozen=True, gc=False):
    """One request to a per-call route, complete; `path` is the request target of any other."""

    path: str
    method: bytes
    headers: Headers
    body: bytes


def is_json(content_type: bytes) -> bool:
    """Whether a Content-Type names JSON."""
    return content_type.partition(b";")[0].strip().lower() == JSON


def accepts_json(accept: bytes) -> bool:
    """Whether an Accept field takes JSON (RFC 9110 section 12.5.1).

    The range that names it most closely decides; none is no wish.
    """
    best, wanted = -1, not accept.strip(b" \t,")
    for part in accept.split(b","):
        media, *parameters = (text.strip().lower() for text in part.split(b";"))
        if media in _RANGES and _RANGES.index(media) > best:
            best = _RANGES.index(media)
            wanted = not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return wanted
