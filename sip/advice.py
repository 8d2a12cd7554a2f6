"""What becomes of a call: go on with some header fields, or be rejected with some.

One value for the redirect service, which writes it as a SIP response, and for the HTTP routes.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.calls.asserted import asserted
from zhenxian.calls.refusal import refusal
from zhenxian.core.header_fields import plain
from zhenxian.core.reading import MIN_DIGITS, Reading
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN
from zhenxian.signer.decide import Decision
from zhenxian.sip.chosen import Parties, may_be_for_help
from zhenxian.sip.message import COMPACT, SipRequest
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.verdict import Label, Verdict

ASSERTED: Final = "P-Asserted-Identity"
ATTESTATION: Final = "P-Attestation-Indicator"
ORIGINATION: Final = "P-Origination-ID"
SIGNER: Final = "P-Signer-SPC"  # ours: none is registered that says who signed
# What a verifier says; whoever else says it is not to be heard.
OURS: Final = (ASSERTED, ATTESTATION, ORIGINATION, SIGNER, "Attestation-Info", "Origination-Id")
# Of a withheld caller: what else names it (RFC 3323 section 5.1, RFC 3325 section 7).
_NAMING: Final = ("P-Preferred-Identity", "Remote-Party-ID", "Referred-By", "Reply-To")
_STRUCTURE: Final = frozenset(
    [
        "via",
        "route",
        "record-route",
        "call-id",
        "cseq",
        "from",
        "to",
        "contact",
        "identity",
        "content-length",
        "content-type",
        "max-forwards",
    ]
)
_NOBODY: Final = "sip:anonymous@anonymous.invalid"
_VERSTAT = re.compile(  # each letter perhaps escaped
    "(?:;|%3b)"
    + "".join(f"(?:{char}|%{ord(char):x}|%{ord(char) - 32:x})" for char in "verstat")
    + r"(?:(?:=|%3d)[^;@?>]*)?",
    re.IGNORECASE,
)


class Action(str, Enum):
    """What a proxy does with the call."""

    CONTINUE = "continue"
    REJECT = "reject"


class Advice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a proxy is told.

    Attributes:
        code, phrase: of the final answer to a call that is rejected.
        remove: names of header fields that go before `headers` are added.
        headers: whole lines without their ends: for the INVITE, or for the final answer.
        reason: the member of the table of reasons.
        text: it, as a sentence.
        orig: the canonical display, digits or a URI.
        replies: lines for the responses to a call that goes on (RFC 9410 section 4).
        spc, origid: of a token that passed: whose it is, and what it has.
    """

    action: Action
    reason: str
    text: str
    code: int = 0
    phrase: str = ""
    remove: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    attest: str | None = None
    verstat: str | None = None
    orig: str | None = None
    dest: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    spc: str | None = None
    origid: str | None = None

    @property
    def says_nothing(self) -> bool:
        """True for a call that goes on as it came."""
        return self.action is Action.CONTINUE and not self.headers


def go_on(reason: Reason, text: str = "", remove: tuple[str, ...] = ()) -> Advice:
    """The call goes on, and nothing is said of it."""
    return Advice(
        action=Action.CONTINUE, reason=reason.code, text=text or reason.text, remove=remove
    )


def signed(identity: str, decision: Decision, who: Parties, date: str | None) -> Advice:
    """A signed call: Identity, and Date where the request has none that is right."""
    headers = (f"Identity: {identity}",)
    return Advice(
        action=Action.CONTINUE,
        reason=decision.reason.code,
        text=decision.detail,
        remove=("Date",) if date is not None else (),
        headers=(*headers, f"Date: {date}") if date is not None else headers,
        attest=decision.attest.value if decision.attest is not None else None,
        orig=str(who.orig),
        dest=tuple(map(str, who.to)),
    )


