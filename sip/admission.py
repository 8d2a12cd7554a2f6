"""Who may ask the redirect service, and how often."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from zhenxian.sip.access import AccessRules, Network, within
from zhenxian.sip.message import SipRequest
from zhenxian.sip.redirect import Admitted, Refused
from zhenxian.sip.responses import Origin

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
    """Admission by address, digest and rate."""

    def __init__(self, rules: AccessRules, allowed: tuple[Network, ...]) -> None:
        """Args: allowed are the networks of who may ask; empty for everybody."""
        self._rules = rules
        self._allowed = allowed

    def known(self, host: str) -> bool:
        """Whether requests from the address are looked at."""
        return not self._allowed or within(host, self._allowed)

    def admit(self, request: SipRequest, origin: Origin) -> Admitted | Refused:
        """Whether an INVITE is taken."""
        return Admitted(b"sip " + origin.host.encode(), self._rules.access(request, origin.host))
