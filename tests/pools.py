"""A pool on the trunk of the demonstration's bank."""

import time
from random import Random

from streams import calls, fed, pool

from zhenxian.analytics import Key, KeyKind

ACCESS = Key(KeyKind.ACCESS, "bank-trunk")
SUBJECT = Key(KeyKind.SUBJECT, "bank")


def make_pool(desk):
    """Calls of the bank's trunk that look like a pool's, up to now."""
    now = int(time.time())
    conduct = desk.service.keeper.conduct
    fed(conduct, calls((ACCESS, SUBJECT), pool(Random(3), 150), start=now - 150, every=1))
