"""Orders: instructions signed by who is entitled, acknowledgements signed by who obeys.

An instruction is a compact JWS (RFC 7515) with ES256 and the type "zhenxian-order+jwt". Its
number counts up with each issuer: what is older than the last one taken is a replay or a rollback
and is refused (registry.rules).
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from zhenxian.core.errors import ParseError, ZhenxianError, shown
from zhenxian.core.tn import TN, TNRange, undressed
from zhenxian.passport.json import dumps, loads
from zhenxian.passport.jws import SigningKey, Token, VerifyingKey, b64url_decode, b64url_encode
from zhenxian.passport.words import fault
from zhenxian.registry.kinds import Plan, load_plan
from zhenxian.registry.model import Order, TargetKind, Who, span

MAX_TOKEN: Final = 8_192  # octets; an instruction has some 500
MAX_AHEAD: Final = 300  # seconds an instruction's iat may lie ahead of this clock
_ORDER_TYPE: Final = "zhenxian-order+jwt"
_ACKNOWLEDGEMENT_TYPE: Final = "zhenxian-ack+jwt"
_MAX_TEXT: Final = 256  # characters of a reference, issuer or target
_MAX_ID: Final = 128  # characters of an order's id, which stands in the path of a URL
_MAX_SERIAL: Final = 40  # hexadecimal digits; 20 octets, RFC 5280 section 4.1.2.2
_SERIAL = re.compile(rf"0*([1-9A-Fa-f][0-9A-Fa-f]{{0,{_MAX_SERIAL - 1}}})\Z")
_MAX_TIME: Final = 253_402_300_799  # seconds since the epoch; the end of the year 9999
_ANY_TIME: Final = 2**62  # seconds; after every time an instruction may name


class Action(str, Enum):
    """What an instruction does."""

    STOP = "stop"
    LIFT = "lift"


class OrderFault(str, Enum):
    """Why an instruction is refused."""

    MALFORMED = "malformed"
    UNKNOWN_ISSUER = "unknown issuer"
    FORGED = "forged"
    NOT_ENTITLED = "not entitled"
    FROM_THE_FUTURE = "from the future"


class OrderRefusedError(ZhenxianError):
    """An instruction that is not obeyed."""

    def __init__(self, kind: OrderFault, detail: str) -> None:
        super().__init__(f"the order is refused ({kind.value}): {detail}")
        self.kind = kind


class Instruction(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an issuer signs. A member that is not known is refused: it might limit the rest.

    Attributes:
        order: id of the order it gives or lifts.
        number: the issuer's own counter, from 1.
        reference: the legal reference.
        target: as registry.model.Order.
        since, iat: seconds since the epoch.
    """

    action: Action
    order: str
    issuer: str
    number: int
    reference: str
    kind: TargetKind
    target: str
    since: int
    iat: int


class Issuer(Struct, frozen=True):
    """Who may give orders, about what, and the keys they sign with."""

    name: str
    keys: tuple[VerifyingKey, ...]
    may: frozenset[TargetKind] = frozenset(TargetKind)


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """A node's word that an order is in force there.

    Attributes:
        digest: SHA-256, hexadecimal, of the order's token and, when lifted, of the lift's.
        since: milliseconds since the epoch from which it was in force (or lifted) there.
        cursor: seq of the last commit the node had applied then.
    """

    order: str
    digest: str
    node: str
    since: int
    cursor: int


def sign_instruction(instruction: Instruction, key: SigningKey, kid: str) -> str:
    """Sign an instruction. `kid` is for people; keys are found by the issuer's name.

    Raises:
        OrderRefusedError: MALFORMED, naming the member.
    """
    canonical = _canonical(instruction)
    _global(canonical)
    return _signed(_ORDER_TYPE, asdict(canonical), key, kid)


