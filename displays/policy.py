"""Thresholds. Defaults were chosen on simulated traffic; docs/detection.md says how."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from displays.model import Measure
from passport.errors import ConfigError

HOUR: Final = 3_600  # seconds
DAY: Final = 86_400  # seconds

ALL_MEASURES: Final = frozenset(Measure)


class Locality(Struct, frozen=True, forbid_unknown_fields=True):
    """When matching areas are a finding.

    A sequential probability ratio test (Wald) over first contacts with both areas known. `chance`
    is the share of matches that independence of display and callee predicts, estimated from the
    key's own counts. The hypotheses about the share of matches are
    honest: chance + honest_lift * (1 - chance); pool: chance + pool_lift * (1 - chance).

    Attributes:
        false_alarm: probability (alpha) that one test finds an honest caller who sits exactly at
            `honest_lift`; far less for others.
        miss: probability (beta) that one test clears a pool exactly at `pool_lift`. A test that
            clears begins anew, so that a miss costs calls, not the finding.
        honest_lift: 0.2: a call centre of which two brands in ten are regional has 0.16.
        pool_lift: 0.45: a pool that is local every second time has 0.5.
        least_calls: first contacts with both areas known below which nothing is found.
        areas: matches must come from so many areas (inverse Simpson index).
        recurring: share of calls that repeat a pair of display and callee, at most.
    """

    false_alarm: float = 1e-6
    miss: float = 0.01
    honest_lift: float = 0.2
    pool_lift: float = 0.45
    least_calls: int = 20
    areas: float = 12.0
    recurring: float = 0.05


class Switch(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked in addition of a SIGNER, behind which may be a switch of many subscribers.

    People call from their own city to their own city, so that a switch that serves a province or
    a country looks as local as a pool. What tells them apart: people call each other again. So a
    signer is found by locality or spread only when enough displays were seen again and none of
    them with a callee it had called before; or at once, when nearly every call shows a new
    display and nearly every one matches, which no population does.

    Attributes:
        repeated_displays: calls that showed a display seen before, at least.
        recurring: share of those that went to a callee whom the display had called before, at
            most. People who have 12 contacts reach 0.04 at the second call of each.
        fresh_calls: calls after which the short way is open.
        fresh: distinct displays per call on the short way.
        fresh_match: lift of matches over chance on the short way.
        fresh_areas: areas of matches on the short way (inverse Simpson index).
    """

    repeated_displays: int = 300
    recurring: float = 0.015
    fresh_calls: int = 80
    fresh: float = 0.7
    fresh_match: float = 0.85
    fresh_areas: float = 24.0


class Spread(Struct, frozen=True, forbid_unknown_fields=True):
    """When many displays are a finding.

    Attributes:
        least_calls: below which nothing is found.
        displays: distinct ones, at least.
        calls_per_display: at most; a pool keeps its numbers quiet.
        areas: of displays and likewise of callees, at least (inverse Simpson index). A hospital's
            extensions are of one area; people who roam call where they live.
        recurring: as in Locality.
    """

    least_calls: int = 60
    displays: int = 25
    calls_per_display: float = 27.0
    areas: float = 12.0
    recurring: float = 0.02


class Rate(Struct, frozen=True, forbid_unknown_fields=True):
    """When many calls are a finding: in 9 of 12 slots of five minutes, to callees anywhere.

    Attributes:
        per_display: calls an hour and display, for displays that have an area.
        per_key: calls an hour from an access or subject.
        without_area: factor on both for service numbers, which only enterprises are given.
        slots: of the last 12 (of five minutes each), at least.
        slots_local: of the last 36, when callees are mostly of the display's area: an alarm to a
            town is over sooner.
        matching: share of calls within one area above which callees count as local.
        recurring: as in Locality.
        concurrent: calls at the same time, where the proxy tells when calls end; for as long.
    """

    per_display: float = 400.0
    per_key: float = 3_000.0
    without_area: float = 10.0
    slots: int = 9
    slots_local: int = 27
    matching: float = 0.4
    recurring: float = 0.02
    concurrent: int = 100


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """When taking displays in turn is a finding; callees anywhere, each once.

    Attributes:
        least_calls: below which nothing is found.
        displays: from this many on. most_displays: up to this many; more is spread.
        rounds: changes of display per display, at least.
        persistence: how much more often than by chance a call shows the display of the call
            before (0 by chance, 1 always). Lines that hunt have less than 0.
        matching: share of calls within one area, at most.
        reach: areas of callees, at least (linear counting, error 10 %).
        recurring: as in Locality.
        used_up: calls of a display that is left and never comes back.
        successors: displays used up before the present one. successor_calls: calls of the
            present one, at least.
        elsewhere_calls: calls of the present one from which a single predecessor is enough, if it
            was of another city. Who moves house keeps a mobile number, and an office that moves
            calls the people whom it called before.
        memory: seconds for which a display that was left is remembered.
    """

    least_calls: int = 80
    displays: int = 3
    most_displays: int = 64
    rounds: float = 2.0
    persistence: float = 0.5
    matching: float = 0.3
    reach: float = 25.0
    recurring: float = 0.02
    used_up: int = 40
    successors: int = 2
    successor_calls: int = 10
    elsewhere_calls: int = 24
    memory: int = 7 * DAY


