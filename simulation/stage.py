"""What a kind's generator works with: its own randomness, the country, seats and numbers."""

from __future__ import annotations

from random import Random
from uuid import UUID

from msgspec import Struct

from zhenxian.core.tn import TN
from zhenxian.registry.model import Use, Verification
from zhenxian.simulation.areas import Cities, City, mvno_number
from zhenxian.simulation.flow import Lasting
from zhenxian.simulation.model import Call, Seat


class Hold(Struct, frozen=True, kw_only=True):
    """A number somebody holds, as the registry would know it."""

    number: TN
    subject: str
    spc: str
    verification: Verification
    use: Use
    reseller: str


class Country(Struct, kw_only=True):
    """What all callers share.

    Attributes:
        large, small: SPCs of carriers that anybody may be with. own: SPCs of carriers that are a
            caller of the scenario themselves, honest or not, and serve nobody else.
        taken: numbers already given to somebody.
    """

    cities: Cities
    large: tuple[str, ...]
    small: tuple[str, ...]
    own: list[str]
    taken: set[TN]
    holds: list[Hold]
    seats: list[Seat]

    def new_carrier(self) -> str:
        """One more carrier, which is not among the others."""
        spc = f"{9_000 + len(self.own)}"
        self.own.append(spc)
        return spc


class Stage:
    """One caller's part of the scenario.

    Attributes:
        start, end: seconds since the epoch; the calls begin within.
        split: over how many carriers and accesses a dishonest caller spreads.
    """

    def __init__(
        self, random: Random, country: Country, *, start: int, end: int, split: int
    ) -> None:
        self.random = random
        self.country = country
        self.cities = country.cities
        self.start = start
        self.end = end
        self.split = split

    # -- who and where

    def name(self, letter: str) -> str:
        """An opaque id."""
        return f"{letter}-{self.random.getrandbits(48):012x}"

    def origid(self) -> str:
        """An opaque origination identifier (RFC 8588 section 5), a UUID of version 4."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def carrier(self) -> str:
        """The SPC of any carrier, large or small."""
        return self.random.choice(self.country.large + self.country.small)

    def seat(
        self, spc: str | None = None, *, subject: str | None = None, origid: str | None = None
    ) -> Seat:
        """An access of a subject with a carrier; each is a new one unless told."""
        made = Seat(
            self.name("s") if subject is None else subject,
            self.name("a"),
            self.carrier() if spc is None else spc,
            self.origid() if origid is None else origid,
        )
        self.country.seats.append(made)
        return made

    def seats(self, count: int) -> list[Seat]:
        """Seats at distinct carriers as far as there are so many."""
        carriers = list(self.country.large + self.country.small)
        self.random.shuffle(carriers)
        return [self.seat(carriers[index % len(carriers)]) for index in range(count)]

    # -- numbers

    def hold(
        self,
        seat: Seat,
        number: TN,
        *,
        verified: bool = True,
        use: Use = Use.DIRECT,
        reseller: str = "",
    ) -> TN | None:
        """Give a number to the seat's subject; None when somebody has it already."""
        if number in self.country.taken:
            return None
        self.country.taken.add(number)
        if seat.subject is not None:
            self.country.holds.append(
                Hold(
                    number=number,
                    subject=seat.subject,
                    spc=seat.spc,
                    verification=Verification.VERIFIED if verified else Verification.UNVERIFIED,
                    use=use,
                    reseller=reseller,
                )
            )
        return number

    def mobile(self, seat: Seat, city: City) -> TN:
        """A new mobile number for the seat's subject."""
        while True:
            number = self.hold(seat, city.mobile_number(self.random))
            if number is not None:
                return number

    def fixed(self, seat: Seat, city: City) -> TN:
        """A new fixed-line number for the seat's subject."""
        while True:
            number = self.hold(seat, city.fixed_number(self.random))
            if number is not None:
                return number

    def privacy(self, seat: Seat, city: City) -> TN:
        """A number of the city that a platform lends to others."""
        while True:
            number = self.hold(seat, city.mobile_number(self.random), use=Use.PRIVACY)
            if number is not None:
                return number

    def resold(self, seat: Seat, city: City, reseller: str) -> TN:
        """A reseller's number, passed on without checking who takes it."""
        while True:
            number = self.hold(
                seat, mvno_number(self.random, city), verified=False, reseller=reseller
            )
            if number is not None:
                return number

    def service(self, seat: Seat) -> TN:
        """A nationwide service number of an enterprise (955xx): it has no area."""
        while True:
            number = self.hold(seat, TN(f"955{self.random.randrange(10, 100)}"))
            if number is not None:
                return number
            number = self.hold(seat, TN(f"9555{self.random.randrange(10_000):04d}"))
            if number is not None:
                return number

    # -- callees

    def anybody(self) -> TN:
        """Somebody somewhere in the country."""
        return self.cities.draw(self.random).person(self.random)

    def mostly(self, city: City, share: float) -> TN:
        """Somebody of the city with that probability, else anybody."""
        if self.random.random() < share:
            return city.person(self.random)
        return self.anybody()

    # -- calls

    def call_id(self) -> str:
        """As a SIP Call-ID."""
        return f"{self.random.getrandbits(64):016x}"

    def call(
        self,
        seat: Seat,
        at: float,
        duration: Lasting,
        display: TN,
        callee: TN,
        *,
        caller: TN | None = None,
        bound: bool = False,
        purpose: str | None = None,
        token: str | None = None,
    ) -> Call:
        """One call from the seat."""
        return Call(
            id=self.call_id(),
            at=int(at),
            duration=duration.seconds,
            access=seat.access,
            subject=seat.subject,
            spc=seat.spc,
            origid=seat.origid,
            display=display,
            callee=callee,
            caller=caller,
            bound=bound,
            purpose=purpose,
            token=token,
            answered=duration.answered,
        )
