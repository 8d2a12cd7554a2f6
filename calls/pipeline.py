"""A call's way from request to decision or verdict, whatever the wire format.

A front end turns octets into a SigningRequest or VerificationRequest, and a Decision or Verdict
into octets. What lies between is the same for all front ends and is here. Calls that arrive
together pass through it together:

    with pipeline.batch:                 changes of the registry are taken over
        call = pipeline.decide(...)      everything before the signature,
        call = pipeline.open(...)        for each call
        compute(calls)                   all signatures are made or checked
        pipeline.signed(call)            everything after the signature,
        pipeline.judge(call, write)      for each call
                                         on leaving, what the answers rest on is kept
    the answers go out
    pipeline.count()                     calls are recorded, and the observations counted; no
                                         answer waits for it

A verification whose certificates are not at hand leaves it after `open`, and enters it again by
`reopen` together with all whose fetches ended at the same time (calls/fetches.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics.model import DisplayConduct
from zhenxian.calls.lists import LearntLists
from zhenxian.calls.record import Recorder
from zhenxian.calls.repeats import asked_again
from zhenxian.certs.chain import Chain
from zhenxian.certs.keys import Credential
from zhenxian.certs.repository import Failure
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reasons import Reason
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import Registry
from zhenxian.signer.analytics import PooledSigning, observation, observation_of_gateway
from zhenxian.signer.decide import Decision, decide, gather
from zhenxian.signer.origids import Origids
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.screen import IAT_WINDOW, NOT_READY, Unfit, screen
from zhenxian.signer.sign import SignedHeader, sign, unknown_origid
from zhenxian.verifier.opened import NOTHING_FETCHED, NeedCertificates, Opened
from zhenxian.verifier.replay import (
    UNKNOWN,
    BatchReplayStore,
    Question,
    SharedReplayStore,
    Sighted,
    Sighting,
)
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Verdict
from zhenxian.verifier.verify import Verifier

MAX_WAITING: Final = 2048  # calls that wait for certificates at once; more get No-TN-Validation

_logger = logging.getLogger("zhenxian.calls")


class Asked(Struct, gc=False):
    """A question as a front end took it; front ends derive from it.

    Attributes:
        name: what the log names the question by.
        started: when it was complete, by `Pipeline.timer`.
    """

    name: bytes
    started: float


A = TypeVar("A", bound=Asked)
Write: TypeAlias = Callable[[Verdict, A], bytes]  # a front end's answer to a question
Fetched: TypeAlias = Mapping[str, Chain | Failure]  # by x5u


class Signing(Struct, Generic[A], gc=False):
    """A signing request that was decided.

    Attributes:
        signed: what `compute` makes of it; stays None where the decision is a refusal.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    asked: A
    request: SigningRequest
    decision: Decision
    credential: Credential
    signed: SignedHeader | None = None

    def compute(self) -> None:
        """Sign, unless it is refused."""
        if self.decision.attest is not None:
            self.signed = sign(self.request, self.decision, self.credential)


class Verifying(Struct, Generic[A], gc=False):
    """A verification request whose cheap checks are done.

    Attributes:
        question: what a repetition is recognised by; None when it cannot be.
    """

    asked: A
    opened: Opened
    question: Question | None = None

    def compute(self) -> None:
        """Check the signatures."""
        self.opened.check()


STAGED: Final = (Signing, Verifying)  # what a signature is made or checked for


class Waiting(Struct, Generic[A], frozen=True, kw_only=True):
    """A verification that needs certificates first; `Pipeline.fetch` goes on from here.

    Attributes:
        fetched: what was fetched for it so far.
    """

    asked: A
    request: VerificationRequest
    needed: NeedCertificates
    question: Question | None = None
    fetched: Fetched = NOTHING_FETCHED


class Supplied(Struct, Generic[A], frozen=True):
    """A verification whose needs were fetched or asked for; `Pipeline.reopen` goes on from here.

    Attributes:
        fetched: in all.
    """

    waiting: Waiting[A]
    fetched: Fetched

    @property
    def asked(self) -> A:
        """The question."""
        return self.waiting.asked


class Asking(Struct, Generic[A], frozen=True):
    """A verification whose replay store is still to be asked.

    `Pipeline.seen_of` asks it about a whole batch; `settle` goes on with what it said.

    Attributes:
        presumed, answer: what follows if every token is new.
    """

    call: Verifying[A]
    sightings: list[Sighting]
    presumed: Verdict
    answer: bytes


