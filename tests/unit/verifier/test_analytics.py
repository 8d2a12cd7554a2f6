"""Conduct on the terminating side: what a token counts for, and what a pool leads to."""

from __future__ import annotations

import msgspec
import pytest
from found import Found, finding
from simulator import NOW, Carrier
from verification import DEST, ORIG, Case, Knows, forged, replayed

from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import KeyKind, Measure, State
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.model import Binding, BindingModel, Exemption, Holding, Use
from zhenxian.verifier.analytics import ConductPolicy, PooledVerifying, keys
from zhenxian.verifier.verdict import Check, Label

FAIL, LABEL, OFF = PooledVerifying
PLATFORM = Holding(numbers=TNRange(TN(ORIG), TN(ORIG)), subject="platform", use=Use.PRIVACY)


def signer(case, state=State.POOLED):
    return finding(KeyKind.SIGNER, f"1234/{case.call().passport.extension.origid}", state)


def carrier(state=State.POOLED):
    return finding(KeyKind.SPC, "1234", state, measure=Measure.ORIGIDS)


CALLER = TN("12155550001")


def bound(until=NOW + 60, model=BindingModel.AXB, a=CALLER, b=DEST):
    callee = None if b is None else TN(b)
    return Binding(
        id="b", platform="platform", model=model, x=TN(ORIG), a=a, since=1, b=callee, until=until
    )


def test_a_verified_call_counts_for_its_signer_and_its_carrier(case):
    case.ask()
    (told,) = case.conduct.observed
    origid = case.call().passport.extension.origid
    assert [str(key) for key in told.keys] == [f"signer:1234/{origid}", "spc:1234"]
    assert (told.at, told.display, told.callee) == (NOW, ORIG, DEST)
    assert (told.origid, told.bound) == (origid, False)
    assert {type(key.id) for key in told.keys} == {str}  # what a file can be written from


def test_keys_are_plain_text_which_can_be_saved(case):
    case.ask()
    (told,) = case.conduct.observed
    assert [type(key.id) for key in told.keys] == [str, str]
    assert msgspec.msgpack.encode(told.keys)


def test_a_token_that_is_not_genuine_or_not_new_counts_for_nobody(case):
    case.ask(case.request(forged(case.call(), iat=NOW - 1)))
    assert case.conduct.observed == []
    again = Case()
    replayed(again)
    again.ask()
    assert again.conduct.observed == []


def test_what_fails_for_conduct_counts_on(case):
    case.conduct = Found(signer(case))
    case.replay = Knows(first_seen=True)
    for _ in range(3):
        assert case.ask().failed is Check.CONDUCT
    assert len(case.conduct.observed) == 3


@pytest.mark.parametrize(
    ("policy", "found", "reason", "told"),
    [
        (ConductPolicy(), "signer", Reason.DISPLAY_POOLED, True),
        (ConductPolicy(), "carrier", Reason.VERIFIED, True),
        (ConductPolicy(carriers=FAIL), "carrier", Reason.DISPLAY_POOLED, True),
        (ConductPolicy(carriers=OFF), "carrier", Reason.VERIFIED, False),
        (ConductPolicy(signers=LABEL), "signer", Reason.VERIFIED, True),
        (ConductPolicy(signers=OFF), "signer", Reason.VERIFIED, False),
        (ConductPolicy(), "suspicion", Reason.VERIFIED, True),
    ],
)
def test_what_a_finding_leads_to_is_policy(case, policy, found, reason, told):
    findings = {
        "signer": signer(case),
        "carrier": carrier(),
        "suspicion": signer(case, State.SUSPECTED),
    }
    case.conduct, case.conduct_policy = Found(findings[found]), policy
    verdict = case.ask()
    assert verdict.reason is reason
    assert verdict.decisive.finding == (findings[found] if told else None)
    label = Label.DISPLAY_SUSPECTED if found == "suspicion" else Label.DISPLAY_POOLED
    labelled = told and verdict.verstat is Verstat.PASSED
    assert verdict.labels == ((label,) if labelled else ())


