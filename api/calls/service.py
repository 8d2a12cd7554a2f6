"""The two per-call routes: bytes in, answer out, the same for every way in.

The server's protocol calls `answer_all` directly for usual requests, and `begin` for those that
wait for certificates; the ASGI routes call `answer_waiting`. All end in the same functions. Octets
become requests here, and decisions and verdicts octets; what lies between is in calls/.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from zhenxian.api.auth import LOCAL, Authenticator, Principal
from zhenxian.api.calls import responses as answers
from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.messages import (
    JSON,
    ROUTES,
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
    accepts_json,
    is_json,
)
from zhenxian.api.calls.requests import (
    Dialect,
    Echo,
    RequestError,
    guess,
    read_signing,
    read_verification,
)
from zhenxian.api.calls.turns import Turns
from zhenxian.api.calls.usual import usual_signing, usual_verification
from zhenxian.api.permissions import Action, Thing, roles_of
from zhenxian.calls.diversion import Forwarded, divert, unproven
from zhenxian.calls.fetches import Fetches
from zhenxian.calls.help import elsewhere, perhaps
from zhenxian.calls.pipeline import (
    STAGED,
    Asked,
    Asking,
    Judged,
    Pipeline,
    Signing,
    Supplied,
    Verifying,
    Waiting,
    compute,
)
from zhenxian.calls.refusal import refusal
from zhenxian.calls.repeats import question_of
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.signer.screen import Unfit
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.replay import BatchReplayStore, Question, Sighted
from zhenxian.verifier.verdict import Verdict

_MAY_ASK: Final = frozenset(roles_of(Thing.CALLS, Action.ASK))
_SMALL_DIGITS: Final = 4  # of the Content-Length of a body that anybody may send
MAX_REQUEST_ID: Final = 128  # octets of X-RequestID that are echoed and logged

_logger = logging.getLogger("zhenxian.calls")


class RestCall(Asked, gc=False):
    """A question over REST, named by its X-RequestID or else X-Request-Id.

    `echo` is what its answer repeats of it; `goes`, of a verification, whom it goes to.
    """

    echo: Echo
    goes: tuple[TN | URI, ...] = ()


class Underway(Struct, frozen=True):
    """A verification whose batch is being asked about: `Calls.ask_all`'s task, and its place."""

    answers: asyncio.Task[list[Answer]]
    place: int


class Begun(Struct, frozen=True):
    """A call that is being gone on with by itself: `Calls.begin`."""

    answer: asyncio.Future[Answer]


# What `Calls.go_on` goes on from.
Held: TypeAlias = Waiting[RestCall] | Forwarded[RestCall]
Later: TypeAlias = Held | Asking[RestCall]
LATER: Final = (Waiting, Asking, Forwarded, Underway, Begun)
H = TypeVar("H", bound=Held)


class CallPolicy(Struct, frozen=True, kw_only=True):
    """Settings of the two routes.

    Attributes:
        as_608: a call that is not signed by policy is to be answered 608 where there is a contact.
    """

    dialect: Dialect | None = None
    max_body: int = 65_536
    max_waiting: int = 1000
    explain: bool = True
    reading: Reading = Reading()
    as_608: bool = False
    contact: str = ""  # whom a caller may turn to against whom something stands


