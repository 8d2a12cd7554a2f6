"""A callee's complaint of one call, as a record."""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import Annotated

from msgspec import Struct

from zhenxian.core.tn import TN
from zhenxian.registry import meta


class Grievance(str, Enum):
    """What a callee complains of."""

    MARKETING = "marketing"
    FRAUD = "fraud"
    HARASSMENT = "harassment"
    SILENT = "silent"
    OTHER = "other"


class Complaint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A callee's complaint of one call, as a feed passed it on. It is made once and stays.

    Attributes:
        id: of `complaint_id`; in the order of the calls' time.
    """

    id: Annotated[str, meta.identifier("In the order of time.", "01795500000-0a1b2c3d4e5f6071")]
    at: Annotated[int, meta.instant("When the call was.", 1795500000)]
    orig: Annotated[TN, meta.member("The number that was shown.", "8675588880001")]
    dest: Annotated[TN, meta.member("Who was called, and complains.", "8613900139000")]
    kind: Annotated[Grievance, meta.member("What is complained of.")]
    source: Annotated[str, meta.text("Who passed it on: id of the API key.")]
    reference: Annotated[str, meta.text("How the source names it.")] = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


def complaint_id(at: int, source: str = "", named: str = "") -> str:
    """The id of a complaint, the same whenever it comes again; or where those of a time begin.

    Args:
        named: how the source names it, or what it says.
    """
    digest = blake2b(f"{source}\n{named}".encode(), digest_size=8).hexdigest() if named else ""
    return f"{max(0, at):011d}-{digest}"
