"""An origid of its own for each call (RFC 8588 section 10), and what remembers whose it was."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Given(Struct, frozen=True, array_like=True):
    """What an origid was given for.

    Attributes:
        access: id of the access the call came in by; empty when it is not known.
        stable: the origid that the token would have had otherwise: the access's own.
        at: seconds since the epoch.
        node: the node that signed.
    """

    access: str
    stable: str
    at: int
    node: str = ""


class Origids(Protocol):
    """Gives each call an origid, and remembers whose it was for as long as configured."""

    def give(self, access: str, stable: str, at: int) -> str | None:
        """A random origid, remembered before it is returned; None when it could not be.

        A token never has an origid that cannot be traced: without a record, it has the stable one.
        """
        ...
