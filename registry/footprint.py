"""What an enterprise declared, against what is found of it: what is expected has no effect.

A declaration takes the effect from a finding, and never adds any: with one, nobody is labelled,
lowered or refused who would not be without. It covers calls with verified numbers of the subject's
own; of what shows any other number it says nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from zhenxian.analytics.areas import names
from zhenxian.analytics.model import Finding, Measure
from zhenxian.analytics.proof import BOTH
from zhenxian.core.tn import TN
from zhenxian.registry.customers import Declaration
from zhenxian.registry.model import Holding, Registry, Verification

# Of a call: the subject of its access, its display, and who holds that.
Call: TypeAlias = tuple[str, TN | None, Holding | None]

_STRUCTURE: Final = frozenset({Measure.SPREAD, Measure.LOCAL_PRESENCE})
_CACHED: Final = 4_096


def held(call: Call) -> bool:
    """True when the display is a verified number of the subject of the access."""
    subject, _, holding = call
    return (
        holding is not None
        and holding.subject == subject
        and holding.verification is Verification.VERIFIED
    )


def expected(found: Finding, call: Call, registry: Registry, now: int) -> bool:
    """True when what was found is what the subject declared, as far as this call goes.

    Raises:
        StoreUnavailableError: the registry cannot be asked.
    """
    subject, display, _ = call
    if display is None or not held(call):
        return False
    return any(
        _covers(one, display) and all(_declared(measure, found, one) for measure in found.measures)
        for one in registry.declarations(subject, now)
    )


def _covers(declaration: Declaration, display: TN) -> bool:
    if not declaration.lists(display):
        return False
    cities = declaration.cities
    return not cities or not _cities(cities).isdisjoint(names(display))


@lru_cache(_CACHED)
def _cities(cities: tuple[str, ...]) -> frozenset[str]:
    return frozenset(city.replace("_", " ").casefold().removesuffix("市") for city in cities)


def _declared(measure: Measure, found: Finding, declaration: Declaration) -> bool:
    """Whether a measure shows no more than was declared.

    Many numbers, and numbers of the callee's city, are what branches have. But a pool may be
    declared as well: where both how callees take its calls and whom it calls again speak against
    the caller, the declaration does not help it.
    """
    if measure in _STRUCTURE:
        return found.figures.get(BOTH, 0.0) < 1
    # A census that is declared is one, unless its callees take it for something else.
    return measure is Measure.STRANGERS and bool(declaration.purpose) and not found.lowers
