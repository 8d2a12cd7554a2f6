"""A node's signed statements that orders are in force here, and how they reach the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from zhenxian.registry.model import Order
from zhenxian.registry.orders import order_digest
from zhenxian.stores.fleet.link import UNREACHABLE, reason_text
from zhenxian.stores.fleet.node import FleetNode

_logger = logging.getLogger(__name__)


class Acknowledgements:
    """Acknowledgements of one node: signed at once, owed until Redis has them."""

    def __init__(self, node: FleetNode) -> None:
        self._node = node
        self._owed: dict[str, tuple[Order, str]] = {}
        self._read = False  # whether those of earlier runs are known

    def read_again(self) -> None:
        """Look at all orders anew before the next ones are sent."""
        self._read = False

    async def sign(self, orders: Sequence[Order]) -> None:
        """Acknowledge orders that are in force here from now on."""
        key = self._node.key
        if key is None or not orders:
            return
        since = time.time_ns() // 1_000_000
        latest = {order.id: order for order in orders}.values()
        for order, token in await self._node.with_writer(
            lambda replica: replica.sign(latest, key, since)
        ):
            self._owed[order.id] = (order, token)
        try:
            await self.send()
        except UNREACHABLE as error:
            # Owed: it goes out with the next sign of life.
            _logger.warning("an acknowledgement waits for Redis: %s", reason_text(error))

    async def send(self) -> None:
        """Give Redis what it may not have. Raises one of UNREACHABLE."""
        key = self._node.key
        if key is None:
            return
        if not self._read:
            # What an earlier run signed, and Redis may not have: said again, it is the same.
            unsigned = []
            for order, token in await self._node.with_writer(
                lambda replica: replica.own_orders(key.name)
            ):
                if token is None:
                    unsigned.append(order)
                else:
                    self._owed.setdefault(order.id, (order, token))
            self._read = True
            await self.sign(unsigned)
        for name, (order, token) in list(self._owed.items()):
            await self._node.journal.acknowledge(
                order.id, order_digest(order), key.name, token, key.jwk
            )
            if self._owed.get(name) == (order, token):
                del self._owed[name]