def test_the_finding_that_leads_to_more_is_told(case):
    case.conduct = Found(signer(case, State.SUSPECTED), carrier())
    assert case.ask().decisive.finding.key.kind is KeyKind.SPC
    case = Case()
    case.conduct = Found(signer(case), carrier())
    verdict = case.ask()
    assert verdict.decisive.finding.key.kind is KeyKind.SIGNER
    assert (verdict.verstat, verdict.sip) == (Verstat.FAILED, SipStatus.REJECTED)
    assert "displays 80 (at least 40)" in verdict.detail


def test_a_finding_ends_when_its_time_does(case):
    case.conduct = Found(finding(KeyKind.SIGNER, signer(case).key.id, until=NOW))
    assert case.ask().verstat is Verstat.PASSED


@pytest.mark.parametrize(
    ("kind", "until", "left"),
    [
        (KeyKind.SIGNER, NOW + 1, Verstat.PASSED),
        (KeyKind.SIGNER, NOW, Verstat.FAILED),
        (KeyKind.SPC, NOW + 1, Verstat.FAILED),
    ],
)
def test_who_is_exempt_is_left_alone(case, kind, until, left):
    found = signer(case)
    target = found.key.id if kind is KeyKind.SIGNER else "1234"
    case.registry.add(
        Exemption(
            id="e", kind=kind, target=target, reason="ambulance dispatch", since=1, until=until
        )
    )
    case.conduct = Found(found)
    verdict = case.ask()
    assert verdict.verstat is left
    assert verdict.labels == ()


@pytest.mark.parametrize(("beside", "left"), [((), Verstat.PASSED), (Measure.RATE, Verstat.FAILED)])
def test_an_exemption_from_one_measure_is_none_from_another(case, beside, left):
    found = msgspec.structs.replace(signer(case), beside=(beside,) if beside else ())
    measures = (Measure.SPREAD,)
    case.registry.add(
        Exemption(
            id="e",
            kind=KeyKind.SIGNER,
            target=found.key.id,
            reason="dispatch",
            since=1,
            until=NOW + 1,
            measures=measures,
        )
    )
    case.conduct = Found(found)
    assert case.ask().verstat is left


def test_a_privacy_number_is_judged_by_its_binding(case):
    case.registry.add(PLATFORM)
    case.registry.add(bound())
    case.conduct = Found(signer(case))
    assert case.ask().verstat is Verstat.PASSED
    (told,) = case.conduct.observed
    assert (told.bound, told.hidden_caller) == (True, CALLER)
    assert str(told.keys[-1]) == f"agent:platform/{CALLER}"


@pytest.mark.parametrize("of", [KeyKind.AGENT, KeyKind.SIGNER])
def test_a_privacy_number_fails_for_how_bindings_are_used(case, of):
    case.registry.add(PLATFORM)
    case.registry.add(bound())
    name = f"platform/{CALLER}" if of is KeyKind.AGENT else signer(case).key.id
    case.conduct = Found(finding(of, name, measure=Measure.BINDINGS))
    assert case.ask().reason is Reason.DISPLAY_POOLED
    case.registry.add(
        Exemption(
            id="e", kind=KeyKind.SUBJECT, target="platform", reason="why", since=1, until=NOW + 60
        )
    )
    spared = of is KeyKind.AGENT
    verdict = case.ask(case.request(call_id="again"))
    assert (verdict.reason is not Reason.DISPLAY_POOLED) == spared


def test_a_binding_of_who_held_the_number_before_permits_nothing(case):
    case.registry.add(
        Holding(numbers=TNRange(TN(ORIG), TN(ORIG)), subject="another", use=Use.PRIVACY)
    )
    case.registry.add(bound())
    case.conduct = Found(signer(case))
    assert case.ask().reason is Reason.DISPLAY_POOLED


def test_who_calls_by_a_number_lent_for_all_callees_is_known_and_whoever_calls_there_is_not(case):
    case.registry.add(PLATFORM)
    case.registry.add(bound(model=BindingModel.AX, b=None))
    case.ask()
    assert case.conduct.observed[0].hidden_caller == CALLER
    inward = bound(model=BindingModel.AX, b=None, a=TN(DEST))
    assert inward.caller(TN(ORIG), TN(DEST)) is None
    assert inward.shows(TN(ORIG), TN(DEST))


