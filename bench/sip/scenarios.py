"""Calls from a caller to a callee through both proxies, and what each end has to see.

One table for the demonstration and the tests, the same for each way of asking the service.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from bench.sip.messages import Message
from bench.sip.middle import Change
from bench.sip.phones import CALLEE_NUMBER, Call, Outcome
from bench.sip.stage import Line, Stage
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import b64url_decode, b64url_encode
from zhenxian.simulation.demo import BANK, BANNED, COURIER, NORTH, SHOP, SOUTH

PASSED: Final = "TN-Validation-Passed"
FAILED: Final = "TN-Validation-Failed"
NONE: Final = "No-TN-Validation"
_SMUGGLED: Final = "A; by nobody known here"
_SAID_VERIFIED: Final = (
    "p-attestation-indicator", "p-origination-id", "p-signer-spc", "attestation-info",
    "origination-id",
)  # fmt: skip
_STRANGE: Final = "8675511112222"  # nobody is known to hold it
_LARGE: Final = 13_000  # octets of a body that a datagram should not carry


class Expected(Struct, frozen=True, kw_only=True):
    """What has to come of a call.

    Attributes:
        final: the caller's final answer.
        verstat: in the callee's P-Asserted-Identity; None where the number is not shown, or the
            call does not arrive.
        number: the number there, with +; where it is shown.
        identities: Identity header fields that reach the callee.
        attest: of the first of them.
        cause: of the Reason header field in the caller's answers, 0 for none.
        call_info: whether the final answer has Call-Info.
        same_from: whether nobody altered From, so that the answer has the caller's own.
    """

    final: int = 200
    verstat: str | None = PASSED
    number: str = f"+{BANK}"
    identities: int = 1
    attest: str | None = None
    cause: int = 0
    call_info: bool = False
    same_from: bool = True


class Scenario(Struct, frozen=True, kw_only=True):
    """A call, what the middle makes of it, and what has to come of it."""

    call: Call
    expected: Expected
    title: str
    change: Change | None = None
    delay: float = 0.0


def _number(number: str, host: str = "a.example") -> str:
    return f"<sip:{number}@{host}>"


def _attested(message: Message) -> Message:
    """With what says that somebody verified the call, as if he were the callee's carrier."""
    for name in _SAID_VERIFIED:
        message = message.having(name, _SMUGGLED)
    return message


def _forged(identity: str) -> str:
    """Another number in the payload, the signature left as it is."""
    token = parse_identity_header(identity).token
    payload = b64url_decode(token.payload, "payload").replace(SHOP.encode(), BANK.encode())
    return identity.replace(token.payload.decode(), b64url_encode(payload).decode())


def _identity(how: Callable[[str], tuple[str, ...]]) -> Change:
    """Change the Identity header field: its value to those it becomes."""

    def change(message: Message) -> Message:
        return message.having("Identity", *how(message.one("identity") or ""))

    return change


def _from(number: str) -> Change:
    def change(message: Message) -> Message:
        old = re.search(r"sip:([^@;]+)", message.one("from") or "")
        return message.replaced("from", old[1] if old else "", number)

    return change


def _elsewhere(
    stage: Stage, spc: str, number: str, *, iat: int = 0, wrong_key: bool = False
) -> Change:
    """A call of another carrier's customer, signed there."""

    def change(message: Message) -> Message:
        key = stage.key(BANNED) if wrong_key else None
        token = stage.token(spc, number, iat=int(time.time()) + iat, key=key)
        return _from(f"+{number}")(message).having("Identity", token)

    return change


def scenarios(stage: Stage | None) -> Iterator[Scenario]:
    """Those that need nothing but the calls themselves; each call has a name of its own."""
    yield from _signed()
    yield from _refused()
    yield from _altered(stage)
    yield from _foreign(stage)
    yield from _forwarded(stage)
    yield from _unusual()


def _plain(name: str, title: str, expected: Expected, **call: object) -> Scenario:
    return Scenario(call=Call(name=name, **call), expected=expected, title=title)  # type: ignore[arg-type]


