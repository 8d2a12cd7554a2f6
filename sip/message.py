"""SIP messages as they arrive: octets become frozen values once (RFC 3261 sections 7 and 25).

`read_head` needs a first line and header fields, and tells what an answer repeats; `request_of`
then looks at what they say. So whoever sends a request with one bad field is told which.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.header_fields import Address, parse_address, plain, syntax
from zhenxian.sip.fields import Via, is_token, parse_cseq, parse_via

MAX_MESSAGE: Final = 65_535  # octets; what one datagram may have
MAX_FIELDS: Final = 256

_COMPACT: Final = {  # the registry of SIP header field names and their compact forms
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
COMPACT: Final = {long: short for short, long in _COMPACT.items()}
_ONCE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "date")
_FOLD = re.compile(r"\r\n[ \t]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!#-;=?-~]+\Z")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+\Z", re.IGNORECASE)
_CALL_ID = re.compile(r"[^\s@]+(?:@[^\s@]+)?\Z")
_LENGTH = re.compile(r"[0-9]{1,9}\Z")
_LENGTH_LINE = re.compile(rb"^[ \t]*(?:content-length|l)[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
_HOPS = re.compile(r"[0-9]{1,10}\Z")
_BETWEEN = re.compile(r"\s*,\s*")
_LONGEST_NAME: Final = 64  # characters of a header field's name that is remembered
_USUAL_ACK = re.compile(rb"ACK [^\r\n]+ SIP/2\.0\r\nVia: ([^\r\n]*)\r\n(?![ \t])")
_ACK = re.compile(  # its first Via, on one line
    rb"ACK [^\r\n]+ SIP/2\.0\r\n"
    rb"(?:(?!(?:via|v)[ \t]*:)[^\r\n]+\r\n)*"
    rb"(?:via|v)[ \t]*:([^\r\n]*)\r\n(?![ \t])",
    re.IGNORECASE,
)

Fields = dict[str, list[str]]


class Head(Struct, frozen=True, kw_only=True):
    """First line and header fields; octets stand as Latin-1 characters.

    Attributes:
        method: of a request; of a response empty.
        uri: the Request-URI as it stands.
        version: the last word of a request's first line.
        fields: values by long name in lower case, unfolded, in order of reception.
        body: what stands behind the empty line.
        bare: whether a CR or LF alone stands in the head.
    """

    method: str
    uri: str
    version: str
    fields: Fields
    body: bytes
    bare: bool = False

    def first(self, name: str) -> str | None:
        """The first value of a header field."""
        values = self.fields.get(name)
        return values[0] if values else None


class SipRequest(Struct, frozen=True, kw_only=True):
    """A request that follows the grammar, as far as we look.

    Attributes:
        number: of CSeq.
        from_tag, to_tag: empty for none.
    """

    head: Head
    via: Via
    from_: Address
    to: Address
    call_id: str
    number: int
    from_tag: str = ""
    to_tag: str = ""

    @property
    def method(self) -> str:
        """Its method."""
        return self.head.method

    @property
    def uri(self) -> str:
        """Its Request-URI."""
        return self.head.uri

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a header field, lower-case long name."""
        return tuple(self.head.fields.get(name, ()))

    @property
    def identities(self) -> tuple[str, ...]:
        """The Identity fields as they came; each may have several values, comma-joined."""
        return tuple([plain(value) for value in self.head.fields.get("identity", ()) if value])


def read_head(data: bytes) -> Head:
    """The head of a message. Raises ParseError for what nobody could be answered about."""
    head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not end:
        if not head.endswith(b"\r\n"):
            raise syntax("message", "no empty line ends the header fields")
        head = head[:-2]
    text = head.decode("latin-1")
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)
    lines = text.split("\r\n")
    fields: Fields = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        # A line without a name says nothing; what it might have said is missed by request_of.
        name = (_named if len(name) <= _LONGEST_NAME else _name)(name) if colon else ""
        values = fields.get(name)
        if values is None:
            fields[name] = [value.strip(" \t")]
        else:
            values.append(value.strip(" \t"))
    method, _, rest = lines[0].partition(" ")
    uri, _, version = rest.rpartition(" ")
    if _VERSION.match(method) is not None:
        method, uri, version = "", "", method
    ends = len(lines) - 1
    bare = text.count("\r") != ends or text.count("\n") != ends
    return Head(method=method, uri=uri, version=version, fields=fields, body=body, bare=bare)


def _name(told: str) -> str:
    """The long name in lower case of what stands before a colon; empty for no name."""
    name = told.rstrip(" \t").lower()
    return _COMPACT.get(name, name) if is_token(name) else ""


_named = lru_cache(1024)(_name)


def acknowledged(data: bytes) -> Via | None:
    """The topmost Via of an ACK, which is all that is asked of one; None for what must be read.

    It is that of the INVITE (RFC 3261 section 17.1.1.3), and stands on a line of its own.
    """
    found = _USUAL_ACK.match(data) or _ACK.match(data)
    if found is None or not data.startswith(b"ACK"):
        return None
    try:
        return parse_via(found[1].decode("latin-1").strip(" \t"))
    except ParseError:
        return None