class Judged(Struct, Generic[A], frozen=True):
    """A verification that is over.

    Attributes:
        answer: as the front end wrote it.
        again: True when that is what the same question was answered before.
    """

    asked: A
    answer: bytes
    again: bool = False


class Repository(Protocol):
    """Fetches chains (certs.repository.CertificateRepository)."""

    async def get(self, x5u: str) -> Chain | Failure:
        """The chain, or why there is none."""
        ...


class SigningSide(Struct, frozen=True, kw_only=True):
    """What signing works with.

    Attributes:
        credential: the key and chain in use; None when there is none.
        plan: the national numbering plan.
        iat_window: seconds that iat may lie from now.
        origids: gives each call an origid of its own; None where that is not wanted.
        claimed: a call that is only said to be forwarded gets C, where it would be refused.
        destinations: to how many one received call may be diverted while it is fresh.
    """

    credential: Callable[[], Credential | None]
    registry: Registry
    iat_window: int = IAT_WINDOW
    plan: Plan = NO_PLAN
    origids: Origids | None = None
    pooled: PooledSigning = PooledSigning.REFUSE
    consent: ConsentPolicy | None = None
    conduct: DisplayConduct | None = None
    claimed: bool = False
    destinations: int = 8

    @property
    def marketing(self) -> Consent:
        """What a callee's refusal of such calls leads to."""
        return self.consent.marketing if self.consent is not None else Consent.OFF


class VerifyingSide(Struct, frozen=True, kw_only=True):
    """What verifying works with.

    Attributes:
        lists: fetches the revocation lists that chains name; None where that is not wanted.
        replay: a store that must be asked over the network; None where the verifier has its own.
        together: the verifier's own, where a batch of calls had better ask it at once.
    """

    verifier: Verifier
    repository: Repository
    lists: LearntLists | None = None
    replay: SharedReplayStore | None = None
    together: BatchReplayStore | None = None


class Around(Struct, frozen=True, kw_only=True):
    """What happens around a batch of calls. None of it may fail a call.

    Attributes:
        refresh: takes over what was committed to the registry since the last batch.
        keep: before answers go out, makes durable what they rest on.
        count: after answers went out, counts what was observed of the calls.
    """

    refresh: Callable[[], object] = lambda: None
    keep: Callable[[], object] = lambda: None
    count: Callable[[], object] = lambda: None


class _Batch:
    """Entered before calls are looked at, left before their answers go out."""

    __slots__ = ("_around",)

    def __init__(self, around: Around) -> None:
        self._around = around

    def __enter__(self) -> None:
        try:
            self._around.refresh()
        except StoreUnavailableError:
            pass  # each call finds the registry unavailable by itself
        except Exception:
            _logger.exception("the registry's changes could not be taken over")

    def __exit__(self, *_: object) -> None:
        self.keep()

    def keep(self) -> None:
        """Keep what answers rest on."""
        try:
            self._around.keep()
        except Exception:
            _logger.exception("what calls rest on could not be kept")


def compute(calls: Iterable[object]) -> None:
    """Make or check the signatures of those that have any; others are passed over.

    One after the other: OpenSSL's table for P-256 is larger than the first caches, and code
    between two signatures throws it out of them (docs/performance.md).
    """
    for call in calls:
        if isinstance(call, STAGED):
            try:
                call.compute()
            except Exception:
                _logger.exception("a signature failed")


def _sightings(calls: Iterable[Asking[A]]) -> list[Sighting]:
    return [sighting for call in calls for sighting in call.sightings]


def _parted(calls: Iterable[Asking[A]], seen: Sequence[Sighted]) -> list[list[Sighted]]:
    """What was said of the tokens of all calls, call by call."""
    rest = iter(seen)
    return [list(islice(rest, len(call.sightings))) for call in calls]


