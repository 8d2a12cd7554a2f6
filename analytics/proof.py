"""What independent evidence makes of how displays spread: nothing yet, a suspicion, or a pool.

A structure (many numbers, of many cities or chosen to fit the callee) is no proof by itself. It is
held against how callees take the calls and whom the numbers call again (`analytics.evidence`).
Where neither was reported, or not often enough, nobody can tell; the assessment then says what
would.
"""

from __future__ import annotations

from math import log
from typing import Final

from msgspec.structs import replace

from zhenxian.analytics.callbacks import speak_for
from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.evidence import Contacts, TalkCounts
from zhenxian.analytics.model import Assessment
from zhenxian.analytics.thresholds import HonestRepeats, HonestTalk, Policy

_ENOUGH_ENDS: Final = 20  # ends of calls, from which on talk is asked
_SPEAKS: Final = 3  # callees of an earlier half day called again, who speak for a caller
_TENFOLD: Final = log(10)
_SPEAKS_SCORE: Final = -1.0
NO_POOL: Final = 0.69  # strength of what is a suspicion at most
BOTH: Final = "talk and repeats"  # how far both speak against a caller; from 1 on they do
_SPEAKS_SHARE: Final = 0.01  # of answered calls, to people who had answered before
WOULD_TELL_TALK: Final = "seconds of talk beside answered, in POST /v1/displays/ended"
WOULD_TELL_REPEATS: Final = "more calls of numbers seen on an earlier day"


def proven(
    found: Assessment, counts: KeyCounts, policy: Policy, enough: float, *, one_city: bool
) -> Assessment:
    """The assessment with what evidence makes of it.

    Args:
        found: of a structure.
        enough: as of measures.assess.
        one_city: the numbers are of too few cities to be a structure by themselves; then both
            talk and repeats have to speak against the caller before anything is refused.
    """
    if enough >= 0 and (found.strength < 1 or not evident(counts, policy, enough)):
        return replace(found, strength=0.0, suspicion=0.0, structure=found.strength)
    talk, contacts = counts.talk, counts.contacts
    structure = min(found.strength, 1.0)
    figures, would_tell = _figures(talk, contacts), []
    talked = talk_score(counts)
    lately = contacts.score if contacts is not None else 0.0
    aged = contacts.aged_score if contacts is not None else 0.0
    repeats_label, repeats_refuse = (log(1 / one) for one in _levels(policy.repeats))
    talk_label, talk_refuse = (log(1 / one) for one in _levels(policy.talk))
    talk_refuse += counts.care * _TENFOLD
    by_repeats = (min(lately, aged) if _tries_again(contacts) else aged) / repeats_refuse
    suspicion = max(lately, aged) / repeats_label
    by_talk = 0.0
    if talked is None:
        would_tell.append(WOULD_TELL_TALK)
        strength = 0.0 if one_city else by_repeats
    else:
        figures["talk log-likelihood ratio"] = talked
        # Who is talked to as others are is no pool, however few are called again.
        leaning = talked > 0
        by_talk = with_repeats(talked, contacts) / talk_refuse if leaning else 0.0
        figures[BOTH] = max(0.0, min(by_talk, max(lately, aged) / repeats_label))
        suspicion = max(talked / talk_label, suspicion if leaning else 0.0)
        if one_city:
            strength = min(by_talk, suspicion, max(lately, aged) / repeats_label)
        else:
            strength = max(by_talk, by_repeats if leaning else 0.0)
    first = contacts.first if contacts is not None else None
    if first is not None and first.timed >= _ENOUGH_ENDS and first.score > max(talked or 0.0, 0.0):
        # Said only where it says more than all calls together.
        figures |= {
            "first calls of each number": first.timed,
            "of them long talks": first.long / first.timed,
            "first calls log-likelihood ratio": first.score,
        }
        suspicion = max(suspicion, first.score / log(1 / policy.talk.first_label))
        if by_talk > 0 and not one_city:
            strength = max(strength, first.score / log(1 / policy.talk.first_refuse))
    if aged < repeats_refuse:
        would_tell.append(WOULD_TELL_REPEATS)
    if spoken_for(contacts) or answered_again(counts):
        strength = 0.0
    if talked is None and speak_for(contacts, policy.call_backs):
        strength = suspicion = 0.0
    return replace(
        found,
        strength=min(structure, max(0.0, strength)) if structure >= 1 else 0.0,
        suspicion=max(0.0, suspicion) if structure >= 1 else 0.0,
        figures=found.figures | figures,
        structure=found.strength,
        would_tell=tuple(would_tell) if structure >= 1 and strength < 1 else (),
    )