def _signed() -> Iterator[Scenario]:
    good = Expected(attest="A")
    yield _plain("genuine", "a bank calls from its own number", good)
    yield _plain("digits", "the same, without +", good, from_=_number(BANK))
    yield _plain(
        "name", "a display name with quotation marks and a comma", good,
        from_=f'"Bank, \\"Head\\" Office" {_number("+" + BANK)}',
    )  # fmt: skip
    yield _plain("utf8", "a Chinese display name", good, from_=f'"银行" {_number("+" + BANK)}')
    yield _plain("tel", "a tel URI", good, from_=f"<tel:+{BANK}>")
    yield _plain("separators", "a tel URI with separators", good, from_="<tel:+86-755-8888-0001>")
    yield _plain("national", "a national number", good, from_=_number("075588880001"))
    yield _plain(
        "double-zero", "a number that begins with 00", good, from_=_number("008675588880001")
    )
    yield _plain(
        "portability", "parameters of number portability in the user part", good,
        from_=f"<sip:+{BANK};npdi;rn=+8675500000000@a.example;user=phone>",
    )  # fmt: skip
    yield _plain(
        "asserted", "From says nothing, the trunk's P-Asserted-Identity is the number", good,
        from_="<sip:pbx@a.example>", fields=(f"P-Asserted-Identity: <sip:+{BANK}@a.example>",),
    )  # fmt: skip
    yield _plain(
        "anonymous", "anonymous with Privacy: the number reaches the callee in the token alone",
        Expected(verstat=None, attest="A"),
        from_='"Anonymous" <sip:anonymous@anonymous.invalid>',
        fields=(f"P-Asserted-Identity: <sip:+{BANK}@a.example>", "Privacy: id"),
    )  # fmt: skip
    yield _plain(
        "withheld", "the same with the number in From", Expected(verstat=None, attest="A"),
        fields=(f"P-Asserted-Identity: <sip:+{BANK}@a.example>", "Privacy: id"),
    )  # fmt: skip
    yield _plain("short-called", "a short code is called", good, to="<sip:95001@b.example>")
    yield _plain(
        "unknown-number", "a call centre shows a number nobody is known to hold",
        Expected(number=f"+{_STRANGE}", attest="B"),
        from_=_number("+" + _STRANGE), access="call-centre-trunk",
    )  # fmt: skip
    yield _plain(
        "unknown-access", "gateway traffic: nobody knows the access",
        Expected(number=f"+{_STRANGE}", attest="C"), from_=_number("+" + _STRANGE), access="",
    )  # fmt: skip
    yield _plain("long-call-id", "a Call-ID of more than 300 characters", good, padding=300)
    yield _plain("again", "a re-INVITE in the dialog", good, again=True)
    yield _plain("large", "an INVITE of 13 kB over TCP", good, transport="tcp", body="a" * _LARGE)


def _refused() -> Iterator[Scenario]:
    no = Expected(final=403, verstat=None, identities=0)
    for name, title, shown in (
        ("spoofed", "a call centre shows the bank's number", _number("+" + BANK)),
        ("spoofed-uri", "the same as a plain SIP URI", f"<sip:{BANK};x=1@a.example>"),
        ("spoofed-national", "the same in national form", _number("075588880001")),
        ("hotline", "somebody calls as the bank's hotline", _number("95001")),
        ("carrier", "somebody calls as a carrier's service number", _number("10086")),
        ("police", "somebody calls as the police", _number("110")),
    ):
        yield _plain(name, title, no, from_=shown, access="call-centre-trunk")
    yield _plain(
        "no-real-name", "an MVNO number without a real name behind it", no,
        from_=_number("+8617100001234"), access="mvno-trunk",
    )  # fmt: skip


