"""The conduct of who signs: what a verified call is counted for, and what was found.

Keys are the signer, one (SPC, origid), and the SPC over all its origids: a dishonest signer mints a
fresh origid for each call. Where the registry knows the binding of a privacy number, there is who
calls behind it, too.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from zhenxian.analytics.model import (
    DisplayConduct,
    Finding,
    Key,
    KeyKind,
    Measure,
    Observation,
    State,
    agent,
)
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.registry.model import Binding, Registry
from zhenxian.verifier.token import VerifiedPASSporT

_CACHED: Final = 65_536  # pairs of keys; about 20 MB when full


class PooledVerifying(str, Enum):
    """What verifying does with a genuine token whose signer's conduct shows a pool.

    FAIL gives TN-Validation-Failed, LABEL only tells; OFF asks nothing.
    """

    FAIL = "fail"
    LABEL = "label"
    OFF = "off"


class ConductPolicy(Struct, frozen=True):
    """What findings lead to.

    Attributes:
        signers: of one (SPC, origid); of an agent; and of an SPC whose origids say nothing and
            whose calls, taken as one signer's, show a pool.
        carriers: of any other SPC. To fail these is to fail every call that a carrier signs, of
            which honest ones have a customer of whom most of their calls are.
    """

    signers: PooledVerifying = PooledVerifying.FAIL
    carriers: PooledVerifying = PooledVerifying.LABEL

    def on(self, finding: Finding) -> PooledVerifying:
        """What this finding leads to; a mere suspicion fails nothing."""
        # An SPC's calls are one signer's only where its origids do not tell callers apart.
        minted = Measure.ORIGIDS in finding.measures and len(finding.measures) > 1
        said = self.signers if minted or finding.key.kind is not KeyKind.SPC else self.carriers
        if said is PooledVerifying.FAIL and finding.state is not State.POOLED:
            return PooledVerifying.LABEL
        return said


AS_USUAL: Final = ConductPolicy()


def keys(token: VerifiedPASSporT) -> tuple[Key, ...]:
    """Whose conduct a token counts for; nobody's when it is of a type without origid.

    A certificate for numbers alone (RFC 9060 section 5) names no SPC; the serial of the one that
    the numbers were delegated with stands for it, however many are made below that.
    """
    extension = token.passport.extension
    if not isinstance(extension, Shaken):
        return ()
    signer = token.signer
    return _keys(signer.spc or f"certificate {signer.delegated:X}", extension.origid)


@lru_cache(_CACHED)
def _keys(spc: str, origid: str) -> tuple[Key, Key]:
    spc = str(spc)  # a plain one, which can be written to a file
    return Key(KeyKind.SIGNER, f"{spc}/{origid}"), Key(KeyKind.SPC, spc)


def against(
    keys: tuple[Key, ...],
    conduct: DisplayConduct,
    policy: ConductPolicy,
    registry: Registry | None,
    now: int,
    *,
    binding: Binding | None = None,
    behind: TN | None = None,
) -> Finding | None:
    """What stands against the signer, its SPC or agent and is not exempt; what leads to most.

    Where the registry cannot be asked nobody is exempt. What is found of a carrier labels no call
    of a signer whose own calls show that it is none of those: who has made so many that it would be
    found itself.

    Args:
        binding: permits the display; then how bindings are used speaks against the call, and
            nothing else does. behind: who calls by it; None when it may be anybody.
    """
    worst = None
    if binding is not None and behind is not None:
        keys = (agent(binding.platform, behind), *keys)
    for key in keys:
        found = conduct.finding(key, now)
        if found is None or _exempt(found, registry, now):
            continue
        if key.kind is KeyKind.SPC and _told_apart(found, keys, conduct, now):
            continue
        of_bindings = key.kind is KeyKind.AGENT or Measure.BINDINGS in found.measures
        if binding is not None and not of_bindings:
            continue
        said = policy.on(found)
        if said is PooledVerifying.FAIL:
            return found
        if said is PooledVerifying.LABEL and (worst is None or found.state > worst.state):
            worst = found
    return worst


def _told_apart(found: Finding, keys: tuple[Key, ...], conduct: DisplayConduct, now: int) -> bool:
    """Tell whether the carrier's origids tell its signers apart, and this one is well known."""
    if Measure.ORIGIDS in found.measures:
        return False
    return any(key.kind is KeyKind.SIGNER and conduct.known(key, now) for key in keys)


def _exempt(finding: Finding, registry: Registry | None, now: int) -> bool:
    if registry is None:
        return False
    key = finding.key
    whose = [(key.kind.value, key.id)]
    if key.kind is KeyKind.AGENT:
        whose.append((KeyKind.SUBJECT.value, key.id.rpartition("/")[0]))
    try:
        exemptions = [registry.exemption(kind, target, now) for kind, target in whose]
    except StoreUnavailableError:
        return False
    return any(
        exemption is not None
        and all(exemption.covers(measure.value) for measure in finding.measures)
        for exemption in exemptions
    )


def observation(
    token: VerifiedPASSporT,
    keys: tuple[Key, ...],
    callee: TN | None,
    *,
    binding: Binding | None,
    behind: TN | None,
    at: int,
    mark: int = -1,
) -> Observation | None:
    """What a verified call tells of conduct; None when its display is no number.

    Args:
        callee: whom the call is for, by the request: a token may name others beside.
        binding: a live one of a privacy number that shows the display to the callee. behind: who
            calls by it; None when it may be anybody.
        mark: as in Observation.
    """
    extension = token.passport.extension
    orig = token.orig
    if not keys or not isinstance(orig, TN) or not isinstance(extension, Shaken):
        return None
    bound = binding is not None
    if binding is not None and behind is not None:
        keys = (*keys, agent(binding.platform, behind))
    return Observation(at, keys, orig, callee, extension.origid, bound, mark, behind)
