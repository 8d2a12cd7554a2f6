"""Whether a forwarded call is signed as diverted: one pure function of request, facts and proof.

Who forwards shows a number that is another's, and says that it was called from there. Whoever makes
a Diversion or History-Info header field can say so. The Identity header that the call came with is
proof: its signer said who calls, whom, and when (RFC 8946 section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from zhenxian.certs.keys import Credential
from zhenxian.certs.tnauthlist import tnauthlist_of
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.identity import MAX_HEADER_LENGTH, MAX_HEADERS
from zhenxian.passport.ppt.div import Div
from zhenxian.passport.ppt.div_o import DivO
from zhenxian.registry.consent import Consent
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import Holding, Order, Registry, Standing, Use, Verification
from zhenxian.registry.parties import involved, order_text
from zhenxian.signer.analytics import PooledSigning
from zhenxian.signer.decide import Decision, Facts, closed, heard, pooling, refuse
from zhenxian.signer.request import SigningRequest

_NOBODY: Final = Standing(None)
_AROUND: Final = 1_400  # characters of a div-o with its parameters beside the token it holds


class Proof(Struct, frozen=True, kw_only=True):
    """A received Identity header that verified for who forwards, and what stands beside it.

    Attributes:
        original: the token that the caller's carrier signed.
        last: what brought the call to who forwards, in full form: the original, or a div upon it.
        last_ppt: its type.
        earlier: who diverted the call before.
        headers: Identity headers that the call has.
    """

    original: PASSporT
    last: str
    last_ppt: str | None
    earlier: frozenset[TN | URI]
    headers: int


class Forwarder(Struct, frozen=True, kw_only=True):
    """What the registry knows of who forwards, and whether this carrier may sign for that.

    Attributes:
        number: who forwards.
        holding, holder: who holds it, and how they stand.
        order: one that covers the number, its holder or a reseller.
        entitled: the certificate in use speaks for the number (RFC 8946 section 4.1).
        privacy: it is a privacy number, by its holding or its range.
    """

    number: TN
    holding: Holding | None = None
    holder: Standing = _NOBODY
    order: Order | None = None
    entitled: bool = False
    privacy: bool = False


class Unproven(Struct, frozen=True):
    """Why a call is not signed as diverted, as a sentence: it is a call like any other."""

    why: str


def forwarder_of(
    received: Iterable[PASSporT], access_subject: str, registry: Registry
) -> TN | None:
    """Who forwards, where the request does not say: called by a received token, and held here.

    Raises:
        StoreUnavailableError: the registry cannot be asked.
    """
    tokens = list(received)
    diverted = {token.extension.diverting for token in tokens if isinstance(token.extension, Div)}
    for token in tokens:
        for number in token.dest.tn:
            holding = registry.holding(number)
            if number not in diverted and holding is not None and holding.subject == access_subject:
                return number
    return None


def gather_forwarder(
    number: TN, registry: Registry, credential: Credential, now: int, plan: Plan = NO_PLAN
) -> Forwarder:
    """Read what `decide_diversion` asks. Raises StoreUnavailableError."""
    holding = registry.holding(number)
    if holding is None:
        return Forwarder(number=number)
    holder = registry.standing(holding.subject, holding.reseller)
    who = involved(number, holding, holder.chain, spcs=holding.spcs[:1])
    if credential.spc is not None:
        entitled = not holding.spcs or credential.spc in holding.spcs
    else:
        listed = tnauthlist_of(credential.chain.certificates[0])
        entitled = listed is not None and listed.covers(number)
    return Forwarder(
        number=number,
        holding=holding,
        holder=holder,
        order=registry.order(who, now),
        entitled=entitled,
        privacy=holding.use is Use.PRIVACY or plan.privacy(number),
    )


def decide_diversion(
    request: SigningRequest,
    facts: Facts,
    forwarder: Forwarder,
    proof: Proof,
    pooled: PooledSigning = PooledSigning.REFUSE,
    marketing: Consent = Consent.LABEL,
) -> Decision | Unproven:
    """Decide about a call whose received Identity header verified, with the display as orig.

    The first line that applies:

    | what is known                                              | result             |
    |------------------------------------------------------------|--------------------|
    | the registry cannot be asked, or may lag behind            | a call like others |
    | the access is unknown, or its subject does not hold the    |                    |
    | number that forwards                                       | a call like others |
    | an order or a suspension stops access, display or who      |                    |
    | forwards; or the display never originates calls            | refused            |
    | the number that forwards is not real-name verified         | refused            |
    | it is a privacy number, or the certificate does not speak  |                    |
    | for it                                                     | a call like others |
    | the conduct of the access shows a pool                     | refused            |
    | the new destination is the old one, or is not one number   | a call like others |
    | the call was diverted from the new destination before, or  |                    |
    | comes from there                                           | refused            |
    | otherwise                                                  | a div, or a div-o  |

    A callee who refuses such calls is heard as for any call. Who calls is not asked for here: whose
    number it is, and whether it may be shown, is what the received token was verified for.

    Args:
        pooled, marketing: as of signer.decide.
    """
    if not facts.available or not facts.current:
        return Unproven("the registry cannot be asked, or may lag behind")
    access, holding = facts.access, forwarder.holding
    if access is None:
        return Unproven("the access is not known")
    if holding is None or holding.subject != access.subject:
        return Unproven(f"the number that forwards is not held by {access.subject}")
    stopped = _stopped(facts, forwarder)
    if stopped is None and pooling(facts) and pooled in (PooledSigning.REFUSE, PooledSigning.LOWER):
        stopped = refuse(Reason.POOLED_DISPLAY, facts.finding.sentence if facts.finding else "")
    if stopped is None and facts.capped:
        stopped = refuse(Reason.CALLS_CAPPED, facts.finding.sentence if facts.finding else "")
    if stopped is not None:
        return Unproven(stopped.detail) if facts.to_emergency else stopped
    unfit = _unfit(request, forwarder, proof)
    if unfit is not None:
        return unfit
    if not proof.earlier.isdisjoint(request.dest.identities):
        return refuse(Reason.DIVERSION_LOOP, "it diverts to who diverted it before")
    if request.orig in request.dest:  # who is called by its own number may let it in unasked
        return refuse(Reason.DIVERSION_LOOP, "it diverts to who calls")
    decision = Decision(
        None, Reason.DIVERTED, Reason.DIVERTED.text, None,
        facts.finding if pooled is not PooledSigning.OFF else None,
        to_emergency=facts.to_emergency,
        diverting=forwarder.number,
    )  # fmt: skip
    return decision if facts.to_emergency else heard(decision, facts, marketing)


def _stopped(facts: Facts, forwarder: Forwarder) -> Decision | None:
    """The refusal of what is stopped: the display, the access, or who forwards."""
    if forwarder.order is not None:
        return refuse(Reason.ORDERED, order_text(forwarder.order))
    stopped = closed(facts)
    if stopped is not None:
        return stopped
    if forwarder.holder.closed_by is not None:
        return refuse(Reason.RESELLER_SUSPENDED, forwarder.holder.closed_by)
    holding = forwarder.holding
    if holding is not None and holding.verification is not Verification.VERIFIED:
        return refuse(
            Reason.HOLDING_UNVERIFIED,
            f"subject {holding.subject}: verification {holding.verification.value}",
        )
    return None


def _unfit(request: SigningRequest, forwarder: Forwarder, proof: Proof) -> Unproven | None:
    """What of this call no div can be about."""
    forwarded = request.forwarded
    if not forwarder.entitled:
        return Unproven("the certificate in use does not speak for the number that forwards")
    if forwarder.privacy:
        return Unproven("a privacy number forwards nothing")
    if len(request.dest.identities) != 1:
        return Unproven("a call is diverted to one destination, and several are named")
    if forwarder.number in request.dest:
        return Unproven("its destination is the number that forwards: nothing is diverted")
    if proof.headers >= MAX_HEADERS:
        return Unproven(f"it has {MAX_HEADERS} Identity headers, and may have no more")
    if forwarded is not None and forwarded.ppt == "div-o" and proof.last_ppt == "div":
        return Unproven("a div-o holds one token, and the div received needs another beside it")
    return None


def extension_of(request: SigningRequest, forwarder: Forwarder, proof: Proof) -> Div | Unproven:
    """The claims of the div or div-o that is to be signed."""
    forwarded = request.forwarded
    hi = forwarded.hi if forwarded is not None else None
    if forwarded is None or forwarded.ppt != "div-o":
        return Div(forwarder.number, hi)
    if len(proof.last) * 4 // 3 + _AROUND > MAX_HEADER_LENGTH:
        return Unproven("the token received is too large to be held in another")
    return DivO(forwarder.number, hi, opt=proof.last)