def refused(decision: Decision, who: Parties, rejection: Rejection, *, as_608: bool) -> Advice:
    """A call that is not signed by policy."""
    found = refusal(decision, rejection, as_608=as_608)
    headers = [f"Reason: {found.reason}"]
    if found.retry_after is not None:
        headers.append(f"Retry-After: {found.retry_after}")
    if found.call_info is not None:
        headers.append(f"Call-Info: {found.call_info}")
    return Advice(
        action=Action.REJECT,
        reason=decision.reason.code,
        text=decision.detail,
        code=found.code,
        phrase=found.phrase,
        headers=tuple(headers),
        orig=str(who.orig),
        dest=tuple(map(str, who.to)),
    )


def judged(
    verdict: Verdict,
    request: SipRequest,
    who: Parties,
    rejection: Rejection,
    reading: Reading,
    *,
    reject_failed: bool,
) -> Advice:
    """A verified call: P-Asserted-Identity with verstat, or a rejection with its Reason.

    A call that goes on to an emergency service is never rejected.
    """
    told: dict[str, object] = {
        "reason": verdict.reason.code,
        "text": verdict.detail,
        "verstat": verdict.verstat.value,
        "attest": verdict.attest.value if verdict.attest is not None else None,
        "orig": str(who.orig),
        "dest": tuple(map(str, who.to)),
        "labels": tuple(label.value for label in verdict.labels),
    }
    status, contact = rejection.answer(verdict)
    beyond_stir = status is not SipStatus.OK and not status.stir
    failed = reject_failed and verdict.verstat is Verstat.FAILED
    helps = Label.EMERGENCY_CALL in verdict.labels
    if (beyond_stir or failed) and not (helps or may_be_for_help(who, reading)):
        lines = []
        if verdict.reason_header is not None:
            lines.append(f"Reason: {verdict.reason_header}")
        if contact is not None:
            lines.append(f"Call-Info: {contact}")
        return Advice(
            action=Action.REJECT,
            code=status.code,
            phrase=status.phrase,
            headers=tuple(lines),
            **told,  # type: ignore[arg-type]
        )
    if who.beside and verdict.verstat is Verstat.PASSED:
        # The token vouches for one number, and a phone may show the other as verified.
        found = unverified(request, who, Reason.TWO_DISPLAYS, reading)
        return replace(found, labels=tuple(label.value for label in verdict.labels))
    remove, headers = _passed_on(request, who, verdict.verstat, reading)
    spc, origid = _signer(verdict)
    return Advice(
        action=Action.CONTINUE,
        remove=remove,
        headers=(*headers, *_vouched(verdict, spc, origid)),
        replies=_why(verdict),
        spc=spc,
        origid=origid,
        **told,  # type: ignore[arg-type]
    )


def unverified(request: SipRequest, who: Parties, reason: Reason, reading: Reading) -> Advice:
    """A call that goes on without a verdict: nobody vouches for it, and nothing says so."""
    remove, headers = _passed_on(request, who, Verstat.NONE, reading)
    return Advice(
        action=Action.CONTINUE,
        reason=reason.code,
        text=reason.text,
        remove=remove,
        headers=headers,
        verstat=Verstat.NONE.value,
        orig=str(who.orig),
        dest=tuple(map(str, who.to)),
    )


def unread(request: SipRequest, reason: Reason, text: str) -> Advice:
    """A call that goes on though its caller or callee cannot be read: nobody is asserted."""
    sender = _unclaimed(request)
    found = go_on(reason, text, OURS if sender is None else (*OURS, "From"))
    return found if sender is None else replace(found, headers=(f"From: {sender}",))


def claimed(request: SipRequest) -> tuple[str, ...]:
    """What in an INVITE that is not asked about says that somebody verified it."""
    return tuple(
        name
        for name in OURS
        if any(
            name is not ASSERTED or "verstat" in unquote(plain(value)).lower()
            for value in request.all(name.lower())
        )
    )


def forged(request: SipRequest, advice: Advice) -> bool:
    """Whether From says that the caller was verified, and it was not.

    A redirection cannot take that out of the INVITE.
    """
    if advice.verstat == Verstat.PASSED.value:
        return False
    sender = request.from_
    told = f"{unquote(plain(sender.uri))};{sender.parameter('verstat') or ''}".lower()
    return Verstat.PASSED.value.lower() in told


