"""The registry of a fleet as calls ask it: the replica's records, and what Redis lost of them."""

from __future__ import annotations

from pathlib import Path

from zhenxian.core.tn import TN
from zhenxian.registry.customers import Customer, Declaration
from zhenxian.registry.model import (
    Binding,
    CalleeRefusal,
    Exemption,
    Holding,
    Kind,
    Order,
    Record,
    Who,
)
from zhenxian.registry.orders import OrderIndex
from zhenxian.registry.stricter import Losses, Restrictions
from zhenxian.stores.fleet.losses import losses_text, read_losses
from zhenxian.stores.fleet.replica import kept_orders
from zhenxian.stores.sqlite.view import RegistryView


class FleetView(RegistryView):
    """A RegistryView of a replica, which may be made anew as a whole (its epoch changes)."""

    def __init__(self, path: Path, *, limit: int) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release."""
        super().__init__(path, limit=limit)
        self._epoch = self.records.meta("fleet.epoch")
        self._kept: tuple[Order, ...] = kept_orders(self.records)
        self._kept_index = OrderIndex(self._kept)
        self._losses = read_losses(self.records)
        self._strict = Restrictions(self._losses.held)
        self._half_read = False  # commits were taken over, and what is read with them was not

    @property
    def losses(self) -> Losses:
        """Commits that Redis lost, and what they left stricter here, until somebody has looked."""
        return self._losses

    @property
    def kept(self) -> tuple[Order, ...]:
        """Orders that Redis lost; they stay in force here."""
        return self._kept

    def refresh(self) -> bool:
        """Take over what was committed; True when there was something."""
        changed = super().refresh()
        if not (changed or self._half_read):
            return False
        self._half_read = True
        epoch = self.records.meta("fleet.epoch")
        if epoch != self._epoch:
            self._epoch = epoch
            self._losses = read_losses(self.records)
            self._strict = Restrictions(self._losses.held)
            self._forget()
        if self._kept or epoch is not None:
            self._kept = kept_orders(self.records)
            self._kept_index = OrderIndex(self._kept)
        self._half_read = False
        return True

    def order(self, who: Who, now: int) -> Order | None:
        """An order in force that covers any of these; the oldest of several."""
        found = super().order(who, now)
        if not self._kept:
            return found
        kept = self._kept_index.find(who, now)
        both = [order for order in (found, kept) if order is not None]
        return min(both, key=lambda order: (order.since, order.id)) if both else None

    def _covering(self, tn: TN) -> Holding | None:
        found = super()._covering(tn)
        return self._strict.holding(tn, found) if self._strict else found

    def _record(self, kind: Kind, key: str) -> Record | None:
        found = super()._record(kind, key)
        return self._strict.record(kind, key, found) if self._strict else found

    def _exempted(self, kind: str, target: str) -> list[Exemption]:
        found = super()._exempted(kind, target)
        return [one for one in found if self._permitted(Kind.EXEMPTION, one)]

    def _customer(self, access: str, by: str) -> Customer | None:
        found = super()._customer(access, by)
        return found if found is None or self._permitted(Kind.CUSTOMER, found) else None

    def _declared(self, subject: str) -> list[Declaration]:
        found = super()._declared(subject)
        return [one for one in found if self._permitted(Kind.DECLARATION, one)]

    def _refused(self, callee: TN) -> list[CalleeRefusal]:
        found = super()._refused(callee)
        return self._strict.refusals(callee, found) if self._strict else found

    def binding(
        self, caller: TN, display: TN, callee: TN, extension: str, now: float
    ) -> Binding | None:
        """An active binding that permits the display."""
        found = super().binding(caller, display, callee, extension, now)
        return found if found is None or self._permitted(Kind.BINDING, found) else None

    def shown(self, display: TN, callee: TN, now: float) -> Binding | None:
        """An active binding that shows the display to the callee, whoever calls."""
        found = super().shown(display, callee, now)
        return found if found is None or self._permitted(Kind.BINDING, found) else None

    def _permitted(self, kind: Kind, record: Record) -> bool:
        """False for a permission that lost commits had ended, or changed."""
        return not self._strict or self._strict.record(kind, record.key, record) is not None

    def kept_remarks(self) -> list[str]:
        """What operators should know of what is in force on this node only."""
        lost = losses_text(self._losses)
        found = [lost] if lost is not None else []
        if self._kept:
            names = ", ".join(order.id for order in self._kept[:10])
            found.append(
                f"{len(self._kept)} order(s) that Redis lost stay in force on this node only:"
                f" {names}; have them given again"
            )
        return found
