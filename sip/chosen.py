"""Which header fields of an INVITE say who calls whom, decided here and nowhere else.

| what             | is read of                                                                   |
|------------------|------------------------------------------------------------------------------|
| the display      | P-Asserted-Identity, else From (RFC 8224 section 8, ATIS-1000074); by        |
|                  | setting From, and P-Asserted-Identity where From is withheld                 |
| who is called    | To (RFC 8224 section 6.1), or the Request-URI by setting; an emergency call  |
|                  | by either                                                                    |
| when             | Date, where it is one; signing takes the present                             |
| whether withheld | Privacy with id, user or header (RFC 3323 section 4.2, RFC 3325 section 9.3) |
|                  | or a From that is anonymous                                                  |
| who forwarded    | Diversion and History-Info, handed on as they are                            |
| tokens           | every Identity value, repeated or comma-joined                               |
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from zhenxian.calls.help import elsewhere, perhaps
from zhenxian.core.errors import ParseError
from zhenxian.core.header_fields import parse_addresses, parse_date, plain, syntax
from zhenxian.core.reading import Reading
from zhenxian.core.tn import ANONYMOUS, TN, URI, Private
from zhenxian.signer.request import Forwarding
from zhenxian.sip.message import SipRequest

_WITHHELD: Final = frozenset({"id", "user", "header"})


class Caller(str, Enum):
    """Which field the display is read of first."""

    ASSERTED = "asserted"
    FROM = "from"


class Callee(str, Enum):
    """Which field says who is called."""

    TO = "to"
    REQUEST_URI = "request-uri"


class Choice(Struct, frozen=True, kw_only=True):
    """Settings of what counts."""

    caller: Caller = Caller.ASSERTED
    callee: Callee = Callee.TO
    reading: Reading = Reading()


class Parties(Struct, frozen=True, kw_only=True):
    """Who calls whom, as an INVITE has it.

    Attributes:
        orig: the display that is signed or verified; ANONYMOUS where nobody is named.
        other: the number of the other field, where From and P-Asserted-Identity name two.
        beside: From has another number than the display; phones that show From show that one.
        to: who is called.
        target: who the Request-URI names; None where it cannot be read.
        emergency: an emergency number or service is called.
        diverted_help: To alone calls for help, and the Request-URI goes to a subscriber, or cannot
            be read.
        withheld: the callee is not to see who calls.
        unread: what of the caller could not be read, as a sentence; None for nothing.
    """

    orig: TN | URI
    to: tuple[TN | URI, ...]
    target: TN | URI | None = None
    other: TN | None = None
    beside: bool = False
    emergency: bool = False
    diverted_help: bool = False
    withheld: bool = False
    unread: str | None = None


def parties(request: SipRequest, choice: Choice) -> Parties:
    """Who calls whom.

    Raises:
        ParseError: the caller or the callee cannot be read, and it is no call for help.
    """
    reading = choice.reading
    target = _read(request.uri, "Request-URI", reading)
    called = target if choice.callee is Callee.REQUEST_URI else None
    if called is None:
        called = _read(request.to.uri, "To", reading)
    emergency = any(
        not isinstance(one, ParseError) and reading.emergency(one) for one in (target, called)
    )
    if isinstance(called, ParseError):
        if not emergency or isinstance(target, ParseError):
            raise called
        called = target
    known = None if isinstance(target, ParseError) else target
    withheld, unread, other = _wants_privacy(request), None, None
    sender = _read(request.from_.uri, "From", reading)
    if not isinstance(sender, ParseError) and _is_withheld(sender):
        withheld = True
    try:
        orig, other = _caller(sender, _asserted(request, reading), choice.caller)
        orig = reading.shown(orig, "From")
    except ParseError as error:
        if not emergency:
            raise
        orig, unread = ANONYMOUS, f"{error.where} could not be read"
    return Parties(
        orig=orig,
        to=(called,),
        target=known,
        other=other,
        beside=other is not None and other == sender,
        emergency=emergency,
        diverted_help=(
            emergency if known is None else elsewhere((called,), known, reading.emergency)
        ),
        withheld=withheld,
        unread=unread,
    )


def may_be_for_help(who: Parties, reading: Reading) -> bool:
    """Whether a call that would be rejected may be one for help, and so is not rejected."""
    return who.emergency or perhaps(who.to, who.target, reading.emergency)


def date_of(request: SipRequest) -> int | None:
    """Seconds since the epoch of Date; None where it is not there, or none."""
    value = request.head.first("date")
    if value is None:
        return None
    try:
        return parse_date(value)
    except ParseError:
        return None


def forwarding_of(request: SipRequest, who: Parties, reading: Reading) -> Forwarding | None:
    """What says that the call is forwarded (RFC 8946); None for nothing.

    A Diversion or a History-Info says it, and so does a token that came with a call that goes to
    another than To. The hop before the present one forwards: the first Diversion (RFC 5806), or the
    entry that the last one of History-Info was made from (RFC 7044).
    """
    diverting, hi = _diverting(request, reading)
    moved = who.target is not None and who.target not in who.to
    if diverting is None and not (moved and request.identities):
        return None
    return Forwarding(
        identities=request.identities, diverting=diverting, hi=hi, call_id=request.call_id
    )


def _diverting(request: SipRequest, reading: Reading) -> tuple[TN | URI | None, str | None]:
    """Who forwards, and the index of its entry in History-Info; what cannot be read is nobody."""
    fields = request.head.fields
    if "diversion" not in fields and "history-info" not in fields:
        return None, None
    try:
        for address in parse_addresses(request.all("diversion"), "Diversion"):
            return reading.identity(plain(address.uri), "Diversion"), None
        entries = list(parse_addresses(request.all("history-info"), "History-Info"))
        for entry in reversed(entries):
            index = entry.parameter("mp") or entry.parameter("rc")
            for earlier in entries:
                if index and earlier.parameter("index") == index:
                    uri = plain(earlier.uri).partition("?")[0]
                    return reading.identity(uri, "History-Info"), index
    except ParseError:
        pass
    return None, None


def _read(uri: str, where: str, reading: Reading) -> TN | URI | ParseError:
    try:
        return reading.identity(plain(uri), where)
    except ParseError as error:
        return error


def _asserted(request: SipRequest, reading: Reading) -> TN | URI | None:
    """Who is asserted: of a SIP and a tel URI (RFC 3325 section 9.1) the number.

    Raises:
        ParseError: two numbers are asserted, or one that cannot be read.
    """
    where = "P-Asserted-Identity"
    values = request.all("p-asserted-identity")
    if not values:
        return None
    found = [reading.identity(plain(each.uri), where) for each in parse_addresses(values, where)]
    numbers = dict.fromkeys(one for one in found if isinstance(one, TN))
    if len(numbers) > 1:
        raise syntax(where, "two different numbers are asserted")
    for number in numbers:
        return number
    return found[0]


def _caller(
    sender: TN | URI | ParseError, asserted: TN | URI | None, first: Caller
) -> tuple[TN | URI, TN | None]:
    """The display, and the number that the other field names beside it."""
    if asserted is None or _is_withheld(asserted):
        if isinstance(sender, ParseError):
            raise sender
        return sender, None
    if first is Caller.FROM and not isinstance(sender, ParseError) and not _is_withheld(sender):
        other = asserted if isinstance(asserted, TN) and asserted != sender else None
        return sender, other
    other = sender if isinstance(sender, TN) and sender != asserted else None
    return asserted, other


def _is_withheld(identity: TN | URI) -> bool:
    return identity is ANONYMOUS or (isinstance(identity, Private) and identity == ANONYMOUS)


def _wants_privacy(request: SipRequest) -> bool:
    for value in request.all("privacy"):
        if not _WITHHELD.isdisjoint(value.lower().replace(" ", "").replace(",", ";").split(";")):
            return True
    return False