def read_instruction(token: str, issuers: Mapping[str, Issuer], now: int) -> Instruction:
    """Read and check an instruction: form, issuer, signature, entitlement, time.

    Not checked: whether it is new (its number), which the registry's rules do.

    Raises:
        OrderRefusedError: says why.
    """
    parsed, instruction = _instruction(token)
    issuer = issuers.get(instruction.issuer)
    if issuer is None:
        raise OrderRefusedError(OrderFault.UNKNOWN_ISSUER, shown(instruction.issuer))
    if not any(_verifies(parsed, key) for key in issuer.keys):
        raise OrderRefusedError(OrderFault.FORGED, f"no key of {issuer.name} made its signature")
    if instruction.kind not in issuer.may:
        raise OrderRefusedError(
            OrderFault.NOT_ENTITLED, f"{issuer.name} may not stop a {instruction.kind.value}"
        )
    if now != _ANY_TIME:
        _global(instruction)
    if instruction.iat > now + MAX_AHEAD:
        raise OrderRefusedError(
            OrderFault.FROM_THE_FUTURE, f"iat is {instruction.iat - now} s ahead of this clock"
        )
    if instruction.action is Action.LIFT and instruction.since > now + MAX_AHEAD:
        raise OrderRefusedError(
            OrderFault.FROM_THE_FUTURE,
            f"it lifts {instruction.since - now} s from now; an order is lifted at once",
        )
    return instruction


def claimed(token: str) -> Instruction:
    """What a token says. Its form is checked; signature, issuer and time are not.

    Raises:
        OrderRefusedError: MALFORMED.
    """
    return _instruction(token)[1]


def order_of(instruction: Instruction, token: str) -> Order:
    """The record of an order that an instruction gives.

    Raises:
        OrderRefusedError: MALFORMED, when it gives none.
    """
    _must(instruction, Action.STOP)
    return Order(
        id=instruction.order,
        issuer=instruction.issuer,
        reference=instruction.reference,
        kind=instruction.kind,
        target=instruction.target,
        since=instruction.since,
        number=instruction.number,
        token=token,
    )


def lifted(order: Order, instruction: Instruction, token: str) -> Order:
    """The record of an order that an instruction lifts.

    Raises:
        OrderRefusedError: NOT_ENTITLED, when it names another order, issuer or target;
            MALFORMED, when it lifts none.
    """
    _must(instruction, Action.LIFT)
    if (order.id, order.issuer, order.kind, order.target) != (
        instruction.order,
        instruction.issuer,
        instruction.kind,
        instruction.target,
    ):
        raise OrderRefusedError(
            OrderFault.NOT_ENTITLED,
            f"order {order.id} is {order.issuer}'s and stops {order.kind.value} {order.target}",
        )
    return replace(
        order,
        number=instruction.number,
        lifted=instruction.since,
        lifted_by=instruction.issuer,
        lift_token=token,
    )


def unfounded(order: Order, before: Order | None, issuers: Mapping[str, Issuer]) -> str | None:
    """Why a record that somebody else wrote is no order; None when its tokens bear it out.

    Time is not judged again: whoever took the instruction did so.

    Args:
        before: the record of that order so far; None when it is new.
    """
    try:
        given = order_of(read_instruction(order.token, issuers, _ANY_TIME), order.token)
        if order.lifted is not None:
            lift = read_instruction(order.lift_token, issuers, _ANY_TIME)
            given = lifted(given, lift, order.lift_token)
    except OrderRefusedError as error:
        return str(error)
    if given != order:
        return "it is not what its tokens say"
    if before is not None and before != order and order.number <= before.number:
        return f"instruction {order.number} is older than {before.number}, which counts here"
    return None


def order_digest(order: Order) -> str:
    """What an acknowledgement of an order names."""
    return hashlib.sha256(f"{order.token}\n{order.lift_token}".encode()).hexdigest()


def sign_acknowledgement(acknowledgement: Acknowledgement, key: SigningKey, kid: str) -> str:
    """Sign an acknowledgement with the node's key; kid is its RFC 7638 thumbprint."""
    return _signed(_ACKNOWLEDGEMENT_TYPE, asdict(acknowledgement), key, kid)


def read_acknowledgement(token: str, order: Order, key: VerifyingKey) -> Acknowledgement:
    """Read and check an acknowledgement of this order as it now is.

    Raises:
        OrderRefusedError: not of this key, or of another order or state.
    """
    parsed, claims = _parsed(token, _ACKNOWLEDGEMENT_TYPE)
    try:
        found = msgspec.convert(claims, Acknowledgement)
    except msgspec.ValidationError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(fault(error))) from None
    if not _verifies(parsed, key):
        raise OrderRefusedError(OrderFault.FORGED, f"node {found.node} did not sign it")
    if (found.order, found.digest) != (order.id, order_digest(order)):
        raise OrderRefusedError(OrderFault.MALFORMED, "it acknowledges something else")
    return found


