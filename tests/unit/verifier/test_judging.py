"""Replay and holder: only a genuine token is judged, and only it leaves a trace."""

from __future__ import annotations

import types

import pytest
from plain import PlainRegistry
from simulator import NOW
from verification import (
    DEST,
    IN_ORDER,
    ORDER,
    ORIG,
    Case,
    Gone,
    Knows,
    baseline,
    forged,
)

from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.passport.identity import IdentityHeader, parse_identity_header
from zhenxian.passport.jws import Token, b64url_decode, b64url_encode
from zhenxian.registry.model import Holding, Order, TargetKind
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.facts import Facts
from zhenxian.verifier.judge import JUDGE_CHECKS, judge
from zhenxian.verifier.replay import replay_key
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import SCREEN_CHECKS, ScreenPolicy
from zhenxian.verifier.token import TOKEN_CHECKS
from zhenxian.verifier.verdict import Check

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


# Side effects come last -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [f for f in IN_ORDER if ORDER.index(f.check) < ORDER.index(Check.REPLAY)]
)
def test_a_token_that_is_not_genuine_leaves_no_trace(fault):
    case = Case()
    fault.apply(case)
    case.replay = Knows(first_seen=True)
    case.registry = Gone()
    assert case.ask().reason is fault.reason
    assert case.replay.asked == []
    assert case.cache.kept == []


def test_a_genuine_token_leaves_one(case):
    case.replay = Knows(first_seen=True)
    text = case.call().signed()
    assert case.ask(case.request(text, call_id="call-1")).verstat is Verstat.PASSED
    token = parse_identity_header(text).token
    key = replay_key(token, token.signature_octets)
    # kept while it is fresh, its last second included
    ((sighting, now),) = case.replay.asked
    assert (sighting.key, sighting.until, now) == (key, NOW + 60 + 1, NOW)
    assert sighting.question.call == (b"proxy", b"call-1")
    assert len(key) == 16
    assert case.cache.kept == [case.carrier.x5u]


def test_how_long_a_token_is_remembered_follows_its_iat_and_the_window(case):
    case.replay = Knows(first_seen=True)
    case.policy = ScreenPolicy(iat_window=300)
    case.iat = NOW - 200
    case.ask(now=NOW)
    ((sighting, now),) = case.replay.asked
    assert (sighting.question.call, sighting.until) == (None, NOW - 200 + 300 + 1)
    assert now == NOW


# Replay -----------------------------------------------------------------------------------------


def test_the_same_call_may_be_asked_about_again_another_may_not(case):
    text = case.call().signed()
    assert case.ask(case.request(text, call_id="a")).verstat is Verstat.PASSED
    assert case.ask(case.request(text, call_id="a")).verstat is Verstat.PASSED
    assert case.ask(case.request(text, call_id="b")).reason is Reason.REPLAYED
    assert case.ask(case.request(text)).reason is Reason.REPLAYED


def test_a_call_id_that_somebody_else_copied_is_a_replay(case):
    request = case.request(call_id="a")
    assert case.ask(request).verstat is Verstat.PASSED
    assert case.ask(request, asker=b"another").reason is Reason.REPLAYED
    assert case.ask(request).verstat is Verstat.PASSED


@pytest.mark.parametrize(("later", "reason"), [(1.9, Reason.VERIFIED), (2.0, Reason.REPLAYED)])
def test_a_call_may_be_asked_about_again_for_a_moment_only(case, later, reason):
    request = case.request(call_id="a")
    first = case.ask(request)
    assert first.decisive.notes == ()
    second = case.ask(request, now=NOW + int(later), at=NOW + later)
    assert second.reason is reason
    said = ("asked about again a moment after, with the same callId: no replay",)
    assert second.decisive.notes == (said if reason is Reason.VERIFIED else ())


def test_without_a_call_id_every_second_question_is_a_replay(case):
    request = case.request()
    assert case.ask(request).verstat is Verstat.PASSED
    for _ in range(2):
        verdict = case.ask(request)
        assert (verdict.failed, verdict.reason) == (Check.REPLAY, Reason.REPLAYED)


def test_until_it_is_stale_a_replay_is_found_in_every_second(case):
    text = case.call().signed()
    assert case.ask(case.request(text)).verstat is Verstat.PASSED
    for later in range(1, 62):
        case.time = NOW + later
        expected = Reason.REPLAYED if later <= 60 else Reason.IAT_STALE
        assert case.ask(case.request(text), now=NOW + later).reason is expected


