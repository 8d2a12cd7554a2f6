"""The rules of customers and declarations: no call is of two customers, none declares another's."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TNRange
from zhenxian.registry.customers import GATEWAY, Customer, Declaration
from zhenxian.registry.journal import RegistryConflictError
from zhenxian.registry.model import Access, Kind, Record, span


class View(Protocol):
    """What is registered, as registry.rules.View has it."""

    def get(self, kind: Kind, key: str) -> tuple[int, Record] | None:
        """A record and its version."""
        ...

    def customer_named(self, access: str, name: str) -> Customer | None:
        """The customer of the access whom requests name so."""
        ...

    def customer_showing(self, access: str, numbers: TNRange, but: str) -> Customer | None:
        """A customer of the access, other than `but`, that has one of the numbers as its own."""
        ...

    def customer_of_origid(self, origid: str) -> Customer | None:
        """The customer of a shared access that has or had the origid."""
        ...

    def access_of(self, origid: str) -> Access | None:
        """The access that has or had the origid."""
        ...

    def customer_of(self, access: str) -> str | None:
        """Some customer of the access; None when it has none."""
        ...


def check_customer(value: Customer, view: View) -> None:
    """Refuse a customer whose calls could be another's. Raises ConfigError, a conflict as well."""
    if value.access == GATEWAY:
        raise ConfigError(f"access {GATEWAY} stands for calls of no access, and has no customers")
    if view.get(Kind.ACCESS, value.access) is None:
        raise ConfigError(f"access {value.access} is not registered")
    _check_origid(value, view)
    for name in value.called:
        other = view.customer_named(value.access, name)
        if other is not None and other.id != value.id:
            raise RegistryConflictError(
                f"{name} names two customers of access {value.access}: {other.id} and {value.id}"
            )
    spans = sorted(value.spans, key=lambda one: (len(one.first), one.first))
    for one, following in pairwise(spans):
        if following.first in one:
            raise ConfigError(f"numbers: {span(one)} and {span(following)} overlap")
    for numbers in spans:
        other = view.customer_showing(value.access, numbers, value.id)
        if other is not None:
            raise RegistryConflictError(
                f"{span(numbers)} is of two customers of access {value.access}: {other.id} and"
                f" {value.id}"
            )


def _check_origid(value: Customer, view: View) -> None:
    """An origid is of one caller for good: calls of years ago are traced by it."""
    if not value.origid:
        return
    access = view.access_of(value.origid)
    if access is not None:
        raise RegistryConflictError(
            f"origid {value.origid} is access {access.id}'s, and not customer {value.id}'s"
        )
    other = view.customer_of_origid(value.origid)
    if other is not None and other.id != value.id:
        raise RegistryConflictError(
            f"origid {value.origid} names two customers: {other.id} and {value.id}"
        )
    if other is not None and other.origid != value.origid:
        raise RegistryConflictError(
            f"origid {value.origid} was rotated out of customer {value.id} and does not come back"
        )


def check_declaration(value: Declaration, before: Record | None, view: View, now: int) -> None:
    """Refuse a declaration of nobody, or of nothing. Raises ConfigError, a conflict as well."""
    if view.get(Kind.SUBJECT, value.subject) is None:
        raise ConfigError(f"subject {value.subject} is not registered")
    if isinstance(before, Declaration) and before.subject != value.subject:
        raise RegistryConflictError(
            f"declaration {value.id} is of subject {before.subject}, and stays so"
        )
    if not (value.numbers or value.cities or value.purpose):
        raise ConfigError("a declaration has numbers, cities or a purpose")
    if value.until is not None and value.until <= now:
        raise ConfigError(f"declaration {value.id} has ended before it is made")
