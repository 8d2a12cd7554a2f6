"""Signing a forwarded call: what it came with is verified, then its diversion is signed beside it.

A front end that has a SigningRequest whose `forwarded` is provable asks here instead of
`Pipeline.decide`, and may have to wait: certificates are fetched, and the replay store is asked.

    1. who forwards: as told, or who was called by a received token and is held by the access
    2. the received Identity headers, verified as for who forwards (verifier.verify)
    3. the decision (signer.divert); without proof, that of any other call (signer.decide)
    4. once for each destination, and for so many destinations of what one caller's carrier signed
    5. the signature

A call for help waits for nothing: what is not at hand is no proof, and then it is signed as any
other; steps 4 and 2's certificates are left out.

A received call that was verified when it came in is not asked about again here: it is remembered
by other keys, so that verifying it, and forwarding it, do not count as each other's replay.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Final, Generic

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.calls.pipeline import A, Pipeline, Signing
from zhenxian.certs.keys import Credential
from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.identity import parse_single, split_identity_headers
from zhenxian.signer.decide import Decision, decide, gather, over_cap, refuse
from zhenxian.signer.divert import (
    Forwarder,
    Proof,
    Unproven,
    decide_diversion,
    extension_of,
    forwarder_of,
    gather_forwarder,
)
from zhenxian.signer.request import Forwarding, SigningRequest
from zhenxian.signer.screen import Unfit, screen
from zhenxian.signer.sign import sign_diversion
from zhenxian.verifier.opened import Candidate, NeedCertificates, Opened
from zhenxian.verifier.replay import Question, Sight, Sighting
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import Diverting, Screened
from zhenxian.verifier.token import VerifiedPASSporT
from zhenxian.verifier.verdict import Verdict

_KEY: Final = 16  # octets, as of verifier.replay.replay_key
_GRANTED: Final = (Sight.NEW, Sight.CALL, Sight.REQUEST)


class Forwarded(Struct, Generic[A], frozen=True):
    """A signing request for a forwarded call; `divert` goes on from here.

    Attributes:
        question: what tells a repetition; None for nothing.
        otherwise: what is to be signed where there is no proof; None for `request` itself.
    """

    asked: A
    request: SigningRequest
    question: Question | None = None
    otherwise: SigningRequest | None = None


class _Received(Struct, frozen=True):
    """What verified, and what it is remembered by.

    Attributes:
        original, last: keys of the token that the caller's carrier signed, and of the latest div
            upon it; equal where there is none.
    """

    proof: Proof
    original: bytes
    last: bytes
    until: int


def unproven(pipeline: Pipeline, call: Forwarded[A]) -> Signing[A] | Unfit | None:
    """What can be answered at once, as no token was received; None where `divert` is to be asked.

    Whoever only says that a call is forwarded takes no more of this service than any other call.
    """
    forwarded, credential = call.request.forwarded, pipeline.signing.credential()
    if forwarded is None or credential is None:
        return pipeline.decide(call.request, call.asked)
    if _readable(forwarded.identities):
        return None
    why = "no Identity header was received"
    if forwarded.identities:
        why = "the Identity header received cannot be read"
    call = _dated(pipeline, call, forwarded)
    unfit = screen(call.request, int(pipeline.clock()), pipeline.signing.iat_window)
    if unfit is not None:
        return unfit
    return _like_any_other(pipeline, call, forwarded, credential, Unproven(why))


def _dated(pipeline: Pipeline, call: Forwarded[A], forwarded: Forwarding) -> Forwarded[A]:
    """The call with the present time where it must tell none."""
    if forwarded.ppt is None or forwarded.iat is not None:
        return call
    return replace(call, request=replace(call.request, iat=int(pipeline.clock())))


async def divert(pipeline: Pipeline, call: Forwarded[A]) -> Signing[A] | Unfit:
    """Decide and sign a forwarded call.

    What comes back is signed already, unless it was refused. A call that is not proven to be
    forwarded, and need not get a div, is decided as `Pipeline.decide` does.
    """
    forwarded, now = call.request.forwarded, int(pipeline.clock())
    credential = pipeline.signing.credential()
    if forwarded is None or credential is None:
        return pipeline.decide(call.request, call.asked)
    call = _dated(pipeline, call, forwarded)
    unfit = screen(call.request, now, pipeline.signing.iat_window)
    if unfit is not None:
        return unfit
    made = await _made(pipeline, call, forwarded, credential)
    if not isinstance(made, Unproven):
        return made
    return _like_any_other(pipeline, call, forwarded, credential, made)


async def _made(
    pipeline: Pipeline, call: Forwarded[A], forwarded: Forwarding, credential: Credential
) -> Signing[A] | Unproven:
    """The signed diversion or its refusal, or why there is none."""
    request, side = call.request, pipeline.signing
    with pipeline.batch:
        number = _forwarder(pipeline, request, forwarded)
    if isinstance(number, Unproven):
        return number
    received = await _received(pipeline, request, forwarded, number)
    if isinstance(received, Unproven):
        return received
    now = pipeline.clock()
    with pipeline.batch:
        facts = gather(
            request, side.registry, now, plan=side.plan, spc=credential.spc,
            conduct=side.conduct, consent=side.consent, counted=False,
        )  # fmt: skip
        try:
            forwarder = gather_forwarder(number, side.registry, credential, int(now), side.plan)
        except StoreUnavailableError:
            forwarder = Forwarder(number=number)
    decision = decide_diversion(
        request, facts, forwarder, received.proof, side.pooled, side.marketing
    )
    if isinstance(decision, Unproven):
        return decision
    if decision.diverting is None:
        return Signing(call.asked, request, decision, credential)
    extension = extension_of(request, forwarder, received.proof)
    if isinstance(extension, Unproven):
        return extension
    if not facts.to_emergency:
        again = await _seen_before(pipeline, request, received, call.question)
        if again is not None:
            return again
        found, conduct = facts.finding, side.conduct
        if found is not None and conduct is not None and over_cap(found, conduct, int(now)):
            capped = refuse(Reason.CALLS_CAPPED, found.sentence)  # by calls that came meanwhile
            return Signing(call.asked, request, capped, credential)
    original = received.proof.original
    iat = forwarded.iat if forwarded.iat is not None else _iat(pipeline, original, int(now))
    signed = sign_diversion(original, extension, request.dest, iat, credential)
    return Signing(call.asked, request, decision, credential, signed)


def _forwarder(pipeline: Pipeline, request: SigningRequest, forwarded: Forwarding) -> TN | Unproven:
    """Step 1. Nothing is fetched for who forwards from a number that is not held by the access."""
    registry, number = pipeline.signing.registry, forwarded.diverting
    if number is not None and not isinstance(number, TN):
        return Unproven("who forwards is no number, so nobody can hold it")
    try:
        access = registry.access(request.access, request.origid)
        if access is None:
            return Unproven("the access is not known")
        if number is None:
            number = forwarder_of(_readable(forwarded.identities), access.subject, registry)
            if number is None:
                return Unproven("no Identity header received is for a number of the access")
        holding = registry.holding(number)
    except StoreUnavailableError:
        return Unproven("the registry cannot be asked")
    if holding is None or holding.subject != access.subject:
        return Unproven(f"the number that forwards is not held by {access.subject}")
    return number


def _readable(identities: Sequence[str]) -> list[PASSporT]:
    """The claims of those tokens that can be read. Nothing is believed of them."""
    found = []
    with contextlib.suppress(ParseError):
        for value in split_identity_headers(list(identities)):
            with contextlib.suppress(ParseError):
                found.append(parse_single(value).passport())
    return found


async def _received(
    pipeline: Pipeline, request: SigningRequest, forwarded: Forwarding, number: TN
) -> _Received | Unproven:
    """Step 2. It leaves no trace: it is no verification of a call that arrives."""
    verifier = pipeline.verifying.verifier
    arrived = VerificationRequest(
        request.orig, (number,), None, forwarded.identities, purpose=request.purpose
    )
    needed = verifier.open(arrived, int(pipeline.clock()), forwarding=True)
    if isinstance(needed, NeedCertificates) and _for_help(pipeline, request):
        return Unproven("a call for help does not wait for certificates")
    opened = await pipeline.fetched(arrived, needed, forwarding=True)
    if isinstance(opened, Verdict):
        return _unverified(opened)
    opened.check()
    verdict = verifier.presume(opened)
    diversions, original = opened.diversions, verdict.decisive
    if verdict.verstat is not Verstat.PASSED or original is None or diversions is None:
        return _unverified(verdict)
    place = next(at for at, result in enumerate(verdict.results) if result is original)
    last = diversions.last(place)
    token, passport = diversions.tokens[last], original.passport
    if not isinstance(token, Screened) or passport is None:
        return _unverified(verdict)
    earlier = [one.diverting for one in diversions.tokens if isinstance(one, Diverting)]
    proof = Proof(
        original=passport,
        last=token.header.token.dumps().decode("ascii"),
        last_ppt=token.passport.header.ppt,
        earlier=frozenset(earlier),
        headers=len(diversions.tokens),
    )
    until = passport.iat + diversions.kept + 1
    return _Received(proof, _key_of(opened, place), _key_of(opened, last), until)


def _for_help(pipeline: Pipeline, request: SigningRequest) -> bool:
    return all(map(pipeline.signing.plan.emergency, request.dest.identities))


def _unverified(verdict: Verdict) -> Unproven:
    return Unproven(f"the Identity header received: {verdict.reason.code}, {verdict.detail}")


def _key_of(opened: Opened, place: int) -> bytes:
    entry = opened.entries[place]
    if isinstance(entry, Candidate) and isinstance(entry.token, VerifiedPASSporT):
        return entry.token.key
    raise RuntimeError("a token that decided has not verified")


async def _seen_before(
    pipeline: Pipeline, request: SigningRequest, received: _Received, question: Question | None
) -> Unproven | None:
    """Step 4: why this received call is not diverted there; None when it is.

    A repeated question is none, as when verifying. Each destination takes a place of those that one
    original has: who was called once may let several ring, but makes no hundred calls of one, nor
    does who has it diverted among numbers of its own. Who asks again finds the place taken then:
    what was refused for want of one is refused again.
    """
    now, until = int(pipeline.clock()), received.until
    there = b"\0".join(identity.encode() for identity in request.dest.identities)
    step = _digest(b"forwarded", received.last, there)
    (once,) = await pipeline.seen([Sighting(step, until, question)], now)
    if once.sight is Sight.UNKNOWN:
        return Unproven(Reason.REPLAY_UNKNOWN.text)
    if once.sight not in _GRANTED:
        return Unproven("the Identity header received was forwarded there before")
    mine = _of_step(question, step)
    for place in range(pipeline.signing.destinations):
        key = _digest(b"forwarded place", received.original, b"%d" % place)
        (free,) = await pipeline.seen([Sighting(key, until, mine)], now)
        if free.sight in _GRANTED:
            return None
        if free.sight is Sight.UNKNOWN:
            return Unproven(Reason.REPLAY_UNKNOWN.text)
    count = pipeline.signing.destinations
    return Unproven(f"the Identity header received was forwarded to {count} destinations before")


def _of_step(question: Question | None, step: bytes) -> Question | None:
    """The question about one diversion: a Call-ID alone is that of all phones that ring."""
    if question is None or question.call is None:
        return question
    call = question.call if isinstance(question.call, tuple) else (question.call,)
    return replace(question, call=(step, *call))


def _iat(pipeline: Pipeline, original: PASSporT, now: int) -> int:
    """The original's, unless it is so old that the div would be stale where it arrives."""
    window = pipeline.verifying.verifier.policy.iat_window
    return original.iat if abs(now - original.iat) <= window // 2 else now


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()[:_KEY]


