"""What every table of a registry file can do, and the pages that it is read by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, TypeAlias

from msgspec import Struct

from zhenxian.core.errors import ConfigError
from zhenxian.registry.model import Kind, Record
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.numbers import INTEGER

# One version of a record: the commit that made it, the commit that ended it (None while it is in
# force, and for a binding that ended by its own time), and the record.
Span: TypeAlias = tuple[int, int | None, Record]
Place: TypeAlias = tuple[int, int, int]  # class, lo and size of a range (see schema)

FIRST_PLACE: Final[Place] = (-1, 0, 0)  # before all ranges


class Page(Struct, frozen=True):
    """Some records with their versions, and where the next page begins; None at the end."""

    rows: tuple[tuple[int, Record], ...]
    following: str | None


class Table(ABC):
    """The records of one kind: as they are, as they were, and how a commit changes them.

    Every method raises StoreUnavailableError when the file cannot be read or written.
    """

    def __init__(self, kind: Kind, connection: Connection) -> None:
        self.kind = kind
        self._connection = connection

    @abstractmethod
    def get(self, key: str) -> tuple[int, Record] | None:
        """A record and its version."""

    @abstractmethod
    def page(self, after: str, limit: int, subject: str | None) -> Page:
        """Records in the order of their keys. Raises ConfigError for an `after` of no page.

        Args:
            after: `following` of the page before; empty for the first.
            subject: only this subject's, where the kind has any.
        """

    @abstractmethod
    def past(self, key: str) -> list[Span]:
        """The versions of a record that are no longer in force, the oldest first."""

    @abstractmethod
    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """Put a record, or end it (None), as of a commit, inside a transaction."""

    def _loads(self, body: bytes) -> Record:
        return self._connection.loads(self.kind, body)

    def _page(self, rows: list[tuple[Any, ...]], limit: int) -> Page:
        """A page of rows (key, version, body), of which one more than `limit` was asked."""
        part = rows[:limit]
        return Page(
            tuple((version, self._loads(body)) for _, version, body in part),
            part[-1][0] if len(rows) > limit else None,
        )


def place_after(after: str, of: str) -> Place:
    """Where a page of ranges ended. Raises ConfigError, which names the kind (`of`)."""
    if not after:
        return FIRST_PLACE
    try:
        class_, lo, size = (int(part) for part in after.split("."))
        if max(class_, lo, size) > INTEGER:
            raise ValueError(after)  # noqa: TRY301
    except ValueError:
        raise ConfigError(f"after: not the end of a page of {of}") from None
    return class_, lo, size


def following_place(rows: list[tuple[Any, ...]], limit: int) -> str | None:
    """What `place_after` reads; rows are (lo, size, ...), one more than `limit` was asked for."""
    if len(rows) <= limit:
        return None
    lo, size = rows[limit - 1][:2]
    return f"{size.bit_length()}.{lo}.{size}"
