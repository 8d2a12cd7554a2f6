"""The registry of a fleet as calls ask it: the replica's records, and orders that Redis lost."""

from __future__ import annotations

from pathlib import Path

from zhenxian.registry.model import Order, Who
from zhenxian.registry.orders import OrderIndex
from zhenxian.stores.fleet.replica import kept_orders
from zhenxian.stores.sqlite.view import RegistryView


class FleetView(RegistryView):
    """A RegistryView of a replica, which may be made anew as a whole (its epoch changes)."""

    def __init__(self, path: Path, *, limit: int) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release."""
        super().__init__(path, limit=limit)
        self._epoch = self.book.meta("fleet.epoch")
        self._kept: tuple[Order, ...] = kept_orders(self.book)
        self._kept_index = OrderIndex(self._kept)

    @property
    def kept(self) -> tuple[Order, ...]:
        """Orders that Redis lost; they stay in force here."""
        return self._kept

    def refresh(self) -> bool:
        """Take over what was committed; True when there was something."""
        if not super().refresh():
            return False
        epoch = self.book.meta("fleet.epoch")
        if epoch != self._epoch:
            self._epoch = epoch
            self._forget()
        if self._kept or epoch is not None:
            self._kept = kept_orders(self.book)
            self._kept_index = OrderIndex(self._kept)
        return True

    def order(self, who: Who, now: int) -> Order | None:
        """An order in force that covers any of these; the oldest of several."""
        found = super().order(who, now)
        if not self._kept:
            return found
        kept = self._kept_index.find(who, now)
        both = [order for order in (found, kept) if order is not None]
        return min(both, key=lambda order: (order.since, order.id)) if both else None

    def kept_remarks(self) -> list[str]:
        """What operators should know of orders that are in force on this node only."""
        if not self._kept:
            return []
        names = ", ".join(order.id for order in self._kept[:10])
        return [
            f"{len(self._kept)} order(s) that Redis lost stay in force on this node only:"
            f" {names}; have them given again"
        ]
