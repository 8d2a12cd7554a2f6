"""The conduct of who calls: what it is counted for, and what was found.

Keys are the access a call came in by and its subject, so that numbers moved from one access to
another stay together.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from displays.model import DisplayConduct, Finding, Key, KeyKind, Observation
from passport.tn import TN
from registry.model import Access, Binding, Registry
from signer.request import SigningRequest

_CACHED: Final = 65_536  # pairs of keys; about 20 MB when full


class PooledSigning(str, Enum):
    """What signing does with a call of somebody whose conduct shows a pool.

    REFUSE gives no token, LOWER nothing above B, LABEL only tells; OFF asks nothing.
    """

    REFUSE = "refuse"
    LOWER = "lower"
    LABEL = "label"
    OFF = "off"


@lru_cache(_CACHED)
def _keys(access: str, subject: str) -> tuple[Key, Key]:
    return Key(KeyKind.ACCESS, access), Key(KeyKind.SUBJECT, subject)


def against(
    access: Access, conduct: DisplayConduct, registry: Registry, now: int
) -> Finding | None:
    """What stands against an access or its subject and is not exempt; the worse of two.

    A subject that is exempt is so on every access.

    Raises:
        StoreUnavailableError: the registry cannot be asked for exemptions.
    """
    keys = _keys(access.id, access.subject)
    worst = None
    for place, key in enumerate(keys):
        found = conduct.finding(key, now)
        if (
            found is not None
            and (worst is None or found.state > worst.state)
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
    return Observation(
        at,
        _keys(access.id, access.subject),
        request.orig,
        called[0] if called else None,
        bound=binding is not None,
    )