def test_nobody_answers_for_another_who_shares_the_number_by_an_extension(case):
    case.registry.add(PLATFORM)
    for name, a, extension in (("b1", CALLER, "7"), ("b2", TN("12155550003"), "8")):
        shared = bound(model=BindingModel.AXE, a=a, b=None)
        case.registry.add(msgspec.structs.replace(shared, id=name, extension=extension))
    case.conduct = Found(finding(KeyKind.AGENT, f"platform/{CALLER}", measure=Measure.BINDINGS))
    assert case.ask().verstat is Verstat.PASSED
    (told,) = case.conduct.observed
    assert (told.bound, told.hidden_caller) == (True, None)
    assert KeyKind.AGENT not in {key.kind for key in told.keys}


@pytest.mark.parametrize("measure", [Measure.ORIGIDS, Measure.SPREAD])
def test_an_spc_fails_when_its_origids_say_nothing_and_its_calls_are_a_pool(case, measure):
    case.conduct = Found(finding(KeyKind.SPC, "1234", measure=measure))
    assert case.ask().verstat is Verstat.PASSED
    case = Case()
    case.conduct = Found(
        finding(KeyKind.SPC, "1234", measure=Measure.ORIGIDS, beside=(Measure.SPREAD,))
    )
    assert case.ask().reason is Reason.DISPLAY_POOLED


@pytest.mark.parametrize("binding", [None, bound(until=NOW)])
def test_one_without_a_live_binding_is_judged_as_any_other(case, binding):
    case.registry.add(PLATFORM)
    if binding is not None:
        case.registry.add(binding)
    case.conduct = Found(signer(case))
    assert case.ask().reason is Reason.DISPLAY_POOLED
    assert not case.conduct.observed[0].bound


DECOY = "12155550002"


def decoyed(case):
    """A token that names somebody before the callee."""
    return case.request(case.call(ORIG, DECOY, DEST).signed(), call_id="a")


def test_a_call_counts_for_whom_it_is_for_whoever_else_the_token_names(case):
    case.to = (TN(DEST),)
    case.ask(decoyed(case))
    assert case.conduct.observed[0].callee == DEST


def test_a_binding_for_somebody_else_whom_the_token_names_permits_nothing(case):
    case.to = (TN(DEST),)
    case.registry.add(PLATFORM)
    case.registry.add(msgspec.structs.replace(bound(), b=TN(DECOY)))
    case.conduct = Found(signer(case))
    assert case.ask(decoyed(case)).reason is Reason.DISPLAY_POOLED
    assert not case.conduct.observed[0].bound


def told(case, *requests):
    """What asking tells a Detector of its own."""
    conduct = Detector()
    for request in requests:
        case.ask(request)
    for observation in case.conduct.observed:
        conduct.observe(observation)
    (key, _) = case.conduct.observed[0].keys
    return conduct.picture(key, NOW).calls


def test_a_call_that_is_asked_about_again_counts_once(case):
    case.conduct = Found(signer(case))
    request = case.request(call_id="a")
    assert told(case, request, request, request) == 1
    assert told(case, case.request(call_id="b")) == 2


def test_a_token_that_is_twice_in_a_call_counts_once(case):
    text = case.call().signed()
    assert told(case, case.request(text, text, call_id="a")) == 1


def test_a_delegates_calls_count_for_its_certificate(case):
    case.carrier = case.carrier.delegate(TN(ORIG))
    case.ask()
    serial = case.carrier.certificate.leaf.serial_number
    told = [str(key) for key in case.conduct.observed[0].keys]
    assert told[1] == f"spc:certificate {serial:X}"


def test_a_delegate_that_makes_itself_a_certificate_for_each_call_stays_one(case):
    authority = case.carrier.delegating_authority(TNRange(TN(ORIG), TN("12155550109")))
    serials = set()
    for number in range(3):
        case.carrier = Carrier(case.world, "", f"made {number}", authority, (TN(ORIG),))
        assert case.ask().verstat is Verstat.PASSED
        serials.add(case.carrier.certificate.leaf.serial_number)
    assert len(serials) == 3
    ca = case.carrier.chain.certificates[1]
    told = {str(observation.keys[1]) for observation in case.conduct.observed}
    assert told == {f"spc:certificate {ca.serial_number:X}"}


def test_a_token_without_origid_counts_for_nobody():
    class Baseline:
        passport = type("P", (), {"extension": None})

    assert keys(Baseline()) == ()