class OrderIndex:
    """Orders that are not lifted, found by whom or what they stop.

    Of several orders for one target only the oldest is kept: when that is not in force yet, none
    of the others is. Ranges are cut where one begins or ends, and each piece keeps the oldest
    order of those over it, so that nested and overlapping ranges cost one bisection. A national
    number with its country code (+86 95588) is found as calls are read, too: 95588.
    """

    __slots__ = (
        "_certificates",
        "_empty",
        "_numbers",
        "_ranges",
        "_resellers",
        "_spcs",
        "_subjects",
    )

    def __init__(self, orders: Iterable[Order]) -> None:
        named: dict[TargetKind, dict[str, Order]] = {kind: {} for kind in TargetKind}
        ranges: dict[int, list[tuple[str, str, Order]]] = {}
        longest = _plan().max_coded
        for order in orders:
            if order.lifted is not None:
                continue
            if order.kind is TargetKind.RANGE:
                first, _, last = order.target.partition("-")
                spans = [(first, last or first)]
                if len(first) <= longest:
                    spans += _as_read(first, last or first)
                for begin, end in spans:
                    ranges.setdefault(len(begin), []).append((begin, end, order))
                continue
            table = named[order.kind]
            table[order.target] = min(table.get(order.target, order), order, key=_age)
            if order.kind is TargetKind.NUMBER and len(order.target) <= longest:
                for number, _ in _as_read(order.target, order.target):
                    table[number] = min(table.get(number, order), order, key=_age)
        self._subjects = named[TargetKind.SUBJECT]
        self._resellers = named[TargetKind.RESELLER]
        self._spcs = named[TargetKind.SPC]
        self._numbers = named[TargetKind.NUMBER]
        self._certificates = named[TargetKind.CERTIFICATE]
        self._ranges = {length: _pieces(rows) for length, rows in ranges.items()}
        self._empty = not ranges and not any(named.values())

    def find(self, who: Who, now: int) -> Order | None:
        """The oldest order in force that covers any of these; None when there is none."""
        if self._empty:
            return None
        # Every call comes by here: a loop over the tables would cost half as much again.
        oldest: Order | None = None
        table = self._subjects
        if table:
            for name in who.subjects:
                if name in table:
                    oldest = _older(table[name], oldest)
        table = self._resellers
        if table:
            for name in who.resellers:
                if name in table:
                    oldest = _older(table[name], oldest)
        table = self._spcs
        if table:
            for name in who.spcs:
                if name in table:
                    oldest = _older(table[name], oldest)
        table = self._certificates
        if table and who.serial in table:
            oldest = _older(table[who.serial], oldest)
        table = self._numbers
        ranges = self._ranges
        if table or ranges:
            for number in who.numbers:
                if number in table:
                    oldest = _older(table[number], oldest)
                pieces = ranges.get(len(number))
                if pieces is not None:
                    order = pieces[1][bisect_right(pieces[0], number)]
                    if order is not None:
                        oldest = _older(order, oldest)
        return oldest if oldest is not None and oldest.since <= now else None


def _older(order: Order, other: Order | None) -> Order:
    return order if other is None or _age(order) < _age(other) else other


def _age(order: Order) -> tuple[int, str]:
    return order.since, order.id


def _pieces(rows: list[tuple[str, str, Order]]) -> tuple[list[str], list[Order | None]]:
    """Where pieces begin, and the oldest order over each; the first piece is what lies before.

    A range ends at its last number with "~" behind it, which sorts after that number and before
    all greater ones of the same length.
    """
    rows = sorted(rows, key=lambda row: row[0])
    cuts = sorted({cut for first, last, _ in rows for cut in (first, last + "~")})
    oldest: list[Order | None] = [None]
    over: list[tuple[int, str, int, str, Order]] = []  # a heap by age; ended ones go when on top
    following = 0
    for cut in cuts:
        while following < len(rows) and rows[following][0] <= cut:
            _, last, order = rows[following]
            heapq.heappush(over, (*_age(order), following, last, order))
            following += 1
        while over and over[0][3] < cut:
            heapq.heappop(over)
        oldest.append(over[0][4] if over else None)
    return cuts, oldest


def _instruction(text: str) -> tuple[Token, Instruction]:
    token, claims = _parsed(text, _ORDER_TYPE)
    try:
        return token, _canonical(msgspec.convert(claims, Instruction))
    except msgspec.ValidationError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(fault(error))) from None


