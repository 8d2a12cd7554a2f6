"""Which nodes obey an order, by the signatures in a service's answer alone."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import fields, replace

from zhenxian.core.errors import ConfigError
from zhenxian.registry.model import Order
from zhenxian.registry.node_key import Pins, public_key, thumbprint
from zhenxian.registry.orders import (
    Instruction,
    Issuer,
    OrderRefusedError,
    claimed,
    lifted,
    order_of,
    read_acknowledgement,
    read_instruction,
)

_STALE: Final = "good, but of the order before it was lifted"
_AWAY: Final = 300  # seconds without a sign of life after which an unlisted node is gone


class NodeObedience(NamedTuple):
    """What one node has to do with one order.

    Attributes:
        since: milliseconds since the epoch from which it obeys; None when that is not proved.
        delay: milliseconds after the order; None likewise. Negative when clocks differ.
        verdict: "good", or what is wrong with its acknowledgement.
        seen: seconds since the epoch of its last sign of life; None when it is not running.
        key: whether its key is the one that the list of nodes has.
    """

    node: str
    since: int | None
    delay: int | None
    verdict: str
    thumbprint: str
    seen: int | None
    key: Pin

    @property
    def good(self) -> bool:
        """True when its signature, and its key if there is a list, prove that it obeys."""
        return self.since is not None

    @property
    def gone(self) -> bool:
        """True when nobody waits for it: it does not run, or was taken off the list and is away."""
        if self.key is Pin.UNLISTED:
            return self.seen is None or time.time() - self.seen > _AWAY
        return self.seen is None and self.verdict == _STALE


class Pin(str, Enum):
    """What the list of nodes says about the key of an acknowledgement."""

    PINNED = "pinned"
    OTHER = "another key"
    UNLISTED = "not in the list"
    NO_LIST = "not pinned"


_PROVES: Final = (Pin.PINNED, Pin.NO_LIST)


class Examined(NamedTuple):
    """One order as a service told it, and what of that stood up to examination.

    Attributes:
        version: the commit that made its present state.
        signature: "good", "not checked", or what is wrong with the order itself.
    """

    order: Order
    version: int
    signature: str
    nodes: tuple[NodeObedience, ...]

    @property
    def good(self) -> bool:
        """True when nothing is wrong and every node that runs obeys; one at least has to."""
        return (
            self.signature in ("good", "not checked")
            and any(node.good for node in self.nodes)
            and all(node.good for node in self.nodes if not node.gone)
        )


class _Row(Struct, frozen=True):
    node: str
    token: str
    key: Any


class _Node(Struct, frozen=True):
    node: str
    seen: int
    cursor: int


class _Answer(Struct, frozen=True):
    order: dict[str, Any]
    acknowledgements: list[_Row]
    nodes: list[_Node]
    pins: dict[str, list[str]] | None = None


def examine(
    answer: dict[str, Any],
    name: str,
    issuers: dict[str, Issuer] | None,
    pins: Pins | None = None,
) -> Examined:
    """Judge an answer about an order by the signatures in it alone.

    Args:
        issuers: None leaves the order's own signature unchecked.
        pins: None takes the list of nodes that the answer has, if it has one.

    Raises:
        ConfigError: it is no such answer.
    """
    found = _convert(answer)
    order = order_in(answer)
    if order.id != name:
        raise ConfigError(f"the service answered with order {order.id}, not {name}")
    signature = _examined_order(order, issuers)
    seen = {node.node: node.seen for node in found.nodes}
    if pins is None and found.pins is not None:
        pins = {node: frozenset(keys) for node, keys in found.pins.items()}
    states = [_state(row, order, seen.get(row.node), pins) for row in found.acknowledgements]
    silent = (seen.keys() | (pins or {}).keys()) - {row.node for row in found.acknowledgements}
    states += [
        NodeObedience(node, None, None, "none", "", seen.get(node), _pin(pins, node, None))
        for node in silent
    ]
    version = found.order.get("version", 0)
    return Examined(order, version, signature, tuple(sorted(states, key=lambda s: s.node)))


def _examined_order(order: Order, issuers: dict[str, Issuer] | None) -> str:
    """Whether the record says what its tokens say and, with issuers, who signed them."""
    now = int(time.time())

    def read(token: str) -> Instruction:
        return claimed(token) if issuers is None else read_instruction(token, issuers, now)

    try:
        told = order_of(read(order.token), order.token)
        if order.lift_token:
            told = lifted(told, read(order.lift_token), order.lift_token)
    except OrderRefusedError as error:
        return str(error)
    if told != order:
        return "the record differs from what was signed"
    return "good" if issuers is not None else "not checked"


def _pin(pins: Pins | None, node: str, mark: str | None) -> Pin:
    """What the list says about a node's key; `mark` None for one that has not signed."""
    if pins is None:
        return Pin.NO_LIST
    if node not in pins:
        return Pin.UNLISTED
    return Pin.PINNED if mark is None or mark in pins[node] else Pin.OTHER


def _state(row: _Row, order: Order, seen: int | None, pins: Pins | None) -> NodeObedience:
    jwk = row.key if isinstance(row.key, str) else msgspec.json.encode(row.key).decode()
    mark = ""

    def bad(text: str) -> NodeObedience:
        return NodeObedience(row.node, None, None, text, mark, seen, _pin(pins, row.node, mark))

    try:
        key = public_key(jwk)
        mark = thumbprint(key)
        found = read_acknowledgement(row.token, order, key)
        after = claimed(order.lift_token or order.token)
    except OrderRefusedError as error:
        if not order.lift_token:
            return bad(str(error))
        try:
            read_acknowledgement(row.token, replace(order, lift_token=""), key)
        except OrderRefusedError:
            return bad(str(error))
        return bad(_STALE)
    except ConfigError as error:
        return bad(str(error))
    if found.node != row.node:
        return bad(f"it is node {found.node}'s")
    pin = _pin(pins, row.node, mark)
    if pin not in _PROVES:
        return bad("good")  # of whoever has that key
    begin = 1000 * max(after.since, after.iat)
    since = max(found.since, 1000 * after.since)
    return NodeObedience(row.node, since, since - begin, "good", mark, seen, pin)


def _convert(answer: dict[str, Any]) -> _Answer:
    try:
        return msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the service's answer about an order is not understood: {error}"
        ) from None


def order_in(answer: dict[str, Any]) -> Order:
    """The order of an answer about it. Raises ConfigError."""
    return order_of_row(_convert(answer).order)


def order_of_row(row: Any) -> Order:
    """An order as the service tells it. Raises ConfigError."""
    try:
        names = {field.name for field in fields(Order)}
        return msgspec.convert({k: v for k, v in row.items() if k in names}, Order)
    except (msgspec.ValidationError, AttributeError) as error:
        raise ConfigError(f"the service's order is not understood: {error}") from None