def forgery(advice: Advice) -> Advice:
    """The rejection of such a call."""
    text = "From has a verstat that nobody here gave"
    return Advice(
        action=Action.REJECT,
        reason=advice.reason,
        text=text,
        code=403,
        phrase="Forbidden",
        headers=(f'Reason: SIP;cause=403;text="{text}"',),
        verstat=advice.verstat,
        orig=advice.orig,
        dest=advice.dest,
    )


def _passed_on(
    request: SipRequest, who: Parties, verstat: Verstat, reading: Reading
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What goes and what comes in its place, of all that says who calls."""
    removed, lines = _removed(request, who), []
    if not who.withheld:
        value = asserted(who.orig, verstat, reading)
        if value is not None:
            lines.append(f"{ASSERTED}: {value}")
    sender = _sender(request, who)
    if sender is not None:
        removed = (*removed, "From")
        lines.append(f"From: {sender}")
    return removed, tuple(lines)


def _why(verdict: Verdict) -> tuple[str, ...]:
    """Why a token that came did not pass; of a call without, nothing is said to its caller."""
    if verdict.reason_header is None or verdict.decisive is None:
        return ()
    return (f"Reason: {verdict.reason_header}",)


def _signer(verdict: Verdict) -> tuple[str | None, str | None]:
    """By whom a token that passed is, and its origid."""
    decisive = verdict.decisive
    if verdict.verstat is not Verstat.PASSED or decisive is None or decisive.passport is None:
        return None, None
    extension = decisive.passport.extension
    origid = extension.claims().get("origid") if extension is not None else None
    return decisive.spc, str(origid) if origid is not None else None


def _vouched(verdict: Verdict, spc: str | None, origid: str | None) -> tuple[str, ...]:
    """What a token that passed says: attestation, origid and whose it is."""
    lines = []
    if verdict.verstat is Verstat.PASSED and verdict.attest is not None:
        lines.append(f"{ATTESTATION}: {verdict.attest.value}")
    if origid is not None:
        lines.append(f"{ORIGINATION}: {origid}")
    if spc is not None:
        lines.append(f"{SIGNER}: {spc}")
    return tuple(lines)


def _removed(request: SipRequest, who: Parties) -> tuple[str, ...]:
    """What the request must not tell: what is for us to say, and of a withheld caller its name."""
    if not who.withheld:
        return OURS
    found = [*OURS, *_NAMING]
    if isinstance(who.orig, TN) and len(who.orig) >= MIN_DIGITS:
        known = {name.lower() for name in found} | _STRUCTURE
        for name, values in request.head.fields.items():
            if name not in known and any(_names(value, who.orig) for value in values):
                found.append(name.title())
    # Whoever removes them by name has them as they came.
    found += [COMPACT[name.lower()] for name in found if name.lower() in COMPACT]
    return tuple(found)


def _names(value: str, number: TN) -> bool:
    """Whether a value holds the number, with or without its country code and separators."""
    return number[-9:] in "".join(filter(str.isdigit, value))


def _sender(request: SipRequest, who: Parties) -> str | None:
    """What From must be in place of what it is; None for what may stay.

    A withheld caller is not named there, and a verstat that came with the call is nobody's word.
    """
    if who.withheld:
        if plain(request.from_.uri).lower() == _NOBODY:
            return None
        return _written('"Anonymous"', _NOBODY, request)
    return _unclaimed(request)


def _unclaimed(request: SipRequest) -> str | None:
    """From without the verstat that it came with; None where it came with none."""
    sender = request.from_
    uri = plain(sender.uri)
    bare = _VERSTAT.sub("", uri)
    if bare == uri and sender.parameter("verstat") is None:
        return None
    return _written(plain(sender.name), bare, request)


def _written(name: str, uri: str, request: SipRequest) -> str:
    tag = f";tag={request.from_tag}" if request.from_tag else ""
    return f"{name} <{uri}>{tag}".lstrip()