def _altered(stage: Stage) -> Iterator[Scenario]:
    failed = Expected(verstat=FAILED, number=f"+{BANK}", cause=438)
    other = Expected(verstat=FAILED, number=f"+{BANK}", cause=438, same_from=False)
    shop = {"from_": _number("+" + SHOP), "access": "call-centre-trunk"}

    def hostile(
        name: str, title: str, expected: Expected, change: Change, **call: object
    ) -> Scenario:
        made = Call(name=name, **call)  # type: ignore[arg-type]
        return Scenario(call=made, expected=expected, title=title, change=change)

    yield hostile("altered-from", "From is altered on the way", other, _from(f"+{BANK}"), **shop)
    yield hostile(
        "altered-token", "From and the token are altered", other,
        lambda m: _identity(lambda i: (_forged(i),))(_from(f"+{BANK}")(m)), **shop,
    )  # fmt: skip
    yield hostile(
        "altered-to", "To is altered on the way", failed,
        lambda m: m.replaced("to", "8613800138000", "8613800138999"),
    )  # fmt: skip
    yield hostile(
        "stripped", "Identity is stripped", Expected(verstat=NONE, identities=0),
        lambda m: m.without("identity"),
    )  # fmt: skip
    yield hostile(
        "smuggled", "Identity is stripped, and a verstat put in its place",
        Expected(verstat=NONE, identities=0),
        lambda m: _attested(m.without("identity")).having(
            "P-Asserted-Identity", f"<tel:+{BANK};verstat={PASSED}>"
        ),
    )  # fmt: skip
    yield hostile(
        "attested", "another attestation is put beside a good token", Expected(), _attested,
    )  # fmt: skip
    yield hostile(
        "swapped", "the token of another call", failed,
        _identity(lambda _: (stage.token(SOUTH, COURIER),)),
    )  # fmt: skip
    yield hostile(
        "garbage", "an Identity that is none", Expected(verstat=NONE, cause=438),
        _identity(lambda _: ("garbage;info=<https://x.example/c.pem>;alg=ES256",)),
    )  # fmt: skip
    yield hostile(
        "unreachable", "the token's certificate host is not there",
        Expected(verstat=NONE, cause=436),
        _identity(lambda i: (_elsewhere_info(i),)),
    )  # fmt: skip
    two = Expected(identities=2)
    yield hostile(
        "broken-and-good", "a broken Identity beside a good one", two,
        _identity(lambda i: ("garbage;info=<https://x.example/c.pem>;alg=ES256", i)),
    )  # fmt: skip
    yield hostile(
        "good-and-unentitled", "a good one beside one of a carrier without the number", two,
        _identity(lambda i: (i, stage.token(SOUTH, BANK))),
    )  # fmt: skip
    yield hostile(
        "joined", "two in one field, with a comma", Expected(),
        _identity(lambda i: (f"{i}, {stage.token(SOUTH, BANK)}",)),
    )  # fmt: skip
    yield hostile(
        "short-form", "Identity in its short form", Expected(),
        lambda m: Message(
            m.first, tuple(("y" if k.lower() == "identity" else k, v) for k, v in m.fields), m.body
        ),
    )  # fmt: skip
    yield hostile(
        "folded", "a folded Identity", Expected(), _identity(lambda i: (i.replace(";", "\r\n ;"),))
    )
    yield hostile(
        "old-date", "a fresh token beside an old Date", Expected(),
        lambda m: m.having("Date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    )  # fmt: skip
    yield Scenario(
        call=Call(name="delayed"), title="held up for two seconds on the way", expected=Expected(),
        delay=2.0,
    )  # fmt: skip


def _elsewhere_info(identity: str) -> str:
    """The token for a place where nobody listens."""
    return (
        identity.partition(";info=")[0] + ";info=<https://127.0.0.1:1/c.pem>;alg=ES256;ppt=shaken"
    )


def _foreign(stage: Stage) -> Iterator[Scenario]:
    for name, title, expected, change in (
        (
            "courier", "a courier's call, signed by its carrier",
            Expected(number=f"+{COURIER}", attest="A", same_from=False),
            _elsewhere(stage, SOUTH, COURIER),
        ),
        (
            "unentitled", "another carrier signs for the bank's number",
            Expected(verstat=FAILED, cause=437), _elsewhere(stage, SOUTH, BANK),
        ),
        (
            "revoked", "a carrier whose certificate was revoked",
            Expected(verstat=FAILED, cause=437, number=f"+{_STRANGE}", same_from=False),
            _elsewhere(stage, BANNED, _STRANGE),
        ),
        (
            "wrong-key", "signed with a key that is not the certificate's",
            Expected(verstat=FAILED, cause=438, number=f"+{COURIER}", same_from=False),
            _elsewhere(stage, SOUTH, COURIER, wrong_key=True),
        ),
        (
            "stale", "a token ten minutes old",
            Expected(verstat=NONE, cause=403, number=f"+{COURIER}", same_from=False),
            _elsewhere(stage, SOUTH, COURIER, iat=-600),
        ),
    ):  # fmt: skip
        yield Scenario(
            call=Call(name=f"foreign-{name}"), title=title, expected=expected, change=change
        )


def _forwarded(stage: Stage | None) -> Iterator[Scenario]:
    """A call centre forwards a call that the bank made to it, and shows the bank."""

    def token(number: str = BANK, callee: str = SHOP, iat: int = 0) -> str:
        if stage is None:
            return ""
        return stage.token(NORTH, number, callee=callee, iat=int(time.time()) + iat)

    diversion = f"Diversion: <sip:+{SHOP}@a.example>;reason=unconditional"
    call = {
        "to": _number("+" + SHOP, "b.example"), "uri": f"sip:{CALLEE_NUMBER}@b.example",
        "access": "call-centre-trunk",
    }  # fmt: skip
    good = Expected(identities=2)
    no = Expected(final=403, verstat=None, identities=0)
    for name, title, expected, fields in (
        ("forwarded", "forwarded with the token it came with", good,
         (f"Identity: {token()}", diversion)),
        ("forwarded-plain", "the same without Diversion", good, (f"Identity: {token()}",)),
        ("robot", "a robot adds Diversion to a call of its own", no, (diversion,)),
        ("robot-other", "a robot shows another number than the token", no,
         (f"Identity: {token(COURIER)}", diversion)),
        ("robot-callee", "a robot forwards a call that was not for it", no,
         (f"Identity: {token(callee='8613800138999')}", diversion)),
        ("robot-old", "a robot kept the token for ten minutes", no,
         (f"Identity: {token(iat=-600)}", diversion)),
    ):  # fmt: skip
        yield _plain(name, title, expected, fields=fields, **call)


def _unusual() -> Iterator[Scenario]:
    yield _plain("busy", "the callee is busy", Expected(final=486, verstat=None, identities=0))
    yield _plain(
        "emergency", "an emergency call: nobody is asked, nothing is held up",
        Expected(verstat=NONE, identities=0), to="<sip:110@b.example>",
    )  # fmt: skip
    yield _plain(
        "sos", "urn:service:sos", Expected(verstat=NONE, identities=0),
        to="<urn:service:sos>", uri="urn:service:sos",
    )  # fmt: skip
    yield _plain(
        "help-by-to", "To calls for help, and the call with another's number goes to a subscriber",
        Expected(verstat=NONE, identities=0, number=f"+{COURIER}"), from_=_number(f"+{COURIER}"),
        to="<sip:110@b.example>", uri="sip:+8613800138000@b.example",
    )  # fmt: skip
    yield _plain(
        "own-identity", "a subscriber sends an Identity of its own: it is not passed on",
        Expected(attest="A"), fields=("Identity: eyJ0;info=<https://x.example/c.pem>;alg=ES256",),
    )  # fmt: skip
    yield _plain(
        "own-verstat", "a subscriber says that its number was verified", Expected(attest="A"),
        fields=(f"P-Asserted-Identity: <sip:+{BANK};verstat={PASSED}@a.example>",),
    )  # fmt: skip


def run(line: Line, wanted: list[Scenario]) -> dict[str, tuple[Outcome, list[Message]]]:
    """Make the calls, several at a time: what the caller got, and the INVITEs the callee got."""
    for one in wanted:
        if one.change is not None or one.delay:
            line.middle.change(one.call.name, one.change or (lambda message: message), one.delay)
    outcomes = line.caller.calls(one.call for one in wanted)
    return {name: (outcome, line.callee.invites(name)) for name, outcome in outcomes.items()}


_PAI = re.compile(r"<tel:(\+?[0-9]+);verstat=([A-Za-z-]+)>\Z")


def faults(expected: Expected, outcome: Outcome, invites: list[Message]) -> list[str]:
    """What differs from what was expected, as sentences."""
    found = []

    def same(what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            found.append(f"{what}: {seen!r}, expected {wanted!r}")

    final = outcome.final
    same("final answer", final.status, expected.final)
    if expected.same_from:
        same("From of the answer", final.one("from"), outcome.sent and outcome.sent.one("from"))
    refused = expected.final == 403  # to a caller of ours: why, and whom to write to
    same("Call-Info", bool(final.all("call-info")), expected.call_info or refused)
    same("Reason", any("SIP;cause=403" in told for told in final.all("reason")), refused)
    causes = [int(c) for r in final.all("reason") for c in re.findall(r"STIR\s*;\s*cause=(\d+)", r)]
    same("cause", causes, [expected.cause] if expected.cause else [])
    arrives = expected.final in (200, 486)
    same("INVITEs at the callee", min(len(invites), 1), int(arrives))
    if not invites or expected.final != 200:
        return found
    invite = invites[0]
    asserted = invite.all("p-asserted-identity")
    if expected.verstat is None:
        same("P-Asserted-Identity", asserted, [])
    else:
        read = [m.groups() if (m := _PAI.match(value)) else value for value in asserted]
        same("P-Asserted-Identity", read, [(expected.number, expected.verstat)])
    tokens = invite.all("identity")
    same("Identity fields", len(tokens), expected.identities)
    if expected.attest is not None and tokens:
        payload = b64url_decode(parse_identity_header(tokens[0]).token.payload, "payload")
        read = re.search(rb'"attest":"([ABC])"', payload)
        same("attestation", read and read[1].decode(), expected.attest)
    if expected.verstat is None:
        shown = [name for name, value in invite.fields if BANK in value and name != "Identity"]
        same("fields that show the number", shown, [])
    left = sorted({name for name, _ in invite.fields if name.lower() == "x-access"})
    same("fields meant for the proxy alone", left, [])
    told = [value for name, value in invite.fields if name.lower() in _SAID_VERIFIED]
    same("a stranger's word that it is verified", _SMUGGLED in told, False)
    if expected.verstat != PASSED and expected.verstat is not None:
        same("fields that say it is verified", told, [])
    return found
