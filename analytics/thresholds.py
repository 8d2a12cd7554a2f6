"""Thresholds. Defaults were chosen on simulated traffic; docs/detection.md says how."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zhenxian.analytics.model import Measure
from zhenxian.core.errors import ConfigError

HOUR: Final = 3_600  # seconds
DAY: Final = 86_400  # seconds

ALL_MEASURES: Final = frozenset(Measure)


class Locality(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When matching areas are a finding.

    A sequential probability ratio test (Wald) over first contacts with both areas known. `chance`
    is the share of matches that independence of display and callee predicts, estimated from the
    key's own counts. The hypotheses about the share of matches are
    honest: chance + honest_lift * (1 - chance); pool: chance + pool_lift * (1 - chance).

    Attributes:
        false_alarm: probability (alpha) that one test finds an honest caller who sits exactly at
            `honest_lift`; far less for others. With 1e-6, a thousand such callers who go through
            25 tests a day give one false finding in 40 days.
        miss: probability (beta) that one test clears a pool exactly at `pool_lift`. A test that
            clears begins anew, so that a miss costs calls, not the finding.
        honest_lift: 0.2: a call centre of which two brands in ten are regional has 0.13 to 0.16.
        pool_lift: 0.45: a pool that is local every second time has 0.5. Between the two the test
            tends to whichever is nearer.
        least_calls: first contacts with both areas known below which nothing is found. 20 matches
            are what the test needs of a pool that always matches, so that it delays nobody.
        areas: matches must come from so many areas (inverse Simpson index), so that one village, or
            a call centre's two regional brands (2.6), are no pool. After 20 calls, national
            pools of the tuning seeds have 20 or more, slow ones 16.
        recurring: share of calls that repeat a pair of display and callee, at most. Offices that
            call their own towns' people do so again and again; strangers are called once. What is
            added to look like the former costs a quarter more calls.
    """

    false_alarm: float = 1e-6
    miss: float = 0.01
    honest_lift: float = 0.2
    pool_lift: float = 0.45
    least_calls: int = 20
    areas: float = 12.0
    recurring: float = 0.2


class Switch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked in addition of a SIGNER, behind which may be a switch of many subscribers.

    People call from their own city to their own city, so that a switch that serves a province or
    a country looks as local as a pool. What tells them apart: people call each other again. So a
    signer is found by locality or spread only when enough displays were seen again and none of
    them with a callee it had called before; or at once, when most calls show a new display and
    nearly every one matches, which no population does.

    Attributes:
        repeated_displays: calls that showed a display seen before, at least. Of people who call a
            known contact in 4 % of them, 300 such calls without one have a chance of 5e-6.
        recurring: share of those that went to a callee whom the display had called before, at
            most. People who have 12 contacts reach 0.04 at the second call of each; switches of
            the tuning seeds 0.08, call centres 0.001.
        fresh_calls: calls after which the short way is open: 80 with 72 matches are four standard
            errors above a population that is local two times in three.
        fresh: distinct displays per call on the short way. A pool of 250 numbers that is dealt 150
            calls has 0.75; a chain of 60 branches falls below 0.6 before its 80th call.
        fresh_match: lift of matches over chance on the short way; simulated people have 0.7.
        fresh_areas: areas of matches on the short way (inverse Simpson index): a province has 21
            cities at most.
    """

    repeated_displays: int = 300
    recurring: float = 0.015
    fresh_calls: int = 80
    fresh: float = 0.7
    fresh_match: float = 0.85
    fresh_areas: float = 24.0


class Spread(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When many displays are a finding.

    Attributes:
        least_calls: below which nothing is found: what a reseller's thousand numbers on twenty
            accesses make of one in a day is 75.
        displays: distinct ones, at least. A call centre of ten brands has 10; more brands than 25
            on one access, of a dozen cities, is what a registrar may exempt.
        calls_per_display: at most; a pool keeps its numbers quiet: published campaigns have 13
            calls a number on average and 95 % of them below 27.
        areas: of displays and likewise of callees, at least (inverse Simpson index). A hospital's
            extensions are of one area, people who roam call where they live (2), ten brands are of
            seven areas at most.
        recurring: as in Locality.
    """

    least_calls: int = 60
    displays: int = 25
    calls_per_display: float = 27.0
    areas: float = 12.0
    recurring: float = 0.1


