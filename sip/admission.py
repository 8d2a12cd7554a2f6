"""Who may ask the redirect service, and how often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from zhenxian.sip.access import AccessRules, Network, within
from zhenxian.sip.digest import Denied, Digest
from zhenxian.sip.message import SipRequest
from zhenxian.sip.redirect import Admitted, Refused
from zhenxian.sip.responses import Origin

STRANGERS_PER_SECOND: Final = 50  # of whom may not ask, and are told so; others get no answer
MAX_SOURCES: Final = 4_096  # addresses whose rate is remembered


class Rate:
    """So many INVITEs a second from one address, with a second's burst."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, host: str, now: float) -> bool:
        """Take one."""
        if self._per_second <= 0:
            return True
        left, at = self._left.pop(host, (self._per_second, now))
        left = min(self._per_second, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._left[host] = (left - 1 if allowed else left, now)
        if len(self._left) > MAX_SOURCES:
            self._left.popitem(last=False)
        return allowed


class Door:
    """Admission by address, rate and digest, in this order."""

    def __init__(
        self,
        rules: AccessRules,
        *,
        allowed: tuple[Network, ...] = (),
        rate: float = 0.0,
        digest: Digest | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the rules.

        Args:
            allowed: networks of who may ask; empty for everybody.
            rate: INVITEs a second from one address; 0 for any number.
        """
        self._rules = rules
        self._allowed = allowed
        self._rate = Rate(rate)
        self._strangers = Rate(STRANGERS_PER_SECOND)
        self._digest = digest
        self._timer = timer

    def known(self, host: str) -> bool:
        """Whether requests from the address are looked at."""
        return not self._allowed or within(host, self._allowed)

    def hears(self) -> bool:
        """Whether a stranger is told that it is one: not more than so many a second."""
        return self._strangers.allows("", self._timer())

    def admit(self, request: SipRequest, origin: Origin) -> Admitted | Refused:
        """Whether an INVITE is taken."""
        host = origin.host
        if not self._rate.allows(host, self._timer()):
            return Refused(503, lines=("Retry-After: 1",))
        by = f"sip {host}"
        if self._digest is not None:
            user = self._digest.user(request)
            if isinstance(user, Denied):
                return Refused(401, lines=self._digest.challenges(stale=user is Denied.STALE))
            by = f"sip {host} {user}"
        access = self._rules.access(request, host)
        return Admitted(by.encode(), access, self._rules.customer(request, host, access))
