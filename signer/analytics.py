"""The conduct of who calls: what it is counted for, and what a pool leads to.

Keys are the access a call came in by and its subject, so that numbers moved from one access to
another stay together; and who calls behind a privacy number, whom the platform answers for.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from zhenxian.analytics.model import Key, KeyKind, Observation
from zhenxian.core.tn import TN
from zhenxian.registry import parties
from zhenxian.registry.customers import GATEWAY
from zhenxian.registry.model import Access, Binding, Holding
from zhenxian.signer.request import SigningRequest

_CACHED: Final = 65_536  # pairs of keys; about 20 MB when full


class PooledSigning(str, Enum):
    """What signing does with a call of somebody whose conduct shows a pool.

    REFUSE gives no token, LOWER nothing above B, LABEL only a label; OFF looks at nothing. A
    suspicion leads to B at most, of REFUSE and LOWER alike.
    """

    REFUSE = "refuse"
    LOWER = "lower"
    LABEL = "label"
    OFF = "off"


def keys(
    access: Access, holding: Holding | None = None, customer: str | None = None
) -> tuple[Key, ...]:
    """Whose conduct a call counts for.

    A call of one of those who share an access counts for that customer alone: the access, and its
    subject, are not taken for one caller of many displays.

    Args:
        holding: of the display. Where the access's subject has it from a reseller, all subjects of
            that reseller are judged together, too: many straw men are one caller then.
        customer: id of the customer; None for the access itself, and for who is none of them.
    """
    if customer is not None:
        return of_customer(access.id, customer)
    if holding is not None and holding.reseller and holding.subject == access.subject:
        return _resold(access.id, access.subject, holding.reseller)
    return _keys(access.id, access.subject)


@lru_cache(_CACHED)
def of_customer(access: str, customer: str) -> tuple[Key, ...]:
    """The key of one of those who share an access; no id of an access has "/"."""
    return (Key(KeyKind.ACCESS, f"{access}/{customer}"),)


@lru_cache(_CACHED)
def _keys(access: str, subject: str) -> tuple[Key, ...]:
    return Key(KeyKind.ACCESS, access), Key(KeyKind.SUBJECT, subject)


@lru_cache(_CACHED)
def _resold(access: str, subject: str, reseller: str) -> tuple[Key, ...]:
    return (*_keys(access, subject), Key(KeyKind.RESELLER, reseller))


@lru_cache(_CACHED)
def gateway(origid: str) -> tuple[Key, ...]:
    """The key of calls that came in by no access that is known; their origid tells them apart."""
    return (Key(KeyKind.ACCESS, f"{GATEWAY}/{origid}"),)


def observation_of_gateway(request: SigningRequest, at: int) -> Observation | None:
    """What a call of no known access tells of conduct; None without an origid, or a number."""
    if not isinstance(request.orig, TN) or not request.origid:
        return None
    called = request.dest.tn
    return Observation(
        at=at,
        keys=gateway(request.origid),
        display=request.orig,
        callee=called[0] if called else None,
    )


def observation(
    request: SigningRequest,
    access: Access,
    binding: Binding | None,
    at: int,
    holding: Holding | None = None,
    customer: str | None = None,
) -> Observation | None:
    """The call as analytics counts it; None when its display is no number.

    Of several callees the first counts: forked calls are one call.

    Args:
        holding, customer: as in `keys`.
    """
    called = request.dest.tn
    return parties.observation(
        keys(access, holding, customer),
        request.orig,
        called[0] if called else None,
        at,
        binding,
        request.caller,
    )