def evident(counts: KeyCounts, policy: Policy, enough: float) -> bool:
    """Tell cheaply whether any evidence makes more than so much of a structure."""
    contacts, talk = counts.contacts, counts.talk
    if contacts is not None:
        repeats = max(contacts.score, contacts.aged_score)
        if repeats > enough * log(1 / policy.repeats.label):
            return True
        if contacts.first.score > enough * log(1 / policy.talk.first_label):
            return True
    if talk is None:
        return False
    score = talk.score
    if score > 0 and contacts is not None:
        score = max(score, contacts.together.score)
    label, refuse = (log(1 / one) for one in _levels(policy.talk))
    refuse += counts.care * _TENFOLD
    return refuse <= 0 or score > enough * min(label, refuse)


def talk_score(counts: KeyCounts) -> float | None:
    """How far talk speaks against a caller; None where too little of it was reported."""
    talk = counts.talk
    return talk.score if talk is not None and talk.timed >= _ENOUGH_ENDS else None


def weighed(
    found: Assessment, counts: KeyCounts, policy: Policy, *, refuses: float | None
) -> Assessment:
    """What talk makes of many calls, or of displays in turn: they lower, unless it speaks for them.

    A broadcast to a town calls as much as a robot, and a call centre that works through one list
    after another takes its numbers in turn as a box of SIM cards does.

    Args:
        refuses: chance that talk speaks so much against an honest caller, at which they refuse;
            None where they never do.
    """
    if policy.structure_alone or found.strength <= 0:
        return found
    score, suspicion = talk_score(counts), found.suspected(policy.suspect)
    if score is None:
        return replace(
            found,
            strength=min(found.strength, NO_POOL),
            suspicion=suspicion,
            would_tell=(WOULD_TELL_TALK,) if suspicion >= 1 else (),
        )
    if score < 0:
        return replace(found, strength=0.0, suspicion=0.0, structure=found.strength)
    by_talk = 0.0 if refuses is None else score / log(1 / refuses)
    return replace(
        found,
        strength=min(found.strength, by_talk if by_talk >= 1 else NO_POOL),
        suspicion=suspicion,
        structure=found.strength,
        figures=found.figures | {"talk log-likelihood ratio": score},
    )


def with_repeats(talked: float, contacts: Contacts | None) -> float:
    """Talk together with whom the caller calls again, of those whom it had reached before.

    Each call adds what both say of it, in one test: a caller who is seldom answered but calls its
    customers again never comes far. A caller half of whose calls are repeated is asked for talk
    alone, because nobody but who wants to be seen doing so calls like that.
    """
    if contacts is None or not _tries_again(contacts) or contacts.together.timed < _ENOUGH_ENDS:
        return talked
    return contacts.together.score


def _tries_again(contacts: Contacts | None) -> bool:
    """Tell whether calls are repeated on one day as by who did not reach somebody, not more."""
    return contacts is not None and contacts.known * 2 <= contacts.again


def _levels(test: HonestTalk | HonestRepeats) -> tuple[float, float]:
    return test.label, test.refuse


def spoken_for(contacts: Contacts | None) -> bool:
    """Tell whether people are called again on another day, as nobody does with a pool."""
    return (
        contacts is not None
        and contacts.aged_known >= _SPEAKS
        and contacts.aged_score <= _SPEAKS_SCORE
    )


def answered_again(counts: KeyCounts) -> bool:
    """Tell whether people who answered are called again within the window, and answer again."""
    calls, again = 0, 0.0
    for half in (counts.now, counts.old):
        if half is not None and half.contacts is not None:
            calls += half.contacts.calls
            again += half.contacts.genuine
    return again >= _SPEAKS and again >= _SPEAKS_SHARE * calls


def _figures(talk: TalkCounts | None, contacts: Contacts | None) -> dict[str, float]:
    figures: dict[str, float] = {}
    if talk is not None and talk.told:
        figures["answered"] = talk.answered / talk.told
        if talk.timed:
            figures["long talks"] = talk.long / talk.timed
    if contacts is not None:
        figures |= {
            "displays seen again": contacts.again,
            "of them to a callee called before": contacts.known,
            "displays seen on an earlier day": contacts.aged,
            "of them to a callee called on an earlier day": contacts.aged_known,
            "repeats log-likelihood ratio": contacts.aged_score,
        }
        if contacts.back:
            figures["callees who called back"] = len(contacts.back)
    return figures
