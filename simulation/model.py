"""What the simulator yields: calls as a carrier sees them, and apart from them the truth."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct

from zhenxian.core.tn import TN


class Kind(str, Enum):
    """What a caller is. `simulation.honest` and `.dishonest` describe each."""

    SUBSCRIBER = "subscriber"
    ROAMER = "roaming or ported"
    VILLAGE = "village operator"
    RIDER = "delivery rider"
    OFFICE = "office with six lines"
    SHOP = "shop"
    HOSPITAL = "hospital"
    SCHOOL = "school's broadcast"
    BANK = "bank on one number"
    CALL_CENTRE = "call centre, ten brands"
    COURIER = "courier, privacy numbers"
    MERCHANTS = "merchants, privacy numbers"
    BRANCHES = "chain of branches"
    NUMBERING = "carrier that numbers its calls"
    CARRIER = "carrier as a whole"

    POOL = "national pool"
    HALF_LOCAL_POOL = "pool, half local"
    SLOW_POOL = "slow pool"
    CITY_POOL = "pool, city by city"
    REDIALLING_POOL = "pool, each dialled twice"
    SIM_BOX = "five-SIM box"
    ROBOT = "robot"
    UNVERIFIED = "unverified numbers"
    RETURNED = "returns after a ban"
    STRAW = "returns behind a straw man"
    MINTER = "signer that mints origids"
    ORIGID_POOL = "pool, an origid a number"
    BINDER = "platform that binds for spammers"
    REPLAYED = "replayed token"
    PASTED = "cut-and-pasted token"

    @property
    def honest(self) -> bool:
        """True for those who do nothing of the kind."""
        return self not in _DISHONEST


_DISHONEST: Final = frozenset(
    {
        Kind.POOL, Kind.HALF_LOCAL_POOL, Kind.SLOW_POOL, Kind.CITY_POOL, Kind.REDIALLING_POOL,
        Kind.SIM_BOX, Kind.ROBOT, Kind.UNVERIFIED, Kind.RETURNED, Kind.STRAW, Kind.MINTER,
        Kind.ORIGID_POOL, Kind.BINDER, Kind.REPLAYED, Kind.PASTED,
    }
)  # fmt: skip


class Call(Struct, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """One call, with what the carriers on its way can know of it, and nothing else.

    Attributes:
        id: as a SIP Call-ID: opaque, unique within a scenario.
        at: when it began, seconds since the epoch. duration: seconds until it was over, ringing
            included.
        access, subject: where it came in and who answers for that; None where no originating
            carrier of ours is involved.
        spc, origid: of the token it carries.
        display: what the callee sees.
        caller: the caller's own number where the display is a privacy number; None otherwise.
        bound: a live privacy binding permits the display.
        purpose: the call reason the caller states (`crn`, RFC 9795); None for none.
        token: the call whose token it carries, when that is not its own; None otherwise.
        answered: somebody did, which is known when it is over.
    """

    id: str
    at: int
    duration: int
    access: str | None
    subject: str | None
    spc: str
    origid: str
    display: TN
    callee: TN
    caller: TN | None = None
    bound: bool = False
    purpose: str | None = None
    token: str | None = None
    answered: bool = True


class Key(str, Enum):
    """What a row of truth is about."""

    ACCESS = "access"
    SUBJECT = "subject"
    SIGNER = "signer"
    SPC = "spc"
    AGENT = "agent"
    CALL = "call"


class Truth(Struct, frozen=True, kw_only=True):
    """What is true of one key: its kind, who is behind it, and how long it was seen.

    Attributes:
        id: an access's, subject's or call's id, an SPC, "spc/origid" of a signer, or
            "platform/number" of who calls behind the platform's privacy numbers.
        operator: who is behind it; one operator may have several accesses.
        numbers: distinct displays it showed.
        first, last: when its first and last call began, seconds since the epoch.
    """

    key: Key
    id: str
    kind: Kind
    honest: bool
    operator: str
    calls: int
    numbers: int
    first: int
    last: int


class Seat(NamedTuple):
    """Where calls come in and how they are signed."""

    subject: str | None
    access: str | None
    spc: str
    origid: str