def _canonical(instruction: Instruction) -> Instruction:
    for name in ("order", "issuer", "reference", "target"):
        value = getattr(instruction, name)
        if not value or len(value) > _MAX_TEXT or not value.isprintable():
            raise OrderRefusedError(
                OrderFault.MALFORMED, f"{name}: 1 to {_MAX_TEXT} printable characters expected"
            )
    if len(instruction.order) > _MAX_ID or "/" in instruction.order:
        raise OrderRefusedError(
            OrderFault.MALFORMED, f"order: at most {_MAX_ID} characters expected, and no /"
        )
    moments = (instruction.since, instruction.iat)
    if instruction.number < 1 or min(moments) < 0 or max(moments) > _MAX_TIME:
        raise OrderRefusedError(OrderFault.MALFORMED, "number, since or iat is out of range")
    target = instruction.target
    try:
        if instruction.kind is TargetKind.NUMBER:
            target = str(_number(target))
        elif instruction.kind is TargetKind.RANGE:
            first, _, last = target.partition("-")
            begin = _number(first)
            target = span(TNRange(begin, _number(last) if last else begin))
        elif instruction.kind is TargetKind.CERTIFICATE:
            target = _serial(target)
    except ParseError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(error)) from None
    return replace(instruction, target=target)


def _number(text: str) -> TN:
    """As written. Orders given before numbers that begin with 0 were refused are read on."""
    digits = undressed(text)
    if digits.startswith("0"):
        return TN(digits)
    try:
        return TN.parse(text, where="target")
    except ParseError:
        form = _plan().national_form(digits.removeprefix("+"))
        if form is None:
            raise
        return TN(form)


@lru_cache(maxsize=1)
def _plan() -> Plan:
    return load_plan()


def _as_read(first: str, last: str) -> list[tuple[str, str]]:
    """A range as calls are read, where an order has it otherwise: +86 95588 is 95588."""
    begin, end = _plan().national_form(first), _plan().national_form(last)
    if begin is None or end is None or not (begin.isdecimal() and end.isdecimal()):
        return []
    same = len(begin) == len(end) and int(end) - int(begin) == int(last) - int(first)
    return [(begin, end)] if same else []


def _global(instruction: Instruction) -> None:
    """Refuse to stop a number that no call can show: the order would have no effect."""
    numbers = instruction.kind in (TargetKind.NUMBER, TargetKind.RANGE)
    if instruction.action is Action.STOP and numbers and instruction.target.startswith("0"):
        raise OrderRefusedError(
            OrderFault.MALFORMED,
            "target: no E.164 number begins with 0; a number with its country code expected",
        )


def _must(instruction: Instruction, action: Action) -> None:
    if instruction.action is not action:
        raise OrderRefusedError(
            OrderFault.MALFORMED, f"it is to {action.value}, and says {instruction.action.value}"
        )


def _serial(text: str) -> str:
    match = _SERIAL.match(text)
    if match is None:
        raise OrderRefusedError(
            OrderFault.MALFORMED, "target: a positive serial number in hexadecimal expected"
        )
    return match[1].upper()


def _signed(kind: str, claims: dict[str, Any], key: SigningKey, kid: str) -> str:
    header = b64url_encode(dumps({"alg": "ES256", "kid": kid, "typ": kind}))
    payload = b64url_encode(dumps(claims))
    signature = b64url_encode(key.sign(header + b"." + payload))
    return Token(header, payload, signature).dumps().decode()


def _parsed(text: str, kind: str) -> tuple[Token, dict[str, Any]]:
    """Split and decode; nothing is believed yet."""
    if len(text) > MAX_TOKEN or not text.isascii():
        raise OrderRefusedError(
            OrderFault.MALFORMED, f"not a token of at most {MAX_TOKEN} ASCII characters"
        )
    try:
        token = Token.parse(text.encode())
        header = loads(b64url_decode(token.header, "header"), "header")
        claims = loads(b64url_decode(token.payload, "payload"), "payload")
    except ParseError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(error)) from None
    if header.get("alg") != "ES256" or header.get("typ") != kind or "crit" in header:
        raise OrderRefusedError(OrderFault.MALFORMED, f"not an ES256 token of type {kind}")
    return token, claims


def _verifies(token: Token, key: VerifyingKey) -> bool:
    try:
        return key.verifies(token.signing_input, token.signature_octets)
    except ParseError:
        return False
