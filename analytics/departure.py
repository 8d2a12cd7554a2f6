"""How far a caller departs from its own past (analytics.past): a suspicion at most."""

from __future__ import annotations

from math import log
from typing import Final

from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.past import HOUR
from zhenxian.analytics.proof import WOULD_TELL_TALK
from zhenxian.analytics.thresholds import Policy

_LEAST_SECONDS: Final = HOUR // 4  # so that a few calls in a row are no rate
_NOTHING: Final = Assessment(
    measure=Measure.OWN_PAST, strength=0.0, figures={}, thresholds={}, suspicion=0.0
)


def departure(counts: KeyCounts, policy: Policy) -> Assessment:
    """Calls at hours at which the caller never made any, many of them, to strangers."""
    past, limits = counts.past, policy.own_past
    unusual = past.unusual if past is not None else None
    if past is None or unusual is None:
        return _NOTHING
    usual = past.strangers / past.calls if past.calls else 1.0
    share = unusual.strangers / max(unusual.calls, 1)
    hours = max(unusual.last - unusual.since, _LEAST_SECONDS) / HOUR
    usual_rate = past.calls / max(past.made_hours, 1)
    rate = unusual.calls / hours
    # Whom it knows is not known in the first days; how much it calls is.
    busier = rate >= limits.busier * usual_rate
    limit = limits.strangers if busier else max(limits.strangers, usual + limits.more_strangers)
    figures = {
        "calls at unusual hours": float(unusual.calls),
        "of them to strangers": share,
        "to strangers at usual hours": usual,
        "calls at usual hours": float(past.calls),
        "calls an hour": rate,
        "calls an hour at usual hours": usual_rate,
    }
    thresholds = {
        "calls at unusual hours": float(limits.calls),
        "of them to strangers": limit,
        "calls at usual hours": float(limits.known_calls),
    }
    met = (
        unusual.calls / limits.calls,
        1.0 if share >= limit else share / limit * _SHORT,
        past.calls / limits.known_calls,
    )
    talk = unusual.talk
    known = talk is not None and talk.timed >= limits.ends
    suspicion, lowers = min(met), False
    if known and talk is not None:
        talked = talk.score
        figures |= {
            "answered": talk.answered / talk.told,
            "long talks": talk.long / talk.timed,
            "talk log-likelihood ratio": talked,
        }
        lowers = talked >= log(1 / policy.talk.label)
        if talked < 0:
            suspicion = 0.0  # a night shift whose callees talk to it
    return Assessment(
        measure=Measure.OWN_PAST,
        strength=0.0,
        figures=figures,
        thresholds=thresholds,
        suspicion=suspicion,
        would_tell=() if known or suspicion < 1 else (WOULD_TELL_TALK,),
        lowers=lowers,
    )


_SHORT: Final = 0.7  # so that a share that falls short is no suspicion, and does not keep one
