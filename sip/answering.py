"""INVITEs to advice, by the pipeline that all front ends share.

    with batch: staged, then all signatures, then all advice

An INVITE of a dialog is not asked about: its To has a tag; nor is any other request. Forks of one
call are one question.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from zhenxian.calls.diversion import Forwarded, divert, unproven
from zhenxian.calls.fetches import Fetches
from zhenxian.calls.help import perhaps
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
from zhenxian.calls.repeats import question_of
from zhenxian.core.errors import ParseError
from zhenxian.core.header_fields import plain, sip_date
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.screen import Unfit
from zhenxian.sip import advice as answers
from zhenxian.sip.advice import Action, Advice
from zhenxian.sip.chosen import (
    Choice,
    Parties,
    date_of,
    forwarding_of,
    may_be_for_help,
    parties,
)
from zhenxian.sip.message import SipRequest
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.replay import Question as Repetition
from zhenxian.verifier.replay import Sighted
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Verdict

MAX_NAME: Final = 128  # characters of a Call-ID that are logged
MAX_RECENT: Final = 8_192  # answers to INVITEs that are kept for their forks

_logger = logging.getLogger("zhenxian.sip")
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_decode: Final = msgspec.json.Decoder(Advice).decode


_Key: TypeAlias = tuple[object, ...]


class Question(Struct, frozen=True, kw_only=True):
    """One INVITE, and how it came.

    Attributes:
        signing: True where it is to be signed, False where it is to be verified.
        by: who asks.
        access: by which access it came in; None when nothing tells.
        customer: whose of those who share the access; None when nothing tells.
    """

    request: SipRequest
    signing: bool
    by: bytes
    access: str | None = None
    customer: str | None = None


class SipCall(Asked):
    """A question on its way.

    Attributes:
        key: what it has in common with its forks, where it is to be signed.
        advice: what it was last answered.
    """

    question: Question
    who: Parties
    key: _Key = ()
    advice: Advice | None = None


class Underway(Struct, frozen=True):
    """A verification whose replay store is being asked, with all that came with it.

    Attributes:
        answers: of all of them; `place` tells which is the call's.
    """

    asked: SipCall
    answers: asyncio.Task[list[Advice]]
    place: int


Later: TypeAlias = Waiting[SipCall] | Forwarded[SipCall] | Underway
_Staged: TypeAlias = Advice | Later | Signing[SipCall] | Verifying[SipCall]


class SipPolicy(Struct, frozen=True, kw_only=True):
    """Settings of what INVITEs are answered.

    Attributes:
        reject_failed: whether a call that fails is rejected, or goes on as one that failed.
        as_608: whether a call that is not signed by policy is answered 608 where there is a
            contact, in place of 403.
        date_window: seconds that Date may lie from now before signing replaces it.
        fork_seconds: how long INVITEs of one call are one question.
        wait_seconds: how long an INVITE may wait for certificates; a call for help does not.
    """

    choice: Choice = Choice()
    reject_failed: bool = False
    as_608: bool = False
    date_window: int = 60
    fork_seconds: float = 2.0
    wait_seconds: float = 0.4


class SipCalls:
    """Answers INVITEs."""

    def __init__(
        self,
        policy: SipPolicy,
        pipeline: Pipeline,
        rejection: Callable[[], Rejection] = Rejection,
    ) -> None:
        self.policy = policy
        self.pipeline = pipeline
        self._rejection = rejection
        self._tasks: set[asyncio.Task[Advice]] = set()
        self._fetches: Fetches[SipCall, Advice] = Fetches(pipeline, self)
        self._recent: OrderedDict[_Key, tuple[float, Advice]] = OrderedDict()

    def answer_all(self, questions: Sequence[Question]) -> list[Advice | Later]:
        """Answer INVITEs that arrived together, each with its own advice. Never raises."""
        with self.pipeline.batch:
            first: dict[_Key, int] = {}  # forks that came together
            staged = [self._stage(question, first, at) for at, question in enumerate(questions)]
            compute(staged)
            done: list[Advice | Later | Asking[SipCall]] = []
            for item in staged:
                if isinstance(item, int):
                    done.append(done[item])
                else:
                    done.append(self._finish(item) if isinstance(item, STAGED) else item)
            return self._asked(done)

    def _asked(self, done: Sequence[Advice | Later | Asking[SipCall]]) -> list[Advice | Later]:
        """Ask the replay store about all calls at once; what a fleet's says is waited for."""
        asking = [item for item in done if isinstance(item, Asking)]
        store, places = self.pipeline.verifying.together, iter(range(len(asking)))
        if not asking:
            return [item for item in done if not isinstance(item, Asking)]
        if store is not None:
            seen = self.pipeline.seen_by(store, asking)
            found = [self._settled(*each) for each in zip(asking, seen, strict=True)]
            return [found[next(places)] if isinstance(it, Asking) else it for it in done]
        task = asyncio.get_running_loop().create_task(self._ask(asking))
        return [
            Underway(it.call.asked, task, next(places)) if isinstance(it, Asking) else it
            for it in done
        ]

    async def _ask(self, calls: Sequence[Asking[SipCall]]) -> list[Advice]:
        try:
            return await self.ask_all(calls)
        finally:
            self.answered()

    async def ask_all(self, calls: Sequence[Asking[SipCall]]) -> list[Advice]:
        """Ask the store that machines share about calls that arrived together. Never raises."""
        seen = await self.pipeline.seen_of(calls)
        try:
            return [self._settled(*each) for each in zip(calls, seen, strict=True)]
        finally:
            self.pipeline.batch.keep()

    def resume_all(
        self, calls: Sequence[Supplied[SipCall]]
    ) -> list[Advice | Waiting[SipCall] | Asking[SipCall]]:
        """Go on with verifications whose fetches ended together. Never raises."""
        with self.pipeline.batch:
            staged = [self._reopened(call) for call in calls]
            compute(staged)
            done = [self._finish(it) if isinstance(it, Verifying) else it for it in staged]
            store = self.pipeline.verifying.together
            asking = [item for item in done if isinstance(item, Asking)]
            if store is None or not asking:
                return done
            seen = iter(self.pipeline.seen_by(store, asking))
            return [self._settled(it, next(seen)) if isinstance(it, Asking) else it for it in done]

    def _reopened(self, call: Supplied[SipCall]) -> Advice | Waiting[SipCall] | Verifying[SipCall]:
        """Everything up to the signature, once more."""
        try:
            staged = self.pipeline.reopen(call, self._written)
            return self._judged(staged) if isinstance(staged, Judged) else staged
        except Exception:
            _logger.exception("an INVITE failed after waiting")
            return self.unfinished(call.asked)

    def unfinished(self, asked: SipCall) -> Advice:
        """The advice where a verification failed for no reason that a verdict could tell."""
        return self._failed(asked)

    def _settled(self, call: Asking[SipCall], seen: Sequence[Sighted]) -> Advice:
        """The advice, with what a replay store said."""
        try:
            return self._judged(self.pipeline.settle(call, seen, self._written))
        except Exception:
            _logger.exception("an INVITE failed after its replay store was asked")
            return self._failed(call.call.asked)

    @property
    def asking(self) -> int:
        """Calls that wait for the answer of a store that is shared with other processes."""
        return self.pipeline.asking

    def overloaded(self, *, signing: bool) -> None:
        """Count an INVITE that nobody has time for."""
        route = "signing" if signing else "verification"
        self.pipeline.recorder.turned_away(route, Reason.OVERLOADED)

    def answered(self) -> None:
        """After answers went out: what calls told is counted, for which none of them waits."""
        self.pipeline.count()

    def for_help(self, request: SipRequest) -> bool:
        """Whether an INVITE calls an emergency number or service, or may do so."""
        try:
            who = parties(request, self.policy.choice)
        except ParseError:
            return self.is_for_help(request.uri)
        return may_be_for_help(who, self.policy.choice.reading)

    def is_for_help(self, uri: str) -> bool:
        """Whether a Request-URI is of an emergency number or service, or may be."""
        reading = self.policy.choice.reading
        try:
            return perhaps((), reading.identity(plain(uri)), reading.emergency)
        except ParseError:
            return False

    async def within(self, waiting: Later) -> Advice:
        """Finish a verification, or let the call go on without when it has waited long enough."""
        call = waiting.asked
        task = asyncio.get_running_loop().create_task(self.go_on(waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        seconds = 0.0 if call.who.emergency else self.policy.wait_seconds
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        return self._without(call, Reason.CERT_UNREACHABLE)

    async def go_on(self, waiting: Later) -> Advice:
        """Fetch or ask what a verification waits for, then finish it. Never raises."""
        if isinstance(waiting, Underway):
            return (await asyncio.shield(waiting.answers))[waiting.place]  # the others', too
        if isinstance(waiting, Waiting):
            return await asyncio.shield(self._fetches.begin(waiting))
        try:
            found = await self._forward(waiting)
        except Exception:
            _logger.exception("an INVITE failed after waiting")
            found = self._failed(waiting.asked)
        self.answered()
        return found

    def _stage(self, question: Question, first: dict[_Key, int], at: int) -> _Staged | int:
        """Everything about an INVITE up to the signature; an index for a fork of another."""
        started, request = self.pipeline.timer(), question.request
        if request.to_tag or request.method != "INVITE":  # such as a BYE over HTTP
            remove = () if question.signing else answers.claimed(request)
            text = "" if request.to_tag else f"{request.method} begins no call"
            return answers.go_on(Reason.IN_DIALOG, text, remove)
        try:
            who = parties(request, self.policy.choice)
        except ParseError as error:
            return self._unread(question, error)
        call = SipCall(request.call_id[:MAX_NAME].encode("latin-1"), started, question, who)
        try:
            if not question.signing:
                return self._verify(call)
            call.key = key = _fork(call)
            if key in first:
                return first[key]
            kept = self._recent.get(key)
            if kept is not None and 0 <= started - kept[0] < self.policy.fork_seconds:
                return kept[1]
            staged = self._sign(call)
        except Exception:
            _logger.exception("an INVITE failed")
            return self._failed(call)
        first[key] = at
        return staged

    def _finish(self, call: Signing[SipCall] | Verifying[SipCall]) -> Advice | Asking[SipCall]:
        """Everything about an INVITE after its signature."""
        try:
            if isinstance(call, Signing):
                return self._signed(call)
            if self.pipeline.verifying.together is not None:
                return self.pipeline.presume(call, self._written)
            judged = self.pipeline.judge(call, self._written)
            return self._judged(judged) if isinstance(judged, Judged) else judged
        except Exception:
            _logger.exception("an INVITE failed")
            return self._failed(call.asked)

    # Signing

    def _sign(self, call: SipCall) -> Advice | Signing[SipCall] | Forwarded[SipCall]:
        who = call.who
        if who.diverted_help:  # whoever writes 110 into To could show any number to anybody
            return answers.go_on(Reason.EMERGENCY_CALL)
        if who.other is not None and not who.emergency:
            # Some phones show From, some P-Asserted-Identity: a caller may show both or neither.
            other = self.pipeline.decide(self._to_sign(call, who.other), call, beside=True)
            if isinstance(other, Signing) and not other.decision.signs:
                return self._refused(other)
        asked = self._to_sign(call, who.orig)
        forwarded = asked.forwarded
        if (
            forwarded is not None
            and forwarded.provable
            and who.target is not None
            and not who.emergency
        ):
            diverted = replace(asked, dest=_destination((who.target,)))
            forwarding = Forwarded(call, diverted, self._again(call), asked)
            made = unproven(self.pipeline, forwarding)
            return forwarding if made is None else self._decided(call, made)
        return self._decided(call, self.pipeline.decide(asked, call))

    def _decided(
        self, call: SipCall, staged: Signing[SipCall] | Unfit
    ) -> Advice | Signing[SipCall]:
        """A call as any other."""
        if isinstance(staged, Unfit):
            return self._unfit(call, staged)
        return staged if staged.decision.signs else self._refused(staged)

    def _unfit(self, call: SipCall, unfit: Unfit) -> Advice:
        self.pipeline.recorder.error("signing", unfit.reason, call.name, 503, None)
        return answers.go_on(unfit.reason, unfit.detail)

    async def _forward(self, forwarded: Forwarded[SipCall]) -> Advice:
        """A call that is forwarded: a div where what was received proves it (RFC 8946)."""
        call = forwarded.asked
        staged = self._decided(call, await divert(self.pipeline, forwarded))
        return staged if isinstance(staged, Advice) else self._signed(staged)

    def _to_sign(self, call: SipCall, orig: TN | URI) -> SigningRequest:
        who, request = call.who, call.question.request
        return SigningRequest(
            orig,
            _destination(who.to),
            int(self.pipeline.clock()),
            access=call.question.access,
            customer=call.question.customer,
            unread=who.unread,
            forwarded=forwarding_of(request, who, self.policy.choice.reading),
        )

    def _refused(self, staged: Signing[SipCall]) -> Advice:
        call = staged.asked
        self.pipeline.signed(staged)
        if may_be_for_help(call.who, self.policy.choice.reading):
            return answers.go_on(Reason.EMERGENCY_CALL)
        found = answers.refused(
            staged.decision, call.who, self._rejection(), as_608=self.policy.as_608
        )
        return self._remembered(call, found)

    def _signed(self, staged: Signing[SipCall]) -> Advice:
        if staged.signed is None:
            raise RuntimeError("not signed")
        call = staged.asked
        now = staged.request.iat
        date = date_of(call.question.request)
        fresh = date is not None and abs(now - date) <= self.policy.date_window
        found = answers.signed(
            staged.signed.identity, staged.decision, call.who, None if fresh else sip_date(now)
        )
        self.pipeline.signed(staged)
        return self._remembered(call, found)

    def _remembered(self, call: SipCall, found: Advice) -> Advice:
        """Keep it for the call's forks."""
        self._recent[call.key] = (call.started, found)
        if len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        return found

    # Verifying

    def _verify(self, call: SipCall) -> Advice | Waiting[SipCall] | Verifying[SipCall]:
        question, who = call.question, call.who
        request = question.request
        asked = VerificationRequest(
            who.orig,
            who.to,
            date_of(request),
            () if who.unread is not None else request.identities,
            request.call_id,
            dest=(who.target,) if who.target is not None else (),
        )
        staged = self.pipeline.open(asked, call, self._written, self._again(call))
        return self._judged(staged) if isinstance(staged, Judged) else staged

    def _again(self, call: SipCall) -> Repetition:
        """What tells that the call was asked about before: more than a Call-ID, which is copied."""
        request = call.question.request
        mark = f"{request.call_id} {request.from_tag} {request.number}"
        return question_of(call.question.by, mark, None, b"", self.pipeline.clock())

    def _written(self, verdict: Verdict, call: SipCall) -> bytes:
        """The advice, as the replay store keeps it for whoever asks again."""
        policy = self.policy
        call.advice = answers.judged(
            verdict,
            call.question.request,
            call.who,
            self._rejection(),
            policy.choice.reading,
            reject_failed=policy.reject_failed,
        )
        return _encode(call.advice)

    def _judged(self, judged: Judged[SipCall]) -> Advice:
        found = judged.asked.advice
        return _decode(judged.answer) if judged.again or found is None else found

    # What cannot be asked

    def _unread(self, question: Question, error: ParseError) -> Advice:
        """A caller or callee that cannot be read: not signed by us, and not vouched for.

        A customer's display that hides a number is refused; what comes from elsewhere goes on.
        """
        name = question.request.call_id[:MAX_NAME].encode("latin-1")
        route = "signing" if question.signing else "verification"
        self.pipeline.recorder.error(route, error.reason, name, 400, error.where)
        text = f"{error.where}: {error.detail}"
        if not question.signing:
            return answers.unread(question.request, error.reason, text)
        if self.is_for_help(question.request.uri):
            return answers.go_on(Reason.EMERGENCY_CALL)
        return Advice(
            action=Action.REJECT,
            reason=error.reason.code,
            text=text,
            code=400,
            phrase=f"Bad {error.where}",
        )

    def _failed(self, call: SipCall) -> Advice:
        """Whatever fails here must not end a call."""
        return self._without(call, Reason.INTERNAL)

    def _without(self, call: SipCall, reason: Reason) -> Advice:
        """The call goes on without a token, or without a verdict."""
        if call.question.signing:
            return answers.go_on(reason)
        request, reading = call.question.request, self.policy.choice.reading
        return answers.unverified(request, call.who, reason, reading)


def _destination(called: tuple[TN | URI, ...]) -> Destination:
    return Destination(
        tuple(one for one in called if isinstance(one, TN)),
        tuple(one for one in called if isinstance(one, URI)),
    )


def _fork(call: SipCall) -> _Key:
    """What the branches of one call have in common (RFC 3261 section 16.6).

    Where it may be forwarded, each is signed for where it goes. A branch that takes a call for help
    to a subscriber has nothing in common with one that does not.
    """
    question, who = call.question, call.who
    request = question.request
    fields = request.head.fields
    forwards = [fields.get(name) for name in ("identity", "diversion", "history-info")]
    where = (who.target, *map(str, forwards)) if any(forwards) else ()
    return (
        question.by, question.access, question.customer, request.call_id, request.from_tag,
        request.number, who.orig, who.other, who.beside, who.to, who.emergency,
        who.diverted_help, *where,
    )  # fmt: skip