def _like_any_other(
    pipeline: Pipeline,
    call: Forwarded[A],
    forwarded: Forwarding,
    credential: Credential,
    lacking: Unproven,
) -> Signing[A] | Unfit:
    """Decide without proof. Where a div is asked for there is none, and perhaps a reason at hand.

    A call for help is signed all the same, in the way of any other.
    What is refused anyway keeps its reason, and says why the proof was none.
    """
    request = call.request
    wanted = forwarded.ppt is not None and not _for_help(pipeline, request)
    with pipeline.batch:
        if wanted and not _granted_by_claim(pipeline, request, credential):
            decision = _usual(pipeline, request, credential)
            if decision.signs:
                decision = refuse(Reason.DIVERSION_UNPROVEN, lacking.why)
            else:
                decision = replace(decision, detail=f"{decision.detail}; {lacking.why}")
            return Signing(call.asked, request, decision, credential)
        made = pipeline.decide(call.otherwise or request, call.asked)
    if isinstance(made, Unfit):
        return made
    if made.decision.signs:
        made.compute()
    else:
        made.decision = replace(made.decision, detail=f"{made.decision.detail}; {lacking.why}")
    return made


def _usual(pipeline: Pipeline, request: SigningRequest, credential: Credential) -> Decision:
    """What the call would get otherwise; nothing is counted."""
    side = pipeline.signing
    facts = gather(
        request, side.registry, pipeline.clock(), plan=side.plan, spc=credential.spc,
        conduct=side.conduct, consent=side.consent, claimed=side.claimed, counted=False,
    )  # fmt: skip
    return decide(request, facts, side.pooled, side.marketing)


def _granted_by_claim(pipeline: Pipeline, request: SigningRequest, credential: Credential) -> bool:
    if not pipeline.signing.claimed:
        return False
    return _usual(pipeline, request, credential).reason is Reason.DIVERSION_CLAIMED
