"""What findings stand against who makes or signs a call, once exemptions were asked for."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from zhenxian.analytics.model import DisplayConduct, Finding, Key, KeyKind, Measure, agent
from zhenxian.core.tn import TN
from zhenxian.registry.footprint import Call, expected, held
from zhenxian.registry.model import Binding, Registry

_by_state: Final[Callable[[Finding], int]] = attrgetter("state")


def against(
    keys: tuple[Key, ...],
    conduct: DisplayConduct,
    registry: Registry | None,
    now: int,
    binding: Binding | None,
    hidden_caller: TN | None,
    weight: Callable[[Finding], int] = _by_state,
    call: Call | None = None,
) -> Finding | None:
    """What stands against any of these and is not exempt: the heaviest, of equals the first.

    What is found of a carrier says nothing of a signer of its own that is well known, and of whom
    nothing is found, as long as the carrier's origids tell its signers apart. What is found of a
    reseller's callers together is held against those of them alone whose own calls look like it.

    Args:
        keys: the closest one first.
        registry: is asked for exemptions; None exempts nobody.
        now: seconds since the epoch.
        binding: permits the display; then how bindings are used speaks against the call, and
            nothing else does.
        hidden_caller: who calls by it; None when it may be anybody.
        weight: how much a finding leads to; 0 for nothing. By default what is worse weighs more.
        call: where it is signed: then exemptions and declarations cover only verified numbers that
            the subject of the access holds.

    Raises:
        StoreUnavailableError: the registry cannot be asked for exemptions.
    """
    if binding is not None and hidden_caller is not None:
        keys = (agent(binding.platform, hidden_caller), *keys)
    worst, heaviest = None, 0
    for key in keys:
        found = conduct.finding(key, now)
        if found is None or _told_apart(found, keys, conduct, now):
            continue
        of_bindings = binding is None or (
            key.kind is KeyKind.AGENT or Measure.BINDINGS in found.measures
        )
        weighs = weight(found) if of_bindings else 0
        if weighs > heaviest and not (
            registry is not None and _without_effect(found, keys, registry, now, call)
        ):
            worst, heaviest = found, weighs
    return worst


def _without_effect(
    found: Finding, keys: tuple[Key, ...], registry: Registry, now: int, call: Call | None
) -> bool:
    if call is None:
        return exempt(found, keys, registry, now)
    if not held(call):
        return False
    subject = Key(KeyKind.SUBJECT, call[0])
    whose = keys if subject in keys else (*keys, subject)  # of a customer, too
    return exempt(found, whose, registry, now) or expected(found, call, registry, now)


def _told_apart(found: Finding, keys: tuple[Key, ...], conduct: DisplayConduct, now: int) -> bool:
    """Tell whether a carrier's finding is not this signer's, or a reseller's not this caller's."""
    if found.key.kind is KeyKind.RESELLER:
        since = found.since
        return not any(key.kind in _ORIGINATING and conduct.resembles(key, since) for key in keys)
    if found.key.kind is not KeyKind.SPC or Measure.ORIGIDS in found.measures:
        return False
    return any(key.kind is KeyKind.SIGNER and conduct.known(key, now) for key in keys)


def exempt(finding: Finding, keys: tuple[Key, ...], registry: Registry, now: int) -> bool:
    """True when one exemption takes the effect from everything that was found.

    A subject that is exempt is so on each of its accesses and for its agents, and an access for the
    agents that call by it. A carrier that is exempt is not so for those whom it signs for.

    Args:
        keys: of the call, the finding's own among them.

    Raises:
        StoreUnavailableError: the registry cannot be asked.
    """
    for whose in _answerable(finding.key, keys):
        exemption = registry.exemption(whose.kind.value, whose.id, now)
        if exemption is not None and all(
            exemption.covers(measure.value) for measure in finding.measures
        ):
            return True
    return False


def _answerable(key: Key, keys: tuple[Key, ...]) -> list[Key]:
    """The key itself, and those that answer for it."""
    if key.kind is KeyKind.AGENT:
        platform = Key(KeyKind.SUBJECT, key.id.rpartition("/")[0])
        return [key, platform, *(one for one in keys if one.kind in _ORIGINATING)]
    if key.kind is KeyKind.ACCESS:
        access, slash, _ = key.id.partition("/")
        shared = [Key(KeyKind.ACCESS, access)] if slash else []  # a customer shares the access
        return [key, *shared, *(one for one in keys if one.kind is KeyKind.SUBJECT)]
    return [key]


_ORIGINATING: Final = (KeyKind.ACCESS, KeyKind.SUBJECT)