def mirrored(header):
    """The other signature that verifies: (R, n - S)."""
    octets = b64url_decode(header.token.signature, "signature")
    s = (P256_ORDER - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    token = Token(header.token.header, header.token.payload, b64url_encode(octets[:32] + s))
    return IdentityHeader(token, header.info, header.alg, header.ppt, header.extra)


def test_a_mirrored_signature_verifies_and_is_still_a_replay(case):
    header = parse_identity_header(case.call().signed())
    twin = mirrored(header).dumps()
    assert twin != header.dumps()
    assert Case(case.world).ask(case.request(twin)).reason is not Reason.VERIFIED  # other carrier
    assert case.ask(case.request(header.dumps())).verstat is Verstat.PASSED
    assert case.ask(case.request(twin)).reason is Reason.REPLAYED


def test_the_mirrored_signature_alone_passes(case):
    twin = mirrored(parse_identity_header(case.call().signed())).dumps()
    assert case.ask(case.request(twin)).verstat is Verstat.PASSED


def test_the_spelling_of_parameters_does_not_make_another_token(case):
    text = case.call().signed()
    assert case.ask(case.request(text)).verstat is Verstat.PASSED
    for other in (text + ";x=1", text.replace("alg=ES256", "ALG = es256"), f" {text} "):
        assert case.ask(case.request(other)).reason is Reason.REPLAYED


def test_two_calls_of_one_second_are_two(case):
    for _ in range(2):
        assert case.ask(case.request(case.call().signed())).verstat is Verstat.PASSED


def test_full_and_compact_form_are_one_token(case):
    case.policy = ScreenPolicy(types=frozenset({None}))
    header = baseline(case)
    assert case.ask(case.request(header.dumps())).verstat is Verstat.PASSED
    assert case.ask(case.request(header.compacted().dumps())).reason is Reason.REPLAYED


def test_when_replay_is_not_known_nothing_passes(case):
    case.replay = Gone()
    verdict = case.ask()
    assert (verdict.verstat, verdict.reason) == (Verstat.NONE, Reason.REPLAY_UNKNOWN)
    assert verdict.failed is Check.REPLAY


# Holder -----------------------------------------------------------------------------------------


ORDERS = {
    "the signing code": (TargetKind.SPC, "1234"),
    "the number": (TargetKind.NUMBER, ORIG),
    "a range around it": (TargetKind.RANGE, f"{ORIG[:-2]}00-{ORIG[:-2]}99"),
    "its holder": (TargetKind.SUBJECT, "bank"),
    "a reseller before the holder": (TargetKind.RESELLER, "mvno"),
    "the certificate": (TargetKind.CERTIFICATE, None),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_fails_a_genuine_token(case, name):
    kind, target = ORDERS[name]
    if target is None:
        target = f"{case.carrier.certificate.leaf.serial_number:X}"
    numbers = TNRange(TN(ORIG), TN(ORIG))
    case.registry.add(Holding(numbers=numbers, subject="bank", reseller="mvno"))
    assert case.ask().verstat is Verstat.PASSED
    case.registry.add(
        Order(
            id="o1",
            issuer="regulator",
            reference="ref 9",
            kind=kind,
            target=target,
            since=NOW,
            number=1,
            token="token",
        )
    )
    case.replay = MemoryReplayStore()
    verdict = case.ask()
    assert (verdict.verstat, verdict.reason) == (Verstat.FAILED, Reason.ORDERED)
    assert "ref 9" in verdict.detail


def held(*spcs):
    return PlainRegistry([Holding(numbers=TNRange(TN(ORIG), TN(ORIG)), subject="bank", spcs=spcs)])


@pytest.mark.parametrize(
    ("spcs", "reason"),
    [
        ((), Reason.VERIFIED),  # not known where: the check has no effect
        (("1234",), Reason.VERIFIED),
        (("9", "1234"), Reason.VERIFIED),
        (("9",), Reason.SPC_NOT_HOLDER),
        (("12345", "123"), Reason.SPC_NOT_HOLDER),
    ],
)
def test_the_code_that_signed_is_one_of_the_holders(case, spcs, reason):
    case.registry = held(*spcs)
    verdict = case.ask()
    assert verdict.reason is reason
    if reason is Reason.SPC_NOT_HOLDER:
        assert verdict.failed is Check.HOLDER
        assert verdict.detail == f"signed by 1234; the number is held at {', '.join(spcs)}"


def test_another_numbers_holder_does_not_count(case):
    numbers = TNRange(TN(DEST), TN(DEST))
    case.registry = PlainRegistry([Holding(numbers=numbers, subject="bank", spcs=("9",))])
    assert case.ask().verstat is Verstat.PASSED


def test_a_delegate_has_no_code_to_compare(case):
    case.registry = held("9")
    case.carrier = case.carrier.delegate(TN(ORIG))
    assert case.ask().verstat is Verstat.PASSED


def test_an_unavailable_registry_leaves_the_holder_out(case):
    case.registry = Gone()
    assert case.ask().verstat is Verstat.PASSED
    request = case.request()
    case.ask(request)
    assert case.ask(request).reason is Reason.REPLAYED  # and only the holder


def test_a_caller_who_is_no_number_has_no_holder(case):
    case.policy = ScreenPolicy(types=frozenset({None}))
    case.registry.holding = None  # asking for it would raise
    caller = URI("sip:alice@example.com")
    request = VerificationRequest(caller, (TN(DEST),), NOW, (baseline(case, caller).dumps(),))
    assert case.ask(request).verstat is Verstat.PASSED


# The pure function ------------------------------------------------------------------------------


@pytest.mark.parametrize("spc", ["1234", "9", None])
@pytest.mark.parametrize("holders", [(), ("1234",), ("9", "7")])
@pytest.mark.parametrize("first_seen", [True, False, None])
def test_judging_is_a_function_of_token_and_facts(spc, holders, first_seen):
    token = types.SimpleNamespace(signer=types.SimpleNamespace(spc=spc))
    refusal = judge(token, Facts(first_seen, holders))
    if first_seen is None:
        expected = (Check.REPLAY, Reason.REPLAY_UNKNOWN)
    elif not first_seen:
        expected = (Check.REPLAY, Reason.REPLAYED)
    elif spc is not None and holders and spc not in holders:
        expected = (Check.HOLDER, Reason.SPC_NOT_HOLDER)
    else:
        assert refusal is None
        return
    assert (refusal.check, refusal.reason) == expected
    assert refusal.detail


def test_the_parts_of_the_procedure_make_up_the_whole():
    assert (
        *SCREEN_CHECKS,
        Check.CERTIFICATE,
        Check.CHAIN,
        *TOKEN_CHECKS,
        *JUDGE_CHECKS,
    ) == ORDER


def test_a_forged_twin_does_not_use_up_the_real_token(case):
    call = case.call()
    assert case.ask(case.request(forged(call, iat=NOW - 1))).reason is Reason.SIGNATURE_INVALID
    assert case.ask(case.request(call.signed())).verstat is Verstat.PASSED