class Rate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When many calls are a finding: in 9 of 12 slots of five minutes, to callees anywhere.

    Attributes:
        per_display: calls an hour and display, for displays that have an area: one in nine seconds,
            which one person who talks to anybody cannot make. A robot of 100,000 calls a day on
            twenty accesses has 450.
        per_key: calls an hour from an access or subject. A call centre of the tuning seeds has 230,
            a robot on ten numbers 9,000.
        without_area: factor on both for service numbers, which only enterprises are given. A
            national bank has 550 an hour on one.
        slots: of the last 12 (of five minutes each), at least. A school's broadcast takes 4.
        slots_local: of the last 36, when callees are mostly of the display's area: an alarm to a
            town is over sooner.
        matching: share of calls within one area above which callees count as local.
        recurring: as in Locality.
        concurrent: calls at the same time, where the proxy tells when calls end; for as long. A
            broadcast has 60 lines, the robot 200. concurrent_each: of a signer, for each of its
            displays, if that is more: behind it may be a switch of thousands who have one or two.
        ends_told: share of calls whose end is reported, at least: with a proxy that reports one in
            ten only, or one call ever, each caller would seem to have hundreds in progress.
    """

    per_display: float = 400.0
    per_key: float = 3_000.0
    without_area: float = 10.0
    slots: int = 9
    slots_local: int = 27
    matching: float = 0.4
    recurring: float = 0.1
    concurrent: int = 100
    concurrent_each: float = 5.0
    ends_told: float = 0.9


class Rotation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When taking displays in turn is a finding; callees anywhere, each once.

    Attributes:
        least_calls: below which nothing is found: two rounds of five cards with eight calls each.
        displays: from this many on. most_displays: up to this many; more is spread.
        rounds: changes of display per display, at least.
        persistence: how much more often than by chance a call shows the display of the call
            before (0 by chance, 1 always). Lines that hunt have less than 0, a call centre whose
            brands change by the hour 0.23, a box that stays with a card for eight calls 0.84.
        rounds_anywhere, persistence_anywhere: likewise, wherever the callees live, which is a
            suspicion only: boxes have 0.92 to 0.95, honest callers 0.2 at most.
        matching: share of calls within one area, at most. reach: areas of callees, at least (linear
            counting, error 10 %). Offices and shops call their own city 6 times in 10.
        recurring: as in Locality.
        used_up: calls of a display that is left and never comes back. Complaints stop a number
            after 80 or more.
        successors: displays used up before the present one. successor_calls: calls of the
            present one, at least.
        elsewhere_calls: calls of the present one from which a single predecessor is enough, if it
            was of another city. Who moves house keeps a mobile number, and an office that moves
            calls the people whom it called before.
        memory: seconds for which a display that was left is remembered: stopped on Friday, back on
            Monday.
    """

    least_calls: int = 80
    displays: int = 3
    most_displays: int = 64
    rounds: float = 2.0
    persistence: float = 0.5
    rounds_anywhere: float = 1.5
    persistence_anywhere: float = 0.45
    matching: float = 0.3
    reach: float = 25.0
    recurring: float = 0.1
    used_up: int = 40
    successors: int = 2
    successor_calls: int = 10
    elsewhere_calls: int = 24
    memory: int = 7 * DAY


