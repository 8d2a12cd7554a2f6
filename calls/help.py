"""Calls for help by To or by the Request-URI alone (RFC 3261 section 8.1.1.1).

A call goes where its Request-URI says, and a token says what To does. Whoever writes 110 into To
could have any number signed, as a call for help is never refused: so one that goes to a subscriber,
or nobody can read where, is not signed, and one that only its Request-URI calls for help is signed
as any other, or goes on without a signature where another would be refused. Neither is refused.

110 at a host that is not known to be ours may be an extension there, or the centre. It is signed,
counted and verified as an extension, but not refused or rejected either: it goes on without a
signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from zhenxian.core.tn import TN, URI, Private

_DIALLED: Final = re.compile(r"[a-z]+:\+?([0-9]{1,6})(?=[;@]|\Z)")  # as short as a call for help


def elsewhere(
    called: Iterable[TN | URI], target: TN | URI | None, emergency: Callable[[TN | URI], bool]
) -> bool:
    """Whether To alone calls for help, and the call goes to a subscriber.

    Args:
        called: who To names. target: who the Request-URI names; None where that is not known.
    """
    return target is not None and _subscriber(target, emergency) and all(map(emergency, called))


def _subscriber(target: TN | URI, emergency: Callable[[TN | URI], bool]) -> bool:
    """Whether somebody's telephone is called: by a number, an extension, or too many digits.

    A URI with letters, and 110 at another's host, may be the centre that takes calls for help.
    """
    if isinstance(target, Private):
        return not _at_another(target, emergency)
    return isinstance(target, TN) and not emergency(target)


def _at_another(called: TN | URI, emergency: Callable[[TN | URI], bool]) -> bool:
    """Whether an emergency number is called at a host that is not ours."""
    if not isinstance(called, Private):
        return False
    dialled = _DIALLED.match(called)
    return dialled is not None and emergency(TN(dialled[1]))


def perhaps(
    called: Iterable[TN | URI], target: TN | URI | None, emergency: Callable[[TN | URI], bool]
) -> bool:
    """Whether a call that would be refused may be one for help, by where it goes.

    Args:
        called: who To names. target: who the Request-URI names, which goes before; None where that
            is not known.
    """
    goes = (target,) if target is not None else tuple(called)
    return bool(goes) and all(emergency(one) or _at_another(one, emergency) for one in goes)