class Pipeline:
    """Decides and judges calls, and records what became of them.

    Attributes:
        batch: entered and left around calls that are answered together.
        timer: seconds, for durations.
        waiting: verifications that wait for certificates.
        asking: those that wait for the answer of a store that is shared with other processes, or,
            where a protocol leaves them to the application, for their turn.
    """

    def __init__(
        self,
        *,
        signing: SigningSide,
        verifying: VerifyingSide,
        recorder: Recorder,
        around: Around | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.signing = signing
        self.verifying = verifying
        self.recorder = recorder
        self.timer = timer
        self.clock = clock
        self._around = Around() if around is None else around
        self.batch = _Batch(self._around)
        self.waiting = 0
        self.asking = 0
        self._over: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def count(self) -> None:
        """Record calls and count the observations after answers went out; no call waits for it."""
        over, self._over = self._over, []
        for record, told in over:
            try:
                record(*told)
            except Exception:
                _logger.exception("a call could not be recorded")
        try:
            self._around.count()
        except Exception:
            _logger.exception("observations could not be counted")

    # Signing

    def decide(
        self, request: SigningRequest, asked: A, *, beside: bool = False
    ) -> Signing[A] | Unfit:
        """Screen, gather and decide: everything before the signature; or why nothing is decided.

        Args:
            beside: it is the other number that a call shows, which is signed by the one of both:
                its display counts, and the call does by that one.
        """
        side, now = self.signing, self.clock()
        unfit = screen(request, int(now), side.iat_window)
        if unfit is not None:
            return unfit
        credential = side.credential()
        if credential is None:
            return NOT_READY
        facts = gather(
            request,
            side.registry,
            now,
            plan=side.plan,
            spc=credential.spc,
            conduct=side.conduct,
            consent=side.consent,
            claimed=side.claimed,
            counted=not beside,
        )
        decision = decide(request, facts, side.pooled, side.marketing)
        if side.conduct is not None and decision.counts:
            # What is refused for conduct counts on: a pool that goes on trying is not cleared.
            seen = (
                observation(
                    request,
                    facts.access,
                    facts.binding,
                    int(now),
                    facts.holding,
                    facts.customer,
                )
                if facts.access is not None
                else observation_of_gateway(request, int(now))
            )
            if seen is not None:
                side.conduct.observe(seen)
        if decision.attest is not None and side.origids is not None and not beside:
            access = facts.access.id if facts.access is not None else ""
            stable = decision.origid or unknown_origid(credential.spc)
            fresh = side.origids.give(access, stable, int(now))
            decision = replace(decision, origid=fresh or stable)
        return Signing(asked, request, decision, credential)

    def signed(self, call: Signing[A]) -> None:
        """Note a decision whose answer is written, to be recorded after it went out."""
        asked, elapsed = call.asked, self.timer() - call.asked.started
        told = (call.request, call.decision, asked.name, elapsed)
        self._over.append((self.recorder.signing, told))

    # Verifying

    def open(
        self,
        request: VerificationRequest,
        asked: A,
        write: Write[A],
        question: Question | None = None,
    ) -> Verifying[A] | Waiting[A] | Judged[A]:
        """Steps 1 to 7 of verifying: everything before the signature."""
        opened = self.verifying.verifier.open(request, int(self.clock()))
        if isinstance(opened, Opened):
            return Verifying(asked, opened, question)
        if isinstance(opened, NeedCertificates):
            return Waiting(asked=asked, request=request, needed=opened, question=question)
        return self._judged(asked, request, opened, write(opened, asked))

    def reopen(self, call: Supplied[A], write: Write[A]) -> Verifying[A] | Waiting[A] | Judged[A]:
        """As `open`, with what was fetched; what could not be had is a check that failed."""
        waiting, fetched, now = call.waiting, call.fetched, self.clock()
        asked, request, question = waiting.asked, waiting.request, waiting.question
        lists = not waiting.needed.chains  # they are asked for once
        opened = self.verifying.verifier.open(request, int(now), fetched, lists=lists)
        if isinstance(opened, NeedCertificates):
            return replace(waiting, needed=opened, fetched=fetched)
        if not isinstance(opened, Opened):
            return self._judged(asked, request, opened, write(opened, asked))
        if question is not None:  # from now on: whoever asks again waited as long
            question = replace(question, at=now)
        return Verifying(asked, opened, question)

    def judge(self, call: Verifying[A], write: Write[A]) -> Judged[A] | Asking[A]:
        """Everything after the signature."""
        asking, side = self.presume(call, write), self.verifying
        if side.replay is not None and asking.sightings:
            return asking
        seen = side.verifier.ask(asking.sightings, call.opened.now)
        return self.settle(asking, seen, write)

    def presume(self, call: Verifying[A], write: Write[A]) -> Asking[A]:
        """Everything after the signature until the replay store is asked.

        The answer comes first: the store that may know the token keeps it for who asks again.
        """
        verifier = self.verifying.verifier
        presumed = verifier.presume(call.opened)
        answer = write(presumed, call.asked)
        sightings = verifier.sightings(call.opened, call.question, answer)
        return Asking(call, sightings, presumed, answer)

    async def fetch(self, waiting: Waiting[A]) -> Supplied[A]:
        """Fetch what a verification waits for."""
        return Supplied(waiting, await self._more(waiting.needed, waiting.fetched))

    async def fetched(
        self,
        request: VerificationRequest,
        opened: Verdict | NeedCertificates | Opened,
        *,
        forwarding: bool = False,
    ) -> Verdict | Opened:
        """Fetch what a verification needs until it can be gone on with."""
        fetched = NOTHING_FETCHED
        while isinstance(opened, NeedCertificates):
            fetched = await self._more(opened, fetched)
            now, lists = int(self.clock()), not opened.chains
            opened = self.verifying.verifier.open(
                request, now, fetched, lists=lists, forwarding=forwarding
            )
        return opened

    async def seen(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """Ask the replay store, whichever there is; UNKNOWN where it cannot be asked."""
        side = self.verifying
        if side.replay is None:
            return side.verifier.ask(sightings, now)
        try:
            return await side.replay.sight_all(sightings, now)
        except Exception:  # what is not known to be new does not pass
            _logger.exception("the shared replay store failed")
            return [UNKNOWN] * len(sightings)

    async def seen_of(self, calls: Sequence[Asking[A]]) -> list[list[Sighted]]:
        """Ask the shared replay store about all calls at once: what it says of each."""
        self.asking += len(calls)
        try:
            return _parted(calls, await self.seen(_sightings(calls), int(self.clock())))
        finally:
            self.asking -= len(calls)

    def seen_by(self, store: BatchReplayStore, calls: Sequence[Asking[A]]) -> list[list[Sighted]]:
        """As `seen_of`, of a store that is asked without waiting: this machine's."""
        sightings = _sightings(calls)
        try:
            seen = store.sight_all(sightings, int(self.clock()))
        except Exception:  # what is not known to be new does not pass
            _logger.exception("the replay store failed")
            seen = [UNKNOWN] * len(sightings)
        return _parted(calls, seen)

    def settle(self, asking: Asking[A], seen: Sequence[Sighted], write: Write[A]) -> Judged[A]:
        """What follows once the replay store has answered about the tokens.

        Before the answer goes out, the caller sees to `batch.keep`.
        """
        call, presumed, answer = asking.call, asking.presumed, asking.answer
        asked, request, repeated = call.asked, call.opened.request, asked_again(seen)
        if repeated is not None and repeated.answer:
            elapsed = self.timer() - asked.started
            told = (request, presumed, asked.name, elapsed, repeated)
            self._over.append((self.recorder.repetition, told))
            return Judged(asked, repeated.answer, again=True)
        verdict = self.verifying.verifier.settle(call.opened, presumed, seen)
        if verdict is not presumed:
            answer = write(verdict, asked)
        return self._judged(asked, request, verdict, answer, repeated)

    def _judged(
        self,
        asked: A,
        request: VerificationRequest,
        verdict: Verdict,
        answer: bytes,
        repeated: Sighted | None = None,
    ) -> Judged[A]:
        elapsed = self.timer() - asked.started
        told = (request, verdict, asked.name, elapsed, repeated)
        self._over.append((self.recorder.verification, told))
        return Judged(asked, answer)

    async def _more(self, needed: NeedCertificates, fetched: Fetched) -> Fetched:
        """What was fetched and what is needed beside it: each URL once, then lists.

        A failure that was remembered when the call began may be forgotten by the time that another
        URL was fetched: then that one is fetched, too.
        """
        missing = tuple(url for url in needed.urls if url not in fetched)
        if needed.urls and not missing:
            raise RuntimeError("a fetched certificate is still missing")
        return {**fetched, **await self._fetch(missing, needed.chains)}

    async def _fetch(self, urls: tuple[str, ...], lacking: tuple[Chain, ...]) -> Fetched:
        if self.waiting >= MAX_WAITING:
            busy = Failure(Reason.CERT_UNREACHABLE, "too many calls wait for certificates", 0)
            return dict.fromkeys(urls, busy)
        self.waiting += 1
        try:
            side = self.verifying
            if len(urls) == 1:  # without a task of its own
                return {urls[0]: await side.repository.get(urls[0])}
            chains = await asyncio.gather(*(side.repository.get(url) for url in urls))
            if side.lists is not None:
                await asyncio.gather(*(side.lists.fetch(chain) for chain in lacking))
            return dict(zip(urls, chains, strict=True))
        finally:
            self.waiting -= 1