class Calls:
    """Answers signing and verification requests."""

    def __init__(
        self,
        policy: CallPolicy,
        pipeline: Pipeline,
        authenticator: Authenticator,
        rejection: Callable[[], Rejection] = Rejection,
    ) -> None:
        self.policy = policy
        self.pipeline = pipeline
        self._authenticator = authenticator
        self._rejection = rejection
        self._turns = Turns()
        self._fetches: Fetches[RestCall, Answer] = Fetches(pipeline, self)
        self._forwarding: set[asyncio.Task[Answer]] = set()
        self._refusals = {d: answers.refused(Reason.OVERLOADED, (), d) for d in Dialect}
        self._run = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    @property
    def asking(self) -> int:
        """Calls that wait for the answer of a store that is shared with other processes."""
        return self.pipeline.asking

    def answer_all(self, requests: Sequence[Incoming]) -> list[Answer | Later]:
        """Answer requests that arrived together, each with an answer of its own. Never raises.

        All are read, then all signatures made or checked, then all answers written.
        """
        with self.pipeline.batch:
            return self._together([self._stage(request) for request in requests])

    def resume_all(
        self, calls: Sequence[Supplied[RestCall]]
    ) -> list[Answer | Waiting[RestCall] | Asking[RestCall]]:
        """Go on with verifications whose fetches ended together. Never raises."""
        with self.pipeline.batch:
            return self._together([self._reopened(call) for call in calls])

    def _together(
        self, staged: Sequence[Answer | H | Signing[RestCall] | Verifying[RestCall]]
    ) -> list[Answer | H | Asking[RestCall]]:
        compute(staged)
        done = [self._finish(item) if isinstance(item, STAGED) else item for item in staged]
        store = self.pipeline.verifying.together
        return done if store is None else self._asked_here(store, done)

    def _asked_here(
        self, store: BatchReplayStore, done: list[Answer | H | Asking[RestCall]]
    ) -> list[Answer | H | Asking[RestCall]]:
        """Ask the store of this machine's processes about all calls at once."""
        asking = [item for item in done if isinstance(item, Asking)]
        if not asking:
            return done
        seen = iter(self.pipeline.seen_by(store, asking))
        return [self._settled(it, next(seen)) if isinstance(it, Asking) else it for it in done]

    async def ask_all(self, calls: Sequence[Asking[RestCall]]) -> list[Answer]:
        """Ask the store that machines share about calls that arrived together. Never raises."""
        seen = await self.pipeline.seen_of(calls)
        try:
            return [self._settled(*each) for each in zip(calls, seen, strict=True)]
        finally:
            self.pipeline.batch.keep()

    def _settled(self, call: Asking[RestCall], seen: Sequence[Sighted]) -> Answer:
        """The answer, with what a replay store said."""
        try:
            return self._judged(self.pipeline.settle(call, seen, self._written))
        except Exception:
            _logger.exception("verification failed after its replay store was asked")
            return self.unfinished(call.call.asked)

    def overloaded(self, incoming: Incoming) -> Answer:
        """The answer to a call that nobody has time for."""
        reason = Reason.OVERLOADED
        self.pipeline.recorder.turned_away(ROUTES[incoming.path], reason)
        headers = incoming.headers
        name = headers.request_id or headers.trace_id or b"%b-%x" % (self._run, next(self._numbers))
        body = self._refusals[guess(self.policy.dialect, incoming.body)]
        return Answer(SPOKEN[reason].status, body, name[:MAX_REQUEST_ID])

    def reads_body(self, headers: Headers) -> bool:
        """False where the head alone is refused: nobody's, with a body that is not small.

        A small one is read, for it tells the dialect of the refusal.
        """
        length = headers.content_length
        if length is None or len(length) <= _SMALL_DIGITS:
            return length is not None
        principal = self._authenticator.principal(
            headers.authorization, headers.api_key, headers.peer
        )
        return principal is not None

    @property
    def keys(self) -> object:
        """Changes whenever other keys are in force."""
        return self._authenticator.known

    def answered(self) -> None:
        """Count the observations after answers went out; no call waits for that."""
        self.pipeline.count()

    async def answer_waiting(self, request: Incoming) -> Answer:
        """Answer one request, and fetch the certificates a verification waits for."""
        if self.asking > self.policy.max_waiting:
            return self.overloaded(request)
        self.pipeline.asking += 1
        try:
            await self._turns.mine()
        finally:
            self.pipeline.asking -= 1
        (first,) = self.answer_all((request,))
        self.answered()
        if isinstance(first, Answer):
            return first
        return await self.go_on(first)

    def begin(self, waiting: Held) -> Begun:
        """Fetch what a call waits for, then finish it, whether somebody awaits that or not."""
        if isinstance(waiting, Waiting):
            return Begun(self._fetches.begin(waiting))
        task = asyncio.get_running_loop().create_task(self.go_on(waiting))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)
        return Begun(task)

    async def go_on(self, waiting: Later | Underway | Begun) -> Answer:
        """Fetch or ask what a call waits for, then finish it. Never raises."""
        if isinstance(waiting, Underway):
            answers = await asyncio.shield(waiting.answers)  # the others' answers, too
            return answers[waiting.place]
        if isinstance(waiting, Waiting):
            waiting = self.begin(waiting)
        if isinstance(waiting, Begun):
            return await asyncio.shield(waiting.answer)
        if isinstance(waiting, Forwarded):
            answer = await self._forward(waiting)
        else:
            (answer,) = await self.ask_all((waiting,))
        self.answered()
        return answer

    def unfinished(self, asked: RestCall) -> Answer:
        """The answer to a verification that failed for no reason that a verdict could tell."""
        return self._internal(VERIFICATION, asked.echo.dialect, asked.name)

    def _reopened(
        self, call: Supplied[RestCall]
    ) -> Answer | Waiting[RestCall] | Verifying[RestCall]:
        """Everything up to the signature, once more."""
        try:
            staged = self.pipeline.reopen(call, self._written)
            return self._judged(staged) if isinstance(staged, Judged) else staged
        except Exception:
            _logger.exception("verification failed after waiting")
            return self.unfinished(call.asked)

    async def _forward(self, call: Forwarded[RestCall]) -> Answer:
        """A signing request of a forwarded call."""
        echo, name = call.asked.echo, call.asked.name
        try:
            return self._forwarded(call, await divert(self.pipeline, call))
        except Exception:
            _logger.exception("signing a forwarded call failed")
            return self._internal(SIGNING, echo.dialect, name)

    def _forwarded(self, call: Forwarded[RestCall], made: Signing[RestCall] | Unfit) -> Answer:
        if isinstance(made, Unfit):
            echo, name = call.asked.echo, call.asked.name
            return self._error(SIGNING, _unfit(made, echo.dialect), echo.dialect, name)
        return self._signed(made) if made.decision.signs else self._denied(made)

    def _stage(self, incoming: Incoming) -> Answer | Held | Signing[RestCall] | Verifying[RestCall]:
        """Everything about a request up to the signature."""
        started = self.pipeline.timer()
        path, headers, body = incoming.path, incoming.headers, incoming.body
        name = headers.request_id or headers.trace_id
        if name is None or name.isspace() or not name:
            name = b"%b-%x" % (self._run, next(self._numbers))
        elif len(name) > MAX_REQUEST_ID:
            name = name[:MAX_REQUEST_ID]
        dialect = self.policy.dialect
        try:
            principal = self._admit(incoming.method, headers, body)
            dialect = principal.dialect or dialect
            if path == SIGNING:
                return self._sign(incoming, principal, dialect, name, started)
            return self._verify(incoming, principal, dialect, name, started)
        except RequestError as error:
            if dialect is None and error.reason in _BEFORE_PARSING:
                dialect = guess(None, body)
            return self._error(path, error, dialect or error.dialect, name)
        except Exception:
            _logger.exception("%s failed", path)
            return self._internal(path, dialect or Dialect.ATIS, name)

    def _finish(self, call: Signing[RestCall] | Verifying[RestCall]) -> Answer | Asking[RestCall]:
        """Everything about a request after its signature."""
        path = VERIFICATION if isinstance(call, Verifying) else SIGNING
        try:
            if isinstance(call, Signing):
                return self._signed(call)
            if self.pipeline.verifying.together is not None:
                return self.pipeline.presume(call, self._written)
            judged = self.pipeline.judge(call, self._written)
            return self._judged(judged) if isinstance(judged, Judged) else judged
        except Exception:
            _logger.exception("%s failed", path)
            return self._internal(path, call.asked.echo.dialect, call.asked.name)

    def _admit(self, method: bytes, headers: Headers, body: bytes) -> Principal:
        """Everything about a request but its body's meaning. Raises RequestError."""
        principal = self._authenticator.principal(
            headers.authorization, headers.api_key, headers.peer
        )
        if principal is None:
            raise RequestError(Reason.UNAUTHENTICATED)
        if _MAY_ASK.isdisjoint(principal.roles):
            raise RequestError(Reason.FORBIDDEN)
        if method != b"POST":
            raise RequestError(Reason.METHOD_NOT_ALLOWED)
        if headers.content_length is None:
            raise RequestError(Reason.LENGTH_MISSING)
        if len(body) > self.policy.max_body:
            raise RequestError(Reason.BODY_TOO_LARGE, str(self.policy.max_body))
        content_type = headers.content_type
        if content_type is not None and content_type != JSON and not is_json(content_type):
            raise RequestError(Reason.BODY_TYPE_UNSUPPORTED, "application/json")
        accept = headers.accept
        if accept is not None and accept != JSON and not accepts_json(accept):
            raise RequestError(
                Reason.RESPONSE_TYPE_UNSUPPORTED, accept.decode("latin-1")[:MAX_REQUEST_ID]
            )
        if not body or body.isspace():
            raise RequestError(Reason.BODY_MISSING)
        return principal

    def _sign(
        self,
        incoming: Incoming,
        principal: Principal,
        dialect: Dialect | None,
        name: bytes,
        started: float,
    ) -> Answer | Signing[RestCall] | Forwarded[RestCall]:
        body, reading = incoming.body, self.policy.reading
        request, echo = usual_signing(body, dialect, reading) or read_signing(
            body, configured=dialect, reading=reading
        )
        asked = RestCall(name, started, echo)
        if request.target is not None and elsewhere(
            request.dest.identities, request.target, reading.emergency
        ):
            raise RequestError(Reason.HELP_UNSIGNED, dialect=echo.dialect)
        if request.forwarded is not None and request.forwarded.provable:
            question = self._question(incoming, principal, request.forwarded.call_id)
            forwarded = Forwarded(asked, request, question)
            made = unproven(self.pipeline, forwarded)
            return forwarded if made is None else self._forwarded(forwarded, made)
        call = self.pipeline.decide(request, asked)
        if isinstance(call, Unfit):
            raise _unfit(call, echo.dialect)
        return call if call.decision.attest is not None else self._denied(call)

    def _denied(self, call: Signing[RestCall]) -> Answer:
        self.pipeline.signed(call)
        asked, decision, request = call.asked, call.decision, call.request
        if perhaps(request.dest.identities, request.target, self.policy.reading.emergency):
            reason = Reason.HELP_UNSIGNED
            unsigned = answers.refused(reason, (), asked.echo.dialect)
            return Answer(SPOKEN[reason].status, unsigned, asked.name)
        found = refusal(decision, self._rejection(), as_608=self.policy.as_608)
        policy = self.policy
        denied = answers.denied(decision, found, asked.echo.dialect, policy.explain, policy.contact)
        return Answer(SPOKEN[decision.reason].status, denied, asked.name)

    def _signed(self, call: Signing[RestCall]) -> Answer:
        if call.signed is None:
            raise RuntimeError("not signed")
        echo = call.asked.echo
        policy = self.policy
        answer = answers.signed(call.signed, call.decision, echo, policy.explain, policy.contact)
        self.pipeline.signed(call)
        return Answer(200, answer, call.asked.name)

    def _verify(
        self,
        incoming: Incoming,
        principal: Principal,
        dialect: Dialect | None,
        name: bytes,
        started: float,
    ) -> Answer | Waiting[RestCall] | Verifying[RestCall]:
        body, reading = incoming.body, self.policy.reading
        request, echo = usual_verification(body, dialect, reading) or read_verification(
            body, configured=dialect, reading=reading
        )
        question = self._question(incoming, principal, request.call_id)
        asked = RestCall(name, started, echo, request.dest or request.to)
        call = self.pipeline.open(request, asked, self._written, question)
        return self._judged(call) if isinstance(call, Judged) else call

    def _question(
        self, incoming: Incoming, principal: Principal, call_id: str | None
    ) -> Question | None:
        """What tells a repetition; None for nothing."""
        headers = incoming.headers
        request_id = headers.request_id
        if request_id is not None and not request_id.strip():
            request_id = None  # a variable of the proxy that is not set names no question
        if call_id is None and request_id is None:
            return None
        by, now = _asker(principal, headers), self.pipeline.clock()
        return question_of(by, call_id, request_id, incoming.body, now)

    def _written(self, verdict: Verdict, asked: RestCall) -> bytes:
        policy = self.policy
        return answers.judged(
            verdict, asked.echo, policy.explain, self._rejection(), policy.reading, policy.contact,
            asked.goes,
        )  # fmt: skip

    def _judged(self, judged: Judged[RestCall]) -> Answer:
        answer = judged.answer
        if judged.again:
            answer = answers.repeated(answer, self.policy.explain)
        return Answer(200, answer, judged.asked.name)

    def _internal(self, path: str, dialect: Dialect, name: bytes) -> Answer:
        return self._error(path, RequestError(Reason.INTERNAL), dialect, name)

    def _error(self, path: str, error: RequestError, dialect: Dialect, name: bytes) -> Answer:
        reason, status = error.reason, SPOKEN[error.reason].status
        self.pipeline.recorder.error(
            ROUTES[path], reason, name, status, error.variables[0] if error.variables else None
        )
        return Answer(status, answers.refused(reason, error.variables, dialect), name)


def _unfit(unfit: Unfit, dialect: Dialect) -> RequestError:
    """The dialect's error: a member's, or what is said of this service."""
    if not unfit.where:
        return RequestError(unfit.reason, dialect=dialect)
    return RequestError(Reason.PARAMETER_INVALID, unfit.where, unfit.detail, dialect=dialect)


def _asker(principal: Principal, headers: Headers) -> bytes:
    """Who asks: the key that was presented, with the connection's certificate if it has one.

    Without credentials, where the connection comes from: all behind one address are one asker.
    """
    name = principal.id.encode()
    if headers.peer is not None:
        return name + b" " + headers.peer.fingerprint
    return name + b" " + headers.address.encode() if principal is LOCAL else name


_BEFORE_PARSING: Final = frozenset(
    {
        Reason.UNAUTHENTICATED,
        Reason.FORBIDDEN,
        Reason.METHOD_NOT_ALLOWED,
        Reason.LENGTH_MISSING,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_TYPE_UNSUPPORTED,
        Reason.RESPONSE_TYPE_UNSUPPORTED,
        Reason.BODY_MISSING,
    }
)
