"""The two per-call routes: bytes in, answer out, the same for every way in.

The server's protocol calls `answer_all` directly for usual requests; the ASGI routes call
`answer_waiting`, which also fetches certificates. Both end in the same functions.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics.model import DisplayConduct
from zhenxian.api.auth import Authenticator, Peer, Principal, Role
from zhenxian.api.calls import responses as answers
from zhenxian.api.calls.repeats import asked_again, asker, question_of
from zhenxian.api.calls.requests import (
    Dialect,
    Echo,
    RequestError,
    guess,
    read_signing,
    read_verification,
)
from zhenxian.api.calls.staged import Signing, Verifying
from zhenxian.calls.lists import LearntLists
from zhenxian.calls.record import signing_record, verification_record
from zhenxian.certs.chain import Chain
from zhenxian.certs.keys import Credential
from zhenxian.certs.repository import Failure
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import Registry
from zhenxian.signer.analytics import PooledSigning, observation
from zhenxian.signer.decide import Decision, decide, gather
from zhenxian.signer.origids import Origids
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.sign import unknown_origid
from zhenxian.telemetry.logs import CallLog, CallRecord, Pseudonym, instant
from zhenxian.telemetry.metrics import Metrics
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.replay import UNKNOWN, Question, SharedReplayStore, Sighted, Sighting
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Verdict
from zhenxian.verifier.verify import NeedCertificates, Opened, Verifier

SIGNING: Final = "/stir/v1/signing"
VERIFICATION: Final = "/stir/v1/verification"
ROUTES: Final = {SIGNING: "signing", VERIFICATION: "verification"}
MAX_WAITING: Final = 512  # calls that wait for certificates at once; more get No-TN-Validation
MAX_REQUEST_ID: Final = 128  # octets of X-RequestID that are echoed and logged

_JSON: Final = b"application/json"
_logger = logging.getLogger("zhenxian.calls")


class Headers(Struct):
    """The request headers that the two routes look at; values as received.

    Attributes:
        host: what the client calls us.
        connection: "close" or, for HTTP/1.0 only of consequence, "keep-alive".
        unusual: of a field that only the ASGI way handles, or that must be looked at: a second
            Host, Transfer-Encoding, Expect, Upgrade, and what a browser says of its page.
        peer: the connection's client certificate; of no header.
        address: where the connection comes from; of no header.
    """

    content_type: bytes | None = None
    content_length: bytes | None = None
    accept: bytes | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    request_id: bytes | None = None
    host: bytes | None = None
    connection: bytes | None = None
    unusual: bytes | None = None
    peer: Peer | None = None
    address: str = ""

    @classmethod
    def of(cls, pairs: list[tuple[bytes, bytes]]) -> Headers:
        """Pick them out of lower-case names and values."""
        headers = cls()
        for name, value in pairs:
            attribute = _NAMES.get(name)
            if attribute is not None:
                if attribute is _HOST and headers.host is not None:
                    headers.unusual = value
                elif attribute is _ACCEPT and headers.accept is not None:
                    headers.accept += b"," + value  # RFC 9110 section 5.3
                else:
                    setattr(headers, attribute, value)
        return headers


_RANGES: Final = (b"*/*", b"application/*", _JSON)  # the closer one last
_NEVER: Final = re.compile(rb"q=0(\.0*)?")
_HOST: Final = "host"
_ACCEPT: Final = "accept"
_UNUSUAL: Final = "unusual"
_NAMES: Final = {
    b"host": _HOST,
    b"connection": "connection",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"accept": _ACCEPT,
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"x-requestid": "request_id",
    b"x-request-id": "request_id",
    b"transfer-encoding": _UNUSUAL,
    b"expect": _UNUSUAL,
    b"upgrade": _UNUSUAL,
    b"origin": _UNUSUAL,
    b"sec-fetch-site": _UNUSUAL,
}


class Answer(Struct, frozen=True):
    """What goes back: HTTP status, JSON body, and X-RequestID, echoed or made."""

    status: int
    body: bytes
    request_id: bytes


class Incoming(Struct, frozen=True):
    """One request to a per-call route, complete."""

    path: str
    method: bytes
    headers: Headers
    body: bytes


class Waiting(Struct, frozen=True):
    """A verification that must wait for certificates; `go_on` goes on from here."""

    request: VerificationRequest
    echo: Echo
    needed: NeedCertificates
    request_id: bytes
    started: float
    question: Question | None = None


class Asking(Struct, frozen=True):
    """A verification that must ask a shared replay store; `go_on` goes on from here.

    Attributes:
        presumed, answer: what follows if every token is new.
    """

    staged: Verifying
    sightings: list[Sighting]
    presumed: Verdict
    answer: bytes


class Repository(Protocol):
    """Fetches chains (certs.repository.CertificateRepository)."""

    async def get(self, x5u: str) -> Chain | Failure:
        """The chain, or why there is none."""
        ...


class CallPolicy(Struct, frozen=True):
    """Settings of the two routes."""

    dialect: Dialect | None = None
    max_body: int = 65_536
    explain: bool = True
    reading: Reading = Reading()
    iat_window: int = 60
    pooled: PooledSigning = PooledSigning.REFUSE
    consent: ConsentPolicy | None = None


class Calls:
    """Answers signing and verification requests."""

    def __init__(
        self,
        *,
        policy: CallPolicy,
        credential: Callable[[], Credential | None],
        registry: Registry,
        replay: SharedReplayStore | None = None,
        origids: Origids | None = None,
        turn: Callable[[], object] = lambda: None,
        settle: Callable[[], object] = lambda: None,
        count: Callable[[], object] = lambda: None,
        plan: Plan = NO_PLAN,
        conduct: DisplayConduct | None = None,
        rejection: Callable[[], Rejection] = Rejection,
        verifier: Verifier,
        repository: Repository,
        lists: LearntLists | None = None,
        authenticator: Authenticator,
        metrics: Metrics,
        log: CallLog,
        pseudonym: Pseudonym,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.policy = policy
        self._credential = credential
        self._registry = registry
        self._replay = replay
        self._origids = origids
        self._take_over = turn
        self._settle = settle
        self._count = count
        self._plan = plan
        self._conduct = conduct
        self._rejection = rejection
        self._verifier = verifier
        self._repository = repository
        self._lists = lists
        self._authenticator = authenticator
        self._metrics = metrics
        self._log = log
        self._pseudonym = pseudonym
        self._clock = clock
        self._timer = timer
        self.waiting = 0
        self._run = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    def answer_all(self, requests: Sequence[Incoming]) -> list[Answer | Waiting | Asking]:
        """Answer requests that arrived together, each with an answer of its own. Never raises.

        All are read, then all signatures made or checked, then all answers written: OpenSSL's
        table for P-256 is larger than the first caches, and code between two signatures throws
        it out of them (docs/performance.md).
        """
        self._turn()
        staged = [self._stage(request) for request in requests]
        for item in staged:
            if isinstance(item, Signing | Verifying):
                try:
                    item.compute()
                except Exception:
                    _logger.exception("a signature failed")
        given = [
            self._finish(item) if isinstance(item, Signing | Verifying) else item for item in staged
        ]
        self._settled()
        return given

    def _settled(self) -> None:
        """Before answers go out: what they rest on is kept."""
        try:
            self._settle()
        except Exception:
            _logger.exception("what calls told could not be kept")

    def answered(self) -> None:
        """After answers went out: what calls told is counted, for which none of them waits."""
        try:
            self._count()
        except Exception:
            _logger.exception("what calls told could not be counted")

    def _turn(self) -> None:
        """Take over what was committed to the registry since the last batch."""
        try:
            self._take_over()
        except StoreUnavailableError:
            pass  # each call finds the registry unavailable by itself
        except Exception:
            _logger.exception("the registry's changes could not be taken over")

    def _finish(self, item: Signing | Verifying) -> Answer | Asking:
        """Everything about a request after its signature."""
        path = SIGNING if isinstance(item, Signing) else VERIFICATION
        try:
            if isinstance(item, Signing):
                return self._signed(item)
            # The answer comes first: the store that may know the token keeps it for who asks again.
            presumed = self._verifier.presume(item.opened)
            answer = self._told(presumed, item.echo)
            sightings = self._verifier.sightings(item.opened, item.question, answer)
            if self._replay is not None and sightings:
                return Asking(item, sightings, presumed, answer)
            seen = self._verifier.ask(sightings, item.opened.now)
            return self._settled_by(item, presumed, answer, seen)
        except Exception:
            _logger.exception("%s failed", path)
            return self._internal(path, item)

    def _settled_by(
        self, item: Verifying, presumed: Verdict, answer: bytes, seen: Sequence[Sighted]
    ) -> Answer:
        """The answer of a verification whose tokens the replay store has told about."""
        request, repeated = item.opened.request, asked_again(seen)
        if repeated is not None:
            self._metrics.repeated(repeated.sight.value)
            if repeated.answer:
                answer = answers.repeated(repeated.answer, self.policy.explain)
                elapsed = self._timer() - item.started
                self._logged(request, presumed, item.request_id, elapsed, repeated)
                return Answer(200, answer, item.request_id)
        verdict = self._verifier.settle(item.opened, presumed, seen)
        if verdict is not presumed:
            answer = self._told(verdict, item.echo)
        return self._judged(request, verdict, answer, item.request_id, item.started, repeated)

    def _internal(self, path: str, item: Signing | Verifying) -> Answer:
        internal = RequestError(Reason.INTERNAL)
        return self._error(path, internal, item.echo.dialect, item.request_id)

    def _stage(self, incoming: Incoming) -> Answer | Waiting | Signing | Verifying:
        """Everything about a request up to the signature."""
        started = self._timer()
        path, headers, body = incoming.path, incoming.headers, incoming.body
        request_id = headers.request_id
        if request_id is None:
            request_id = b"%b-%x" % (self._run, next(self._numbers))
        elif len(request_id) > MAX_REQUEST_ID:
            request_id = request_id[:MAX_REQUEST_ID]
        dialect = self.policy.dialect
        try:
            principal = self._admit(incoming.method, headers, body)
            dialect = principal.dialect or dialect
            if path == SIGNING:
                return self._decide(body, dialect, request_id, started)
            return self._verify(incoming, principal, dialect, request_id, started)
        except RequestError as error:
            if dialect is None and error.reason in _BEFORE_PARSING:
                dialect = guess(None, body)
            return self._error(path, error, dialect or error.dialect, request_id)
        except Exception:
            _logger.exception("%s failed", path)
            internal = RequestError(Reason.INTERNAL)
            return self._error(path, internal, dialect or Dialect.ATIS, request_id)

    async def answer_waiting(self, request: Incoming) -> Answer:
        """Answer one request, and fetch the certificates a verification waits for."""
        (first,) = self.answer_all((request,))
        self.answered()
        if isinstance(first, Answer):
            return first
        return await self.go_on(first)

    async def go_on(self, waiting: Waiting | Asking) -> Answer:
        """Fetch or ask what a verification waits for, then finish it. Never raises."""
        answer = await self._go_on(waiting)
        self.answered()
        return answer

    async def _go_on(self, waiting: Waiting | Asking) -> Answer:
        """As `go_on`.

        Each URL is fetched once, then lists; what could not be had is a check that failed. A
        failure that was remembered when the call began may be forgotten by the time that another
        URL was fetched: then that one is fetched, too.
        """
        if isinstance(waiting, Asking):
            return await self._ask(waiting)
        try:
            fetched: dict[str, Chain | Failure] = {}
            opened: Verdict | NeedCertificates | Opened = waiting.needed
            while isinstance(opened, NeedCertificates):
                missing = tuple(url for url in opened.urls if url not in fetched)
                if opened.urls and not missing:
                    raise RuntimeError("a fetched certificate is still missing")  # noqa: TRY301
                fetched |= await self._fetch(missing, opened.chains)
                now, lists = int(self._clock()), not opened.chains
                opened = self._verifier.open(waiting.request, now, fetched, lists=lists)
            echo, request_id, started = waiting.echo, waiting.request_id, waiting.started
            if not isinstance(opened, Opened):
                told = self._told(opened, echo)
                return self._judged(waiting.request, opened, told, request_id, started)
            question = waiting.question
            if question is not None:  # from now on: whoever asks again waited as long
                question = replace(question, at=self._clock())
            staged = Verifying(opened, echo, request_id, started, question)
            staged.compute()
            answer = self._finish(staged)
            self._settled()
            return answer if isinstance(answer, Answer) else await self._ask(answer)
        except Exception:
            _logger.exception("verification failed after fetching")
            error = RequestError(Reason.INTERNAL)
            return self._error(VERIFICATION, error, waiting.echo.dialect, waiting.request_id)

    async def _ask(self, asking: Asking) -> Answer:
        """Ask the shared replay store, then finish."""
        sightings = asking.sightings
        seen = [UNKNOWN] * len(sightings)
        if self._replay is not None:
            try:
                seen = await self._replay.sight_all(sightings, int(self._clock()))
            except Exception:  # what is not known to be new does not pass
                _logger.exception("the shared replay store failed")
        item = asking.staged
        try:
            answer = self._settled_by(item, asking.presumed, asking.answer, seen)
        except Exception:
            _logger.exception("%s failed", VERIFICATION)
            answer = self._internal(VERIFICATION, item)
        self._settled()
        return answer

    async def _fetch(
        self, urls: tuple[str, ...], lacking: tuple[Chain, ...]
    ) -> dict[str, Chain | Failure]:
        if self.waiting >= MAX_WAITING:
            busy = Failure(Reason.CERT_UNREACHABLE, "too many calls wait for certificates", 0)
            return dict.fromkeys(urls, busy)
        self.waiting += 1
        try:
            chains = await asyncio.gather(*(self._repository.get(url) for url in urls))
            if self._lists is not None:
                await asyncio.gather(*(self._lists.fetch(chain) for chain in lacking))
            return dict(zip(urls, chains, strict=True))
        finally:
            self.waiting -= 1

    def _admit(self, method: bytes, headers: Headers, body: bytes) -> Principal:
        """Everything about a request but its body's meaning. Raises RequestError."""
        principal = self._authenticator.principal(
            headers.authorization, headers.api_key, headers.peer
        )
        if principal is None:
            raise RequestError(Reason.UNAUTHENTICATED)
        if Role.PROXY not in principal.roles:
            raise RequestError(Reason.FORBIDDEN)
        if method != b"POST":
            raise RequestError(Reason.METHOD_NOT_ALLOWED)
        if headers.content_length is None:
            raise RequestError(Reason.LENGTH_MISSING)
        if len(body) > self.policy.max_body:
            raise RequestError(Reason.BODY_TOO_LARGE, str(self.policy.max_body))
        content_type = headers.content_type
        if content_type is not None and content_type != _JSON and not _is_json(content_type):
            raise RequestError(Reason.BODY_TYPE_UNSUPPORTED, "application/json")
        accept = headers.accept
        if accept is not None and accept != _JSON and not _accepts_json(accept):
            raise RequestError(
                Reason.RESPONSE_TYPE_UNSUPPORTED, accept.decode("latin-1")[:MAX_REQUEST_ID]
            )
        if not body or body.isspace():
            raise RequestError(Reason.BODY_MISSING)
        return principal

    def _decide(
        self, body: bytes, dialect: Dialect | None, request_id: bytes, started: float
    ) -> Answer | Signing:
        policy = self.policy
        request, echo = read_signing(
            body,
            configured=dialect,
            reading=policy.reading,
            now=int(self._clock()),
            iat_window=policy.iat_window,
        )
        credential = self._credential()
        if credential is None:
            raise RequestError(Reason.NOT_READY, dialect=echo.dialect)
        now = self._clock()
        facts = gather(
            request,
            self._registry,
            now,
            plan=self._plan,
            spc=credential.spc,
            conduct=self._conduct,
            consent=policy.consent,
        )
        consent = policy.consent
        marketing = consent.marketing if consent is not None else Consent.OFF
        decision = decide(request, facts, policy.pooled, marketing)
        if self._conduct is not None and facts.access is not None and decision.counts:
            # What is refused for conduct counts on: a pool that goes on trying is not cleared.
            told = observation(request, facts.access, facts.binding, int(now))
            if told is not None:
                self._conduct.observe(told)
        if decision.attest is not None:
            if self._origids is not None:
                access = facts.access.id if facts.access is not None else ""
                stable = decision.origid or unknown_origid(credential.spc)
                fresh = self._origids.give(access, stable, int(now))
                decision = replace(decision, origid=fresh or stable)
            return Signing(request, echo, decision, credential, request_id, started)
        self._count_signing(request, decision, request_id, started)
        denied = answers.denied(decision, echo.dialect, policy.explain)
        return Answer(decision.reason.http, denied, request_id)

    def _signed(self, staged: Signing) -> Answer:
        echo, decision, request_id = staged.echo, staged.decision, staged.request_id
        if staged.signed is None:
            raise RuntimeError("not signed")
        answer = answers.signed(staged.signed, decision, echo, self.policy.explain)
        self._count_signing(staged.request, decision, request_id, staged.started)
        return Answer(200, answer, request_id)

    def _count_signing(
        self, request: SigningRequest, decision: Decision, request_id: bytes, started: float
    ) -> None:
        attest = decision.attest.value if decision.attest is not None else "refused"
        elapsed = self._timer() - started
        self._metrics.signing(attest, decision.reason.name, elapsed)
        if self._log.enabled:
            at, pseudonym = self._clock(), self._pseudonym
            self._log.add(signing_record(at, request, decision, request_id, elapsed, pseudonym))

    def _verify(
        self,
        incoming: Incoming,
        principal: Principal,
        dialect: Dialect | None,
        request_id: bytes,
        started: float,
    ) -> Answer | Waiting | Verifying:
        request, echo = read_verification(
            incoming.body, configured=dialect, reading=self.policy.reading
        )
        now = self._clock()
        opened = self._verifier.open(request, int(now))
        question = None
        if request.call_id is not None or incoming.headers.request_id is not None:
            headers = incoming.headers
            by = asker(principal, headers.peer, headers.address)
            question = question_of(by, request.call_id, headers.request_id, incoming.body, now)
        if isinstance(opened, Opened):
            return Verifying(opened, echo, request_id, started, question)
        if isinstance(opened, NeedCertificates):
            return Waiting(request, echo, opened, request_id, started, question)
        return self._judged(request, opened, self._told(opened, echo), request_id, started)

    def _told(self, verdict: Verdict, echo: Echo) -> bytes:
        return answers.judged(verdict, echo, self.policy.explain, self._rejection())

    def _judged(
        self,
        request: VerificationRequest,
        verdict: Verdict,
        answer: bytes,
        request_id: bytes,
        started: float,
        repeated: Sighted | None = None,
    ) -> Answer:
        elapsed = self._timer() - started
        self._metrics.verification(verdict.verstat.value, verdict.reason.name, elapsed)
        for label in verdict.labels:
            self._metrics.label(label.value, verdict.verstat.value)
        decisive = verdict.decisive
        if verdict.verstat is Verstat.PASSED and decisive is not None:
            attest = verdict.attest
            signer = decisive.signer
            self._metrics.passed(
                attest.value if attest else "none", decisive.spc, unchecked=decisive.unchecked
            )
            for departure in signer.departures if signer is not None else ():
                self._metrics.departure(departure.role, departure.code)
        self._logged(request, verdict, request_id, elapsed, repeated)
        return Answer(200, answer, request_id)

    def _logged(
        self,
        request: VerificationRequest,
        verdict: Verdict,
        request_id: bytes,
        elapsed: float,
        repeated: Sighted | None,
    ) -> None:
        if self._log.enabled:
            at, pseudonym = self._clock(), self._pseudonym
            self._log.add(
                verification_record(
                    at, request, verdict, request_id, elapsed, pseudonym, repeated=repeated
                )
            )

    def _error(self, path: str, error: RequestError, dialect: Dialect, request_id: bytes) -> Answer:
        reason = error.reason
        route = ROUTES[path]
        self._metrics.error(route, reason.name)
        if self._log.enabled:
            self._log.add(
                CallRecord(
                    instant(self._clock()),
                    route,
                    reason.name,
                    request_id.decode("latin-1"),
                    status=reason.http,
                    parameter=self._pseudonym.text(error.variables[0]) if error.variables else None,
                )
            )
        return Answer(reason.http, answers.refused(reason, error.variables, dialect), request_id)


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


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == _JSON


def _accepts_json(accept: bytes) -> bool:
    """RFC 9110 section 12.5.1: the range that names it most closely decides; none is no wish."""
    best, wanted = -1, not accept.strip(b" \t,")
    for part in accept.split(b","):
        media, *parameters = (text.strip().lower() for text in part.split(b";"))
        if media in _RANGES and _RANGES.index(media) > best:
            best = _RANGES.index(media)
            wanted = not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return wanted