class Origids(Struct, frozen=True, forbid_unknown_fields=True):
    """When a carrier's origids say nothing: the same display comes with ever new ones.

    So RFC 8588 section 10 recommends it, and it is nothing to find by itself. It makes all calls of
    the SPC those of one signer, whom nothing else would tell from another. That each origid was
    seen once does not say as much: so it is on the first day of a carrier with a million customers.

    Attributes:
        repeated_displays: calls that showed a display seen before, at least: what a signer that
            deals 2,000 numbers over twenty SPCs makes of one in half a day.
        moved: share of those that came with an origid not seen with the display before. Minted
            origids give nearly 1, honest carriers of the tuning seeds 0.02 at most.
        suspicious: calls that showed a display seen before, from which on, if as many moved, all
            calls of the SPC are counted as those of one signer (else those of an eighth of its
            displays are), and what these show is held against them all. Of an honest carrier, six
            of ten move with a chance of 1e-8.
    """

    repeated_displays: int = 30
    moved: float = 0.6
    suspicious: int = 10


class Handover(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When callers are one who hands over from each to the next (`analytics.sim_box`).

    Attributes:
        least_calls: below which nothing is found. watched_calls: from which handovers are noted.
        pause: seconds without a call after which a run of calls is over. A box that
            dials with one card at a time leaves 58 on average, and 300 twice in 10,000 calls.
        reach: seconds from a caller's last call within which the next one begins: 97 in 100 of
            a box that dials on at once.
        expected: share of runs that follow so if they are one.
        false_alarm: probability that a test finds two who know nothing of each other. Ten thousand
            callers of strangers are a hundred million pairs, so that 1e-9 gives them one wrong
            pair in several days. Sixty independent ones reached 5.3 in a day, of 20.7 needed.
        most_displays: of one caller; who has more is a switch of many.
        matching, reach_areas, recurring: as in Rotation; of those who are looked at.
        recurring_local: of those whose callees live in few cities, who are lowered at most.
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
    recurring: float = 0.1
    recurring_local: float = 0.02


class HonestTalk(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How callees take the calls of a business, and of a pool; `analytics.evidence` tests both.

    Attributes:
        seconds: a talk that is called long here.
        honest_long, pool_long: share of calls with a long talk: of a business at least, of a pool
            at most. Talk of 50 seconds on average and 45 answers in 100 come to 0.11 to 0.14,
            a pitch of 22 seconds to 0.03 to 0.04.
        honest_answered, pool_answered: share of calls that are answered, likewise. It is for those
            who are expected and have little to say: taxis, couriers, alarms.
        label: chance that an honest caller who sits at both bounds is ever suspected; refuse:
            likewise, found. floor: where the tests begin anew.
        first_calls: of each number, to strangers, that are tested by themselves. first_label,
            first_refuse: chances as above; lower, because it is a test beside the other.
    """

    seconds: int = 60
    honest_long: float = 0.12
    pool_long: float = 0.035
    honest_answered: float = 0.6
    pool_answered: float = 0.45
    label: float = 0.05
    refuse: float = 1e-4
    floor: float = -6.0
    first_calls: int = 4
    first_label: float = 0.01
    first_refuse: float = 1e-5


class HonestRepeats(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often a number of a business calls somebody again whom it called before.

    Attributes:
        honest: share of calls of numbers seen before, at least. Businesses come to 0.01 to 0.09 on
            their second day. honest_aged: of numbers seen on an earlier day, to callees of an
            earlier day: switchboards of taxis, with thousands of customers a number, have no
            more on their second day. pool: of strangers drawn anew.
        honest_met, pool_met: share of calls to somebody who was reached before, of those and of
            calls to strangers: what a pool does only on purpose.
        label, refuse, floor: as in HonestTalk.
    """

    honest: float = 0.005
    honest_aged: float = 0.005
    pool: float = 0.0005
    honest_met: float = 0.005
    pool_met: float = 0.0001
    label: float = 0.05
    refuse: float = 1e-3
    floor: float = -6.0


class Strangers(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many strangers one number calls a day.

    Attributes:
        mobile: of a mobile number, which a person holds: a courier has 160. It is lowered. Numbers
            of a person, as the registry has it, are one caller's and count together.
        other: of any other. A census looks the same, so that it is labelled only, and lowered
            where talk tells that it is none.
        persistent: likewise of one that calls again whom it did not reach, as censuses do and
            robots do not: of whose calls a share of `retried` or more is to the same people.
        most_displays: of keys with at most so many displays.
        within_hours: share of the calls within the last three hours, at most, of any but a mobile
            number.
        talk: calls of which it was reported how long they lasted, from which on talk is asked.
    """

    mobile: float = 280.0
    other: float = 700.0
    persistent: float = 1_200.0
    retried: float = 0.05
    most_displays: int = 12
    within_hours: float = 0.75
    talk: int = 50


class Links(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a caller is one that was found before, under another name (`analytics.linkage`).

    Attributes:
        numbers: of a found caller's, that have to be with one new caller; share: of all that the
            found one had, likewise. A few recycled numbers are nobody's return.
        own: share of the new caller's calls that show them, at least, where it does not hold them:
            a transit carrier shows everybody's.
        callees: of a found caller's, whom the new one has called.
        honest, same: share of first calls that go to callees of found callers: of an honest caller
            at most, where chance does not say more, and of who goes through the same list. Pools
            that call at random share some hundredth of their callees with anybody.
        chance: how many times the share of others' calls to the same area is still chance.
        label, refuse: chance that an honest caller at that bound is ever suspected, or found.
        remembered: seconds for which a mark lies, from when its caller was last found.
    """

    numbers: int = 20
    share: float = 0.5
    own: float = 0.5
    callees: int = 20
    honest: float = 0.1
    same: float = 0.6
    chance: float = 2.0
    label: float = 0.01
    refuse: float = 1e-5
    remembered: int = 30 * DAY


class Complained(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When complaints speak against a caller (`analytics.complaints`).

    Attributes:
        honest: complaints a call of an honest caller, at most, unless its peers have more.
        peers: how many times its peers' rate an honest caller may have.
        pool: how many times as many a pool has.
        least: complaints by different callees, below which nothing is said.
        label, refuse: chance that an honest caller at the bound is labelled; that complaints make a
            suspicion a finding. By themselves they only label.
        days: of which complaints and calls count.
        a_callee: complaints of one callee that count in a day, one a caller in all of the days.
        a_source: complaints by one source that count against one caller in a day.
    """

    honest: float = 0.0005
    peers: float = 3.0
    pool: float = 10.0
    least: int = 5
    label: float = 0.05
    refuse: float = 1e-4
    days: int = 7
    a_callee: int = 5
    a_source: int = 20


class OwnPast(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a caller departs from its own past; it is labelled, and lowered where talk says so.

    Attributes:
        calls: at hours at which it never called, one after another. known_calls: at others, before
            which nothing is usual.
        strangers: share of the former that go to strangers, at least. more_strangers: at least so
            much more than of the latter, since a poll calls strangers at any hour; or busier: so
            many times as many calls an hour.
        ends: of such calls, from which on talk is asked.
        stands_for: seconds without such calls, after which nothing stands any more: the office
            that was used at night opens in the morning.
    """

    calls: int = 30
    known_calls: int = 40
    strangers: float = 0.75
    more_strangers: float = 0.15
    busier: float = 3.0
    ends: int = 20
    stands_for: int = 2 * HOUR


class CallBacks(Struct, frozen=True, forbid_unknown_fields=True):
    """When those who call back speak for a caller, where talk is not reported.

    Attributes:
        business, pool: share of callees who call back; two or three in a hundred of a pool's do, to
            complain. speaks: chance that a pool at its bound is ever spoken for.
        least: who called back, at least.
    """

    business: float = 0.08
    pool: float = 0.03
    speaks: float = 0.05
    least: int = 5


class Bindings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When privacy numbers are lent to who calls strangers all over the country.

    An agent (who calls behind a binding) is judged by the own number and the callees, since what
    these see looks local by design. A courier and a driver work in one city; a merchant calls
    customers anywhere, but few a day, and some of them twice.

    Attributes:
        least_calls: of one agent in the window, below which nothing is found.
        matching: share of calls within the agent's own area, at most. reach: areas of callees, at
            least. recurring: as in Locality.
        lent_calls: calls of agents found, from which the platform itself is judged. lent: their
            share of all its bound calls, at least.
        refused_calls, refused_recurring: of an agent, from which and up to which it is found where
            talk speaks against it; suspected where talk is not reported: advisers who call all
            over the country come to 100.
        shared_calls: bound calls of a platform, from which its agents are judged together by how
            their callees take them, which lowers all and refuses nobody.
    """

    least_calls: int = 60
    matching: float = 0.3
    reach: float = 25.0
    recurring: float = 0.1
    lent_calls: int = 100
    lent: float = 0.2
    refused_calls: int = 150
    refused_recurring: float = 0.02
    shared_calls: int = 200


class Policy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of them.

    Attributes:
        measures: those that are on.
        structure_alone: how displays spread refuses by itself, as in releases before talk and
            repeats were asked; it refuses nearly every business with many numbers in many cities.
        remembered: seconds for which a key with many displays is remembered after its last call.
        window: seconds; figures reach back between half of it and all of it. A day, because people
            and pools live by it.
        suspect: strength from which a key is suspected; keep: down to which it stays so, and a
            pooled one is confirmed. The honest of the tuning seeds reach 0.47 (a call centre's
            rotation), all others 0.4 or less.
        pooled_for: seconds after the last confirmation until a pooled key is cleared: a caller that
            stops is cleared a day later. suspected_for: likewise of a suspected one.
        redial: seconds within which a call from the same display to the same callee is a call that
            was dialled again, and no sign that they know each other.
        max_keys: keys remembered; half of the places are for those with fewer than
            `established` calls, so that a flood of new keys evicts its own.
        salt: secret of the operator, the same on all nodes of a fleet: without it nobody can
            choose numbers that count as one.
        cap: calls a minute of a suspected caller; 0 for any number.
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
    bindings: Bindings = Bindings()
    talk: HonestTalk = HonestTalk()
    repeats: HonestRepeats = HonestRepeats()
    strangers: Strangers = Strangers()
    links: Links = Links()
    complained: Complained = Complained()
    own_past: OwnPast = OwnPast()
    call_backs: CallBacks = CallBacks()
    structure_alone: bool = False
    remembered: int = 21 * DAY
    window: int = DAY
    suspect: float = 0.7
    keep: float = 0.5
    pooled_for: int = DAY
    suspected_for: int = 6 * HOUR
    redial: int = 300
    max_keys: int = 100_000
    established: int = 8
    salt: int = 0
    max_backlog: int = 100_000
    cap: int = 0

    def __post_init__(self) -> None:
        locality = self.locality
        if not (0 < locality.false_alarm < 0.5 and 0 < locality.miss < 0.5):
            raise ConfigError("locality: false_alarm and miss lie between 0 and 0.5")
        if not 0 <= locality.honest_lift < locality.pool_lift < 1:
            raise ConfigError("locality: 0 <= honest_lift < pool_lift < 1 expected")
        if not 0 < self.keep <= self.suspect <= 1:
            raise ConfigError("0 < keep <= suspect <= 1 expected")
        if self.window < HOUR or min(self.pooled_for, self.suspected_for, self.redial) < 1:
            raise ConfigError(
                "window: an hour or more; pooled_for, suspected_for, redial: 1 or more"
            )
        for test in (self.talk, self.repeats):
            if not (0 < test.refuse <= test.label < 1 and test.floor < 0):
                raise ConfigError("talk, repeats: 0 < refuse <= label < 1 and floor < 0 expected")
        if not 0 < self.talk.first_refuse <= self.talk.first_label < 1:
            raise ConfigError("talk: 0 < first_refuse <= first_label < 1 expected")
        if self.max_keys < 16 or self.established < 1 or min(self.max_backlog, self.cap) < 0:
            raise ConfigError(
                "max_keys: 16 or more; established: 1 or more; max_backlog, cap: 0 or more"
            )
