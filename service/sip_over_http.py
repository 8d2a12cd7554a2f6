"""The short way of INVITEs (sip/short_way.py), behind the protocol of the calls listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from zhenxian.api.auth import Authenticator
from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.messages import Foreign, Handed, Headers, Incoming
from zhenxian.api.calls.requests import filled
from zhenxian.api.management.common import PROBLEM_JSON, problem
from zhenxian.api.permissions import Action, Thing, roles_of
from zhenxian.core.reasons import Reason
from zhenxian.service.service import Service
from zhenxian.service.sip_rules import access_rules
from zhenxian.sip.short_way import ShortWay, Told, target_of

_MAY_ASK: Final = frozenset(roles_of(Thing.CALLS, Action.ASK))


class SipOverHttp:
    """What the protocol asks about INVITEs, in its words."""

    def __init__(self, way: ShortWay[Headers]) -> None:
        self._way = way
        status = SPOKEN[Reason.OVERLOADED].status
        detail = filled(Reason.OVERLOADED, ()).removeprefix("Error: ")
        body = bytes(problem(status, "Service Unavailable", detail).body)
        self._busy = Foreign(status, _fields(PROBLEM_JSON) + b"\r\nretry-after: 1", body)

    def takes(self, target: bytes) -> bool:
        """Whether it is one of the two routes, with a query that is read here."""
        return target_of(target.decode("latin-1")) is not None

    def answer_all(self, requests: Sequence[Incoming]) -> list[Foreign | Handed | object]:
        """Answers, or what the routes are to do."""
        given: list[Foreign | Handed | object] = []
        for request, found in zip(requests, self._way.answer_all(requests), strict=True):
            if found is None:
                given.append(Handed(request.body))
            elif isinstance(found, Told):
                given.append(Foreign(200, _fields(found.media), found.body))
            else:
                given.append(found)
        return given

    def overloaded(self, incoming: Incoming) -> Foreign:
        """The answer to an INVITE that nobody has time for."""
        self._way.overloaded(incoming.path)
        return self._busy


def sip_of(service: Service) -> SipOverHttp:
    """That of a service."""
    admitted = admitting(service.authenticator)
    return SipOverHttp(ShortWay(service.sip, access_rules(service.settings), admitted))


def admitting(authenticator: Authenticator) -> Callable[[Headers], str | None]:
    """The name of who sent a head, if it may ask."""

    def admitted(head: Headers) -> str | None:
        principal = authenticator.principal(head.authorization, head.api_key, head.peer)
        if principal is None or _MAY_ASK.isdisjoint(principal.roles):
            return None
        return principal.id

    return admitted


def _fields(media: str) -> bytes:
    return b"content-type: " + media.encode()