def request_of(head: Head, via: Via | None = None, *, framed: bool = False) -> SipRequest:
    """The request that a head is of.

    Args:
        via: the topmost one, where it was read already.
        framed: the body was cut out by Content-Length already, as it is on a connection.

    Raises:
        ParseError: SIP_SYNTAX names the header field.
    """
    fields = head.fields
    if sum(map(len, fields.values())) > MAX_FIELDS:
        raise syntax("message", f"more than {MAX_FIELDS} header fields")
    if not is_token(head.method):
        raise syntax("Request-Line", f"{shown(plain(head.method))} is no method")
    if _URI.match(head.uri) is None:
        raise syntax("Request-URI", f"{shown(plain(head.uri))} is no URI")
    if "?" in head.uri.rpartition("@")[2] and head.uri[:3].lower() == "sip":
        raise syntax("Request-URI", "it has header fields, which RFC 3261 section 19.1.1 forbids")
    if "" in fields:
        raise syntax("header", "a line is no header field")
    if head.bare:
        # Some read it as the end of a line, and would see other header fields than we.
        raise syntax("header", "a CR or LF alone stands in a value")
    for name in _ONCE:
        if len(fields.get(name, ())) > 1:
            raise syntax(name, "it stands twice")
    call_id, cseq, vias = head.first("call-id"), head.first("cseq"), head.first("via")
    sender, called = head.first("from"), head.first("to")
    if vias is None or sender is None or called is None or call_id is None or cseq is None:
        lacking = {"Via": vias, "From": sender, "To": called, "Call-ID": call_id, "CSeq": cseq}
        raise syntax(next(name for name, value in lacking.items() if value is None), "missing")
    if via is None:
        via = parse_via(vias)
    if _CALL_ID.match(call_id) is None:
        raise syntax("Call-ID", f"{shown(plain(call_id))} is no Call-ID")
    number, method = parse_cseq(cseq)
    if method != head.method:
        raise syntax("CSeq", f"{method} is not the method {head.method}")
    hops = head.first("max-forwards")
    if hops is not None and (_HOPS.match(hops) is None or int(hops) > 255):
        raise syntax("Max-Forwards", f"{shown(plain(hops))} is not 0 to 255")
    _check_length(head, framed=framed)
    from_, to = parse_address(sender, "From"), parse_address(called, "To")
    return SipRequest(
        head=head,
        via=via,
        from_=from_,
        to=to,
        call_id=call_id,
        number=number,
        from_tag=from_.parameter("tag") or "",
        to_tag=to.parameter("tag") or "",
    )


def content_length(head: Head) -> int | None:
    """What Content-Length says; None for none. Raises ParseError for what is no length."""
    value = head.first("content-length")
    if value is None:
        return None
    if _LENGTH.match(value) is None:
        raise syntax("Content-Length", f"{shown(plain(value))} is no length")
    return int(value)


def framed_length(octets: bytes) -> int:
    """How long the body behind a head is on a connection.

    Raises:
        ParseError: it does not say, or not to all who read it: whoever takes a line for another
            than we do, sees another message begin.
    """
    head = read_head(octets)
    told = set(head.fields.get("content-length", ()))
    ends = octets.count(b"\r\n")
    if octets.count(b"\r") != ends or octets.count(b"\n") != ends:
        lines = octets[:-2].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n\n" in lines:
            raise syntax("header", "where it ends, a CR or LF alone leaves open")
        told |= {value.decode("latin-1").strip() for value in _LENGTH_LINE.findall(lines)}
    if len(told) != 1:
        raise syntax("Content-Length", "two of them are told" if told else "missing")
    return content_length(head) or 0


def _check_length(head: Head, *, framed: bool) -> None:
    length = content_length(head)
    if not framed and length is not None and length > len(head.body):
        raise syntax("Content-Length", f"{length} octets are told, and fewer came")


def required(head: Head) -> tuple[str, ...]:
    """The option tags of Require."""
    return tuple(
        tag
        for value in head.fields.get("require", ())
        for tag in _BETWEEN.split(value.strip())
        if tag
    )


def parse(data: bytes) -> SipRequest:
    """A complete request as it came, such as Kamailio's $mb. Raises ParseError."""
    if len(data) > MAX_MESSAGE:
        raise syntax("message", f"more than {MAX_MESSAGE} octets")
    if b"\r" not in data:  # a file with the ends of lines of this system
        data = data.replace(b"\n", b"\r\n")
    head = read_head(data)
    if not head.method:
        raise syntax("Request-Line", "it is a response")
    if head.version.upper() != "SIP/2.0":
        raise syntax("Request-Line", f"{shown(plain(head.version))} is not SIP/2.0")
    return request_of(head)
