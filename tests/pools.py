"""A pool on the trunk of the demonstration's bank."""

import time
from random import Random

from streams import calls, fed, pool

from zhenxian.analytics import Key, KeyKind

ACCESS = Key(KeyKind.ACCESS, "bank-trunk")
SUBJECT = Key(KeyKind.SUBJECT, "bank")


def nobody_answered(conduct, display, callee, keys=(ACCESS, SUBJECT), at=None):
    """Tell how a call ended, as a proxy does."""
    over = conduct.met(display, callee, answered=False, seconds=0)
    for key in keys:
        conduct.ended(key, int(time.time()) if at is None else at, over)


def unanswered(conduct, observations):
    """Calls that nobody answers."""
    for one in observations:
        nobody_answered(conduct, one.display, one.callee, one.keys, one.at)
        fed(conduct, [one])


def make_pool(desk):
    """Calls of the bank's trunk that look like a pool's, up to now."""
    now = int(time.time())
    conduct = desk.service.keeper.conduct
    unanswered(conduct, calls((ACCESS, SUBJECT), pool(Random(3), 150), start=now - 150, every=1))
