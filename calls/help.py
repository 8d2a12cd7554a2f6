"""Calls for help by To or by the Request-URI alone (RFC 3261 section 8.1.1.1).

A call goes where its Request-URI says, and a token says what To does. Whoever writes 110 into To
could have any number signed, as a call for help is never refused: so one that goes to a subscriber,
or nobody can read where, is not signed, and one that only its Request-URI calls for help is signed
as any other, or goes on without a signature where another would be refused. Neither is refused.
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
        dialled = _DIALLED.match(target)
        return dialled is None or not emergency(TN(dialled[1]))
    return isinstance(target, TN) and not emergency(target)


def by_target(
    called: Iterable[TN | URI], target: TN | URI | None, emergency: Callable[[TN | URI], bool]
) -> bool:
    """Whether the Request-URI alone calls for help."""
    return target is not None and emergency(target) and not all(map(emergency, called))
