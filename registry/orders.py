"""Orders: instructions signed by who is entitled, acknowledgements signed by who obeys.

An instruction is a compact JWS (RFC 7515) with ES256 and the type "zhenxian-order+jwt". Its
number counts up with each issuer: what is older than the last one taken is a replay or a rollback
and is refused (registry.rules).
"""

from __future__ import annotations

import hashlib
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Struct
from msgspec.structs import asdict, replace

from passport.errors import ConfigError, ParseError, ZhenxianError, shown
from passport.json import dumps, loads
from passport.jws import SigningKey, Token, VerifyingKey, b64url_decode, b64url_encode
from passport.tn import TN, TNRange
from registry.model import Order, TargetKind, Who, span

MAX_TOKEN: Final = 8_192  # octets; an instruction has some 500
MAX_AHEAD: Final = 300  # seconds an instruction's iat may lie ahead of this clock
_ORDER_TYPE: Final = "zhenxian-order+jwt"
_ACKNOWLEDGEMENT_TYPE: Final = "zhenxian-ack+jwt"
_MAX_TEXT: Final = 256  # characters of ids and references


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


class Instruction(Struct, frozen=True):
    """What an issuer signs.

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


class Acknowledgement(Struct, frozen=True):
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
    return _signed(_ORDER_TYPE, asdict(_canonical(instruction)), key, kid)


def read_instruction(token: str, issuers: Mapping[str, Issuer], now: int) -> Instruction:
    """Read and check an instruction: form, issuer, signature, entitlement, time.

    Not checked: whether it is new (its number), which the registry's rules do.

    Raises:
        OrderRefusedError: says why.
    """
    parsed, claims = _parsed(token, _ORDER_TYPE)
    try:
        instruction = _canonical(msgspec.convert(claims, Instruction))
    except msgspec.ValidationError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(error)) from None
    issuer = issuers.get(instruction.issuer)
    if issuer is None:
        raise OrderRefusedError(OrderFault.UNKNOWN_ISSUER, shown(instruction.issuer))
    if not any(_verifies(parsed, key) for key in issuer.keys):
        raise OrderRefusedError(OrderFault.FORGED, f"no key of {issuer.name} made its signature")
    if instruction.kind not in issuer.may:
        raise OrderRefusedError(
            OrderFault.NOT_ENTITLED, f"{issuer.name} may not stop a {instruction.kind.value}"
        )
    if instruction.iat > now + MAX_AHEAD:
        raise OrderRefusedError(
            OrderFault.FROM_THE_FUTURE, f"iat is {instruction.iat - now} s ahead of this clock"
        )
    return instruction


def order_of(instruction: Instruction, token: str) -> Order:
    """The record of an order that an instruction gives."""
    return Order(
        instruction.order,
        instruction.issuer,
        instruction.reference,
        instruction.kind,
        instruction.target,
        instruction.since,
        instruction.number,
        token,
    )


def lifted(order: Order, instruction: Instruction, token: str) -> Order:
    """The record of an order that an instruction lifts.

    Raises:
        OrderRefusedError: NOT_ENTITLED, when the order is somebody else's or another target's.
    """
    if (order.issuer, order.kind, order.target) != (
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
        raise OrderRefusedError(OrderFault.MALFORMED, str(error)) from None
    if not _verifies(parsed, key):
        raise OrderRefusedError(OrderFault.FORGED, f"node {found.node} did not sign it")
    if (found.order, found.digest) != (order.id, order_digest(order)):
        raise OrderRefusedError(OrderFault.MALFORMED, "it acknowledges something else")
    return found


def load_issuers(path: Path | None) -> dict[str, Issuer]:
    """Read who may give orders: TOML, [[issuer]] with name, key (a PEM file), may (target kinds).

    Key paths are taken from the file's folder; `key` may be a list. No file: nobody may.

    Raises:
        ConfigError: names the entry.
    """
    if path is None:
        return {}
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("issuer", [])
    except (OSError, ValueError) as error:
        raise ConfigError(f"issuers {path}: {error}") from None
    issuers: dict[str, Issuer] = {}
    for number, entry in enumerate(entries, 1):
        try:
            name, files = entry["name"], entry["key"]
            files = [files] if isinstance(files, str) else files
            keys = tuple(_public_key(path.parent / file) for file in files)
            may = frozenset(TargetKind(kind) for kind in entry.get("may", list(TargetKind)))
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise ConfigError(f"issuers {path}, entry {number}: {error}") from None
        issuers[name] = Issuer(name, keys, may)
    return issuers


class OrderIndex:
    """Orders that are not lifted, found by whom or what they stop."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._named: dict[tuple[TargetKind, str], list[Order]] = {}
        ranges: dict[int, list[tuple[str, str, Order]]] = {}
        for order in orders:
            if order.lifted is not None:
                continue
            if order.kind is TargetKind.RANGE:
                first, _, last = order.target.partition("-")
                ranges.setdefault(len(first), []).append((first, last or first, order))
            else:
                self._named.setdefault((order.kind, order.target), []).append(order)
        # By length: sorted firsts, the rows, and the greatest last so far, which ends the search.
        self._ranges: dict[int, tuple[list[str], list[tuple[str, str, Order]], list[str]]] = {}
        for length, rows in ranges.items():
            rows.sort(key=lambda row: (row[0], row[1]))
            greatest: list[str] = []
            for _, last, _ in rows:
                greatest.append(max(last, greatest[-1]) if greatest else last)
            self._ranges[length] = ([row[0] for row in rows], rows, greatest)
        self._empty = not self._named and not self._ranges

    def find(self, who: Who, now: int) -> Order | None:
        """The oldest order in force that covers any of these; None when there is none."""
        if self._empty:
            return None
        found: list[Order] = []
        named = self._named
        if named:
            for kind, names in (
                (TargetKind.SUBJECT, who.subjects),
                (TargetKind.RESELLER, who.resellers),
                (TargetKind.SPC, who.spcs),
                (TargetKind.NUMBER, who.numbers),
                (TargetKind.CERTIFICATE, (who.serial,)),
            ):
                for name in names:
                    orders = named.get((kind, name))
                    if orders is not None:
                        found.extend(orders)
        for number in who.numbers:
            table = self._ranges.get(len(number))
            if table is None:
                continue
            firsts, rows, greatest = table
            index = bisect_right(firsts, number) - 1
            while index >= 0 and greatest[index] >= number:
                if rows[index][1] >= number:
                    found.append(rows[index][2])
                index -= 1
        in_force = [order for order in found if order.since <= now]
        return min(in_force, key=lambda o: (o.since, o.id)) if in_force else None


