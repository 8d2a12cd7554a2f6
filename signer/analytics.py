"""The conduct of who calls: what it is counted for, and what was found.

Keys are the access a call came in by and its subject, so that numbers moved from one access to
another stay together; and who calls behind a privacy number, whom the platform answers for.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from zhenxian.analytics.model import (
    DisplayConduct,
    Finding,
    Key,
    KeyKind,
    Measure,
    Observation,
    agent,
)
from zhenxian.core.tn import TN
from zhenxian.registry.model import Access, Binding, Registry
from zhenxian.signer.request import SigningRequest

_CACHED: Final = 65_536  # pairs of keys; about 20 MB when full


class PooledSigning(str, Enum):
    """What signing does with a call of somebody whose conduct shows a pool.

    REFUSE gives no token, LOWER nothing above B, LABEL only tells; OFF asks nothing. A suspicion
    leads to B at most, of REFUSE and LOWER alike.
    """

    REFUSE = "refuse"
    LOWER = "lower"
    LABEL = "label"
    OFF = "off"


@lru_cache(_CACHED)
def _keys(access: str, subject: str) -> tuple[Key, ...]:
    return Key(KeyKind.ACCESS, access), Key(KeyKind.SUBJECT, subject)


def against(
    access: Access, behind: Key | None, conduct: DisplayConduct, registry: Registry, now: int
) -> Finding | None:
    """What stands against an access, its subject or agent and is not exempt; the worst of them.

    A subject that is exempt is so on every access, and for its agents.

    Args:
        behind: the agent's key, for a call that a binding permits: how bindings are used speaks
            against such a call, and nothing else does.

    Raises:
        StoreUnavailableError: the registry cannot be asked for exemptions.
    """
    keys = _keys(access.id, access.subject)
    if behind is not None:
        keys = (behind, *keys)
    worst = None
    for place, key in enumerate(keys):
        found = conduct.finding(key, now)
        if (
            found is not None
            and (worst is None or found.state > worst.state)
            and (behind is None or key is behind or Measure.BINDINGS in found.measures)
            and not any(_exempt(whose, found, registry, now) for whose in keys[place:])
        ):
            worst = found
    return worst


def _exempt(key: Key, finding: Finding, registry: Registry, now: int) -> bool:
    exemption = registry.exemption(key.kind.value, key.id, now)
    return exemption is not None and all(
        exemption.covers(measure.value) for measure in finding.measures
    )


def observation(
    request: SigningRequest, access: Access, binding: Binding | None, at: int
) -> Observation | None:
    """What a call tells of conduct; None when its display is no number.

    Of several callees the first counts: forked calls are one call.
    """
    if not isinstance(request.orig, TN):
        return None
    called = request.dest.tn
    callee = called[0] if called else None
    keys, caller = _keys(access.id, access.subject), request.caller
    if binding is None or caller is None:
        return Observation(at, keys, request.orig, callee)
    keys = (*keys, agent(binding.platform, caller))
    return Observation(at, keys, request.orig, callee, bound=True, hidden_caller=caller)


def agent_of(request: SigningRequest, binding: Binding | None) -> Key | None:
    """Key of who calls behind a privacy number; None where no binding permits the call."""
    caller = request.caller
    return None if binding is None or caller is None else agent(binding.platform, caller)
