"""What is known of a caller beside its own calls: marks of callers found before, and complaints."""

from __future__ import annotations

from math import log
from typing import Final

from msgspec.structs import replace

from zhenxian.analytics.complaints import Complaint, Complaints
from zhenxian.analytics.counted import pair_hash
from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.linkage import Linkage
from zhenxian.analytics.model import Assessment, Key, Measure
from zhenxian.analytics.proof import spoken_for, with_repeats
from zhenxian.analytics.sketch import LEVEL_BITS
from zhenxian.analytics.thresholds import Policy

WELL_KNOWN: Final = 250  # calls within a week, from which on a caller is no new one
_ENOUGH_ENDS: Final = 20  # ends of calls, from which on talk speaks for a caller
_SOME_ENDS: Final = 12  # of calls, from which on a new customer of a found reseller is judged
_AGAINST: Final = log(20)  # log-likelihood ratio of talk, which 1 honest caller in 20 ever has
_SOME_DISPLAYS: Final = 3
_MANY: Final = 12  # displays, which no office shows within four times as many calls
_CALLS_EACH: Final = 4
_EACH_SPEAKS: Final = 0.03  # log-likelihood ratio a call; a business at its bounds comes to 0.05
_MOST_EACH: Final = 4.0  # beyond that more calls say no more: the tests begin anew at -6
_AGAIN: Final = 2  # calls to somebody called before
_AGAIN_SHARE: Final = 0.01  # of calls of displays seen before
_SPEAKS_SCORE: Final = -1.0
_NEVER: Final = 1 << 60
_KEPT: Final = 42  # half windows, three weeks
_LOW: Final = (1 << LEVEL_BITS) - 1
_HIGH: Final = ~_LOW


class Outside:
    """Marks and complaints, and what they add to the measures of a caller's own calls.

    Attributes:
        linkage: who was found before. complaints: what callees complained of.
    """

    def __init__(self, policy: Policy) -> None:
        self.linkage = Linkage(policy.links)
        self.complaints = Complaints(policy.complained)
        self._policy = policy
        self._half = policy.window // 2

    def concerns(self, key: Key) -> bool:
        """Tell cheaply whether there is anything of a caller."""
        return self.linkage.concerns(key) or self.complaints.concerns(key)

    def cleared(self, key: Key, at: int) -> tuple[Key, ...]:
        """Let what is from before a clearing count no more; who stood beside its mark."""
        self.complaints.cleared(key, at)
        return self.linkage.cleared(key, at)

    def expire(self, now: int) -> None:
        """Forget what is too old to count."""
        self.linkage.expire(now)
        self.complaints.expire(now)

    def beside(
        self, key: Key, counts: KeyCounts | None, own: tuple[Assessment, ...], at: int
    ) -> tuple[Assessment, ...]:
        """The measures of a caller's own calls with what else is known of it."""
        if not self.concerns(key):
            return own
        policy = self._policy
        honest = counts is not None and speaks_for(counts)
        if Measure.COMPLAINTS in policy.measures and counts is not None:
            complained = self.complaints.assessment(key, followed(counts), at)
            if complained is not None:
                proves = not honest and self.complaints.proves(complained)
                own = tuple(self._joined(one, complained) if proves else one for one in own)
                own = (*own, complained)
        if Measure.LINKAGE in policy.measures:
            known = counts is not None and counts.week >= WELL_KNOWN
            linked = self.linkage.assessment(
                key, since=counts.first if counts is not None and known else _NEVER, honest=honest
            )
            if linked is not None:
                own = (*own, linked)
        return own

    def _joined(self, own: Assessment, complained: Assessment) -> Assessment:
        """A suspicion that complaints prove."""
        if not own.lowers or own.suspected(self._policy.suspect) < 1:
            return own
        return replace(
            own, strength=max(own.strength, 1.0), figures=own.figures | complained.figures
        )

    def called(self, counts: KeyCounts | None, told: Complaint) -> int | None:
        """The day on which a caller first called that callee; None if it is not known to have.

        It is as the calls were seen here, because who passes a complaint on chooses its time.
        """
        if counts is not None and counts.carrier:
            counts = counts.as_one_signer
        if counts is None:
            return None
        pair = pair_hash(told.display, told.callee)
        sampled = pair & _HIGH | told.display & _LOW
        contacts, generation = counts.contacts, counts.generation
        if contacts is not None:
            first = contacts.pairs.age(sampled)
            if first is not None:
                known = ((told.at // self._half - first) & 255) <= _KEPT
                return (generation - ((generation - first) & 255)) // 2 if known else None
        wanted = sampled if counts.switch else pair
        for back, half in enumerate((counts.now, counts.old)):
            if half is not None and half.pairs is not None and wanted in half.pairs:
                return (generation - back) // 2
        return None


def speaks_for(counts: KeyCounts) -> bool:
    """Tell whether callees take a caller's calls, or are called again, as with nobody's pool."""
    talk = counts.talk
    talked = talk is not None and talk.timed >= _ENOUGH_ENDS and talk.score <= _SPEAKS_SCORE
    return talked or spoken_for(counts.contacts)


def resembles(counts: KeyCounts) -> bool:
    """Tell whether a caller's own calls look like what its reseller was found for.

    This is asked of who called before that. Not so while too little is known of it, or when it
    shows a few numbers only, as people and offices do. Who shows many has to be talked to as a
    business is by so many calls: one long talk early on is no business. Where its numbers call some
    people again, or are few, talk has to speak against it: of refused calls nothing more is heard,
    so that it would not come out again.
    """
    displays, talk = len(counts.displays_known), counts.talk
    if talk is not None and talk.told >= _SOME_ENDS:
        many = displays >= _MANY and displays * _CALLS_EACH >= counts.calls
        if many and not _calls_again(counts):
            return talk.score > -min(_EACH_SPEAKS * talk.told, _MOST_EACH)
        return displays >= _SOME_DISPLAYS and talk.score > _AGAINST
    if counts.contacts is None or displays < _MANY or counts.calls < 2 * _SOME_ENDS:
        return False  # calls are in progress, whose ends may yet be told
    return not speaks_for(counts) and not _calls_again(counts)


def speaks_against(counts: KeyCounts) -> bool:
    """Tell whether a caller who came after its reseller was found is like it, by its own calls.

    It had no part in what was found: talk has to speak against it, together with whom its numbers
    call again, as much as against 1 honest caller in 20 ever.
    """
    talk = counts.talk
    if talk is None or talk.score <= 0 or len(counts.displays_known) < _SOME_DISPLAYS:
        return False
    return with_repeats(talk.score, counts.contacts) > _AGAINST


def _calls_again(counts: KeyCounts) -> bool:
    """Tell whether a caller's numbers call some people again, as a pool's do on purpose alone."""
    contacts = counts.contacts
    if contacts is None or contacts.known < _AGAIN:
        return False
    return contacts.known >= _AGAIN_SHARE * contacts.again


def followed(counts: KeyCounts) -> float:
    """Calls of a week of the displays that are followed."""
    if counts.carrier and counts.as_one_signer is not None:
        counts = counts.as_one_signer
    level = counts.contacts.level if counts.contacts is not None else 0
    return max(1.0, counts.week / (1 << level))
