"""The two routes of INVITEs without the framework: what sip/routes.py answers, octet for octet.

A route that goes through ASGI costs several times what the answer itself does. For a usual request
the connection's protocol asks here instead, and writes what it gets. What is skipped, and why
nothing is missed:

- finding the route, and validation of the query: a target is taken here when it is one of the two
  paths, alone or with `access`, `customer` and `source`, once each, of plain characters, in bounds;
- the dependency that asks for credentials: they are asked for here by the same table of roles, and
  who may not ask goes on to the route, which refuses it;
- looking up fields of the head by name: the protocol has picked out those that count.

What is given here is an answer 200. A body of another type, an answer that is not accepted, a
message that is too large or cannot be read, and whatever else the route refuses, is None: the route
takes it, as it came. A call that has to wait goes to the route as well (`Delayed`). Messages of one
turn of the event loop are answered together, as INVITEs over UDP are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from zhenxian.core.errors import ParseError
from zhenxian.sip.access import AccessRules
from zhenxian.sip.advice import Advice
from zhenxian.sip.answering import Question, SipCalls
from zhenxian.sip.message import MAX_MESSAGE, parse
from zhenxian.sip.routes import (
    LONGEST,
    ORIGINATING,
    TERMINATING,
    Delayed,
    asker_of,
    is_message,
    wanted,
    written,
)

_logger = logging.getLogger("zhenxian.sip")
_PAIR = re.compile(r"(access|customer|source)=([A-Za-z0-9._~:-]*)")
_LONGEST_TARGET: Final = max(len(ORIGINATING), len(TERMINATING)) + sum(
    len(f"&{name}=") + longest for name, longest in LONGEST.items()
)


class Target(Struct, frozen=True):
    """What a request target says: which of the two routes, and the query."""

    signing: bool
    access: str | None = None
    customer: str | None = None
    source: str | None = None


class Head(Protocol):
    """What is read of a request's head; values as received."""

    content_type: bytes | None
    accept: bytes | None
    address: str


H_co = TypeVar("H_co", bound=Head, covariant=True)


H = TypeVar("H", bound=Head)


class Posted(Protocol[H_co]):
    """A POST to one of the two routes, complete."""

    @property
    def path(self) -> str:
        """The request target."""
        ...

    @property
    def headers(self) -> H_co:
        """Its head."""
        ...

    @property
    def body(self) -> bytes:
        """The message."""
        ...


class Told(Struct, frozen=True):
    """An answer 200: media type, and body."""

    media: str
    body: bytes


Found: TypeAlias = Told | Delayed | None


def target_of(target: str) -> Target | None:
    """What a request target says; None for one that the route reads, such as a longer one."""
    return _target_of(target) if len(target) <= _LONGEST_TARGET else None


@lru_cache(1024)
def _target_of(target: str) -> Target | None:
    path, asks, query = target.partition("?")
    if path not in (ORIGINATING, TERMINATING):
        return None
    told: dict[str, str] = {}
    for pair in query.split("&") if asks else ():
        found = _PAIR.fullmatch(pair)
        if found is None or found[1] in told or len(found[2]) > LONGEST[found[1]]:
            return None
        told[found[1]] = found[2]
    if path == TERMINATING:
        return Target(signing=False)
    return Target(True, told.get("access"), told.get("customer"), told.get("source"))


class ShortWay(Generic[H]):
    """Answers complete requests to the two routes."""

    def __init__(
        self, calls: SipCalls, rules: AccessRules, admitted: Callable[[H], str | None]
    ) -> None:
        """Args: admitted: the name of who sent a head; None for who may not ask."""
        self.calls = calls
        self._rules = rules
        self._admitted = admitted

    def answer_all(self, requests: Sequence[Posted[H]]) -> list[Found]:
        """Answer requests that arrived together; None for what the route is to take."""
        answers: list[Found] = [None] * len(requests)
        asked: list[tuple[int, str]] = []
        questions: list[Question] = []
        for at, request in enumerate(requests):
            try:
                read = self._read(request)
            except Exception:  # whatever it is, it must not hold up the others
                _logger.exception("an INVITE could not be read")
                read = None
            if read is not None:
                question, media = read
                asked.append((at, media))
                questions.append(question)
        for (at, media), found in zip(asked, self.calls.answer_all(questions), strict=True):
            if isinstance(found, Advice):
                answers[at] = Told(*written(found, media))
            else:
                answers[at] = Delayed(found, media)
        return answers

    def overloaded(self, target: str) -> None:
        """Count a request that nobody has time for."""
        self.calls.overloaded(signing=target.startswith(ORIGINATING))

    def _read(self, request: Posted[H]) -> tuple[Question, str] | None:
        """The question, and the media type of its answer."""
        head, target = request.headers, target_of(request.path)
        if target is None or len(request.body) > MAX_MESSAGE:
            return None
        name = self._admitted(head)
        if name is None:
            return None
        accept, kind = head.accept, head.content_type
        media = wanted(accept.decode("latin-1") if accept is not None else None)
        if media is None:
            return None
        if kind is not None and not is_message(kind.decode("latin-1")):
            return None
        try:
            invite = parse(request.body)
        except ParseError:
            return None
        access, customer = target.access, target.customer
        if target.signing:
            source = target.source or ""
            access = access or self._rules.access(invite, source)
            customer = customer or self._rules.customer(invite, source, access)
        question = Question(
            request=invite,
            signing=target.signing,
            by=asker_of(name, head.address),
            access=access,
            customer=customer,
        )
        return question, media
