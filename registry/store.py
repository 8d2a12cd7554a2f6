"""What the front ends ask of a registry that can be written, whichever engine keeps it.

Two engines have this form: the embedded one (one file of one machine) and the fleet's (a copy on
every node, a journal on Redis). service.build picks one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from zhenxian.core.tn import TN
from zhenxian.registry.customers import Customer
from zhenxian.registry.journal import Change, Commit, Nested, Version
from zhenxian.registry.model import Access, Holding, Kind, Order, Record, Registry, Who
from zhenxian.registry.stricter import Losses

_Value = TypeVar("_Value")


class Page(Protocol):
    """Some records with their versions, and where the next page begins; None at the end."""

    @property
    def rows(self) -> tuple[tuple[int, Record], ...]:
        """Version and record, in the order of their keys."""
        ...

    @property
    def following(self) -> str | None:
        """What `after` of the next page is."""
        ...


class Records(Protocol):
    """The records of a registry as they are and as they were; for one thread.

    Every method raises StoreUnavailableError when the registry cannot be read.
    """

    def get(self, kind: Kind, key: str) -> tuple[int, Record] | None:
        """Version and record, as it is now."""
        ...

    def page(self, kind: Kind, *, after: str = "", limit: int, subject: str | None = None) -> Page:
        """Records in the order of their keys. Raises ConfigError for an `after` that is none.

        Args:
            subject: only this subject's; of holdings, accesses and exemptions.
        """
        ...

    def history(self, kind: Kind, key: str) -> tuple[Version, ...]:
        """All versions of a record, the first made first; none when there never was one."""
        ...

    def at(self, kind: Kind, key: str, time: int) -> Version | None:
        """The version that stood at an instant, in seconds since the epoch."""
        ...

    def levels(self, tn: TN) -> list[tuple[int, Holding]]:
        """The holdings that cover a number, the most specific first, with their versions."""
        ...

    def held_at(self, tn: TN, time: int) -> Version | None:
        """The most specific holding of a number at an instant, in seconds since the epoch."""
        ...

    def access_of(self, origid: str) -> Access | None:
        """The access that has the origid, or had it."""
        ...

    def customer_of_origid(self, origid: str) -> Customer | None:
        """The customer of a shared access that has the origid, or had it."""
        ...

    def stopped(self, who: Who) -> Order | None:
        """An order that is not lifted and covers any of these."""
        ...

    def commits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """What was committed after a number: number, time, author, reason and what it changed."""
        ...


class RegistryStore(Registry, Protocol):
    """A registry that calls ask and the management API writes; for one event loop."""

    @property
    def records(self) -> Records:
        """The records, for short questions that are not of the call path."""
        ...

    async def read(self, work: Callable[[Records], _Value]) -> _Value:
        """Ask something that may take long, away from the calls."""
        ...

    async def write(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        now: int,
        request: bytes = b"",
        fingerprint: bytes = b"",
        nested: Nested = Nested.TAKEN,
        dry_run: bool = False,
    ) -> Commit:
        """Commit changes, all or none. Acknowledged means kept, and in force for the next call.

        Args:
            author: name and id of the API key or person.
            now: seconds since the epoch.
            request, fingerprint: see Commit. A request that was committed before is not done
                again: its commit comes back.
            nested: what becomes of numbers out of ranges of others.
            dry_run: check everything and keep nothing.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: the rules refuse it.
            KeyReusedError: the request stands for something else.
            StoreUnavailableError: it is not kept, or nobody knows whether it is.
        """
        ...

    async def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, acknowledgement (JWS) and the node's key (JWK) of each that obeys an order."""
        ...

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes that answer calls: node, seen (seconds since the epoch), cursor, key."""
        ...

    @property
    def losses(self) -> Losses:
        """Commits that were lost behind this node's back, until somebody has looked."""
        ...

    async def acknowledge_losses(self) -> Losses:
        """Somebody has looked: nothing is held any more on this node. What was lost."""
        ...

    def clock_doubts(self) -> list[str]:
        """Why this node's clock may not date commits, one sentence each; empty when it may."""
        ...

    async def accept_clock(self) -> None:
        """An operator says that the clock is right: what is doubted now is doubted no more."""
        ...