def _canonical(instruction: Instruction) -> Instruction:
    for name in ("order", "issuer", "reference", "target"):
        value = getattr(instruction, name)
        if not value or len(value) > _MAX_TEXT or not value.isprintable():
            raise OrderRefusedError(
                OrderFault.MALFORMED, f"{name}: 1 to {_MAX_TEXT} printable characters expected"
            )
    if instruction.number < 1 or min(instruction.since, instruction.iat) < 0:
        raise OrderRefusedError(OrderFault.MALFORMED, "number, since or iat is out of range")
    target = instruction.target
    try:
        if instruction.kind is TargetKind.NUMBER:
            target = str(TN.parse(target, where="target"))
        elif instruction.kind is TargetKind.RANGE:
            first, _, last = target.partition("-")
            begin = TN.parse(first, where="target")
            target = span(TNRange(begin, TN.parse(last, where="target") if last else begin))
        elif instruction.kind is TargetKind.CERTIFICATE:
            target = f"{int(target, 16):X}"
    except ParseError as error:
        raise OrderRefusedError(OrderFault.MALFORMED, str(error)) from None
    except ValueError:
        raise OrderRefusedError(
            OrderFault.MALFORMED, "target: a serial number in hexadecimal expected"
        ) from None
    return replace(instruction, target=target)


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


def _public_key(path: Path) -> VerifyingKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except UnsupportedAlgorithm as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError(f"{path}: not a P-256 public key in PEM form")  # noqa: TRY004
    return VerifyingKey(key)