class Origids(Struct, frozen=True, forbid_unknown_fields=True):
    """When a carrier's origids are a finding: the same display comes with ever new ones.

    RFC 8588 section 5 has an origid name where a call entered, so that it stays with the customer.
    That each origid was seen once is no finding by itself: so it is on the first day of a carrier
    with a million customers.

    Attributes:
        repeated_displays: calls that showed a display seen before, at least.
        moved: share of those that came with an origid not seen with the display before.
    """

    repeated_displays: int = 30
    moved: float = 0.6


class Handover(Struct, frozen=True, forbid_unknown_fields=True):
    """When callers are one who hands over from each to the next (`displays.handover`).

    Attributes:
        least_calls: below which nothing is found. watched_calls: from which handovers are noted.
        pause: seconds without a call after which a run of calls is over.
        reach: seconds from a caller's last call within which the next one begins.
        expected: share of runs that follow so if they are one.
        false_alarm: probability that a test finds two who know nothing of each other.
        most_displays: of one caller; who has more is a switch of many.
        matching, reach_areas, recurring: as in Rotation; of those who are looked at.
    """

    least_calls: int = 40
    watched_calls: int = 16
    pause: int = 300
    reach: int = 150
    expected: float = 0.9
    false_alarm: float = 1e-9
    most_displays: int = 64
    matching: float = 0.3
    reach_areas: float = 25.0
    recurring: float = 0.02


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """All of them.

    Attributes:
        measures: those that are on.
        window: seconds; figures reach back between half of it and all of it.
        suspect: strength from which a key is suspected; keep: down to which it stays so, and a
            pooled one is confirmed.
        pooled_for: seconds after the last confirmation until a pooled key is cleared.
        suspected_for: likewise of a suspected one.
        max_keys: keys remembered; half of the places are for those with fewer than
            `established` calls, so that a flood of new keys evicts its own.
        salt: secret of the operator, the same on all nodes of a fleet: without it nobody can
            choose numbers that count as one.
        max_backlog: calls kept for other nodes until they are taken; older ones are lost to them.

    Raises:
        ConfigError: a threshold that makes no sense.
    """

    measures: frozenset[Measure] = ALL_MEASURES
    locality: Locality = Locality()
    switch: Switch = Switch()
    spread: Spread = Spread()
    rate: Rate = Rate()
    rotation: Rotation = Rotation()
    origids: Origids = Origids()
    handover: Handover = Handover()
    window: int = DAY
    suspect: float = 0.7
    keep: float = 0.5
    pooled_for: int = DAY
    suspected_for: int = 6 * HOUR
    max_keys: int = 100_000
    established: int = 8
    salt: int = 0
    max_backlog: int = 100_000

    def __post_init__(self) -> None:
        locality = self.locality
        if not (0 < locality.false_alarm < 0.5 and 0 < locality.miss < 0.5):
            raise ConfigError("locality: false_alarm and miss lie between 0 and 0.5")
        if not 0 <= locality.honest_lift < locality.pool_lift < 1:
            raise ConfigError("locality: 0 <= honest_lift < pool_lift < 1 expected")
        if not 0 < self.keep <= self.suspect <= 1:
            raise ConfigError("0 < keep <= suspect <= 1 expected")
        if self.window < HOUR or self.pooled_for < 1 or self.suspected_for < 1:
            raise ConfigError("window: an hour or more; pooled_for, suspected_for: 1 or more")
        if self.max_keys < 16 or self.established < 1 or self.max_backlog < 0:
            raise ConfigError(
                "max_keys: 16 or more; established: 1 or more; max_backlog: 0 or more"
            )
