"""Calls that no token vouches for: what the display alone leads to, and what it does not."""

from __future__ import annotations

import itertools

import phonenumbers
import pytest
from simulator import NOW
from verification import (
    DEST,
    FAULTS,
    ORIG,
    Case,
    Gone,
    Knows,
    baseline,
    forged,
    stale_date,
    unreachable,
)

from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.passport.claims import MAX_DESTINATIONS
from zhenxian.registry.model import Holding, Order, Reseller, TargetKind
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.unsigned import Action, UnsignedFacts, UnsignedPolicy, judge_unsigned, region
from zhenxian.verifier.verdict import Check, Label, Verdict

NONE, LABEL, FAIL = Action
HEALTH = frozenset({TN("9999999999"), TN("7777777777")})
JUNK = "nonsense;info=<https://x.example/>"
UNSIGNED = Verdict(Verstat.NONE, Reason.NO_IDENTITY, Reason.NO_IDENTITY.text)


def held(*spcs, subject="bank", reseller=""):
    return Holding(
        numbers=TNRange(TN(ORIG), TN(ORIG)), subject=subject, spcs=spcs, reseller=reseller
    )


def order(kind, target, since=NOW - 1):
    return Order(
        id="o1",
        issuer="regulator",
        reference="ref",
        kind=kind,
        target=target,
        since=since,
        number=1,
        token="token",
    )


def unsigned(orig=ORIG, *to):
    return VerificationRequest(TN(orig), tuple(map(TN, to)) or (TN(DEST),), NOW)


def told(verdict):
    return verdict.verstat, verdict.reason, verdict.sip, verdict.labels


AS_BEFORE = (Verstat.NONE, Reason.NO_IDENTITY, SipStatus.USE_IDENTITY, ())
LABELLED = (Verstat.NONE, Reason.NO_IDENTITY, SipStatus.USE_IDENTITY, (Label.UNSIGNED,))
FAILED = (Verstat.FAILED, Reason.SIGNATURE_MISSING, SipStatus.USE_IDENTITY, ())


# Precedence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("general", [None, *Action])
@pytest.mark.parametrize("own", [None, *Action])
def test_an_spc_goes_before_the_country_and_the_country_before_nothing(own, general):
    policy = UnsignedPolicy(
        {} if own is None else {"1234": own}, {} if general is None else {"US": general}
    )
    expected = own if own is not None else general if general is not None else NONE
    assert policy.action(("1234",), "US") is expected
    assert policy.action((), "US") is (general or NONE)
    assert policy.action(("1234",), None) is (own or NONE)
    assert policy.action(("9999",), "CN") is NONE


@pytest.mark.parametrize(("first", "second"), list(itertools.product(Action, Action)))
def test_of_several_codes_the_mildest_counts(first, second):
    policy = UnsignedPolicy({"1": first, "2": second}, {"US": FAIL})
    mildest = min(first, second, key=list(Action).index)
    assert policy.action(("1", "2"), "US") is mildest
    assert policy.action(("1", "3"), "US") is first  # the third follows its country
    assert policy.action(("1", "3"), None) is NONE


# Without Identity header ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "expected"), [(NONE, AS_BEFORE), (LABEL, LABELLED), (FAIL, FAILED)]
)
@pytest.mark.parametrize("by", ["spc", "country"])
def test_the_action_for_a_call_without_identity(case, action, expected, by):
    case.registry.add(held("1234"))
    case.unsigned = (
        UnsignedPolicy(spcs={"1234": action})
        if by == "spc"
        else UnsignedPolicy(countries={"US": action})
    )
    verdict = case.ask(unsigned())
    assert told(verdict) == expected
    assert (verdict.failed, verdict.results, verdict.decisive) == (Check.IDENTITY, (), None)
    assert verdict.reason_header == 'STIR;cause=428;text="Use Identity Header"'
    assert verdict.attest is None


def test_by_default_nothing_follows(case):
    case.registry.add(held("1234"))
    assert told(case.ask(unsigned())) == AS_BEFORE


def test_a_number_nobody_holds_follows_its_country(case):
    case.unsigned = UnsignedPolicy({"1234": FAIL}, {"US": FAIL})
    verdict = case.ask(unsigned())
    assert told(verdict) == FAILED
    assert verdict.detail == "not signed; the number is one of US"
    assert told(case.ask(unsigned("8613800138000"))) == AS_BEFORE


def test_the_sentence_names_the_codes(case):
    case.registry.add(held("1234", "5678"))
    case.unsigned = UnsignedPolicy({"1234": FAIL, "5678": FAIL})
    assert case.ask(unsigned()).detail == "not signed; the number is held at 1234, 5678"


def test_a_signed_call_is_not_concerned(case):
    case.registry.add(held("1234"))
    case.unsigned = UnsignedPolicy({"1234": FAIL}, {"US": FAIL})
    assert case.ask().verstat is Verstat.PASSED


def test_a_uri_is_no_number(case):
    case.unsigned = UnsignedPolicy(countries={"US": FAIL})
    request = VerificationRequest(URI("sip:a@b.example"), (TN(DEST),), NOW)
    assert told(case.ask(request)) == AS_BEFORE


# With a header that says nothing, or that could not be checked ----------------------------------


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("count", [1, 2, 99])
def test_a_header_that_is_no_token_is_no_way_around(case, action, count):
    case.registry.add(held("1234"))
    case.unsigned = UnsignedPolicy({"1234": action})
    verdict = case.ask(case.request(*[JUNK] * count))
    if action is FAIL:
        assert told(verdict) == FAILED
        assert (verdict.failed, verdict.decisive) == (Check.IDENTITY, None)
        assert verdict.reason_header == 'STIR;cause=428;text="Use Identity Header"'
    else:
        assert verdict.verstat is Verstat.NONE
        assert verdict.failed is Check.SYNTAX
        assert verdict.labels == ((Label.UNSIGNED,) if action is LABEL else ())
    assert len(verdict.results) == (count if count < 99 else 1)


def test_a_type_that_decides_nothing_is_as_if_it_were_not_there(case):
    case.registry.add(held("1234"))
    case.unsigned = UnsignedPolicy({"1234": FAIL})
    text = baseline(case).dumps()
    assert told(case.ask(case.request(text))) == FAILED
    assert case.ask(case.request(text, case.call().signed())).verstat is Verstat.PASSED


@pytest.mark.parametrize("action", [LABEL, FAIL])
@pytest.mark.parametrize("fault", [unreachable, stale_date, "replay"])
def test_a_token_that_could_not_be_checked_is_labelled_at_most(case, action, fault):
    case.registry.add(held("1234"))
    case.unsigned = UnsignedPolicy({"1234": action})
    before = Case(case.world)
    before.carrier = case.carrier
    for each in (case, before):
        if fault == "replay":
            each.replay = Gone()
        else:
            fault(each)
    request = case.request()
    verdict, plain = case.ask(request), before.ask(request)
    assert verdict.verstat is Verstat.NONE
    assert verdict.labels == (Label.UNVERIFIED,)
    assert (verdict.reason, verdict.detail) == (plain.reason, plain.detail)
    assert (verdict.failed, verdict.reason_header) == (plain.failed, plain.reason_header)
    beside = case.ask(case.request(JUNK, case.call().signed()))
    assert beside.labels == (Label.UNVERIFIED,)


def test_what_fails_anyway_keeps_its_reason(case):
    case.registry.add(held("1234"))
    case.unsigned = UnsignedPolicy({"1234": FAIL})
    verdict = case.ask(case.request(forged(case.call(), iat=NOW - 1), JUNK))
    assert told(verdict)[:2] == (Verstat.FAILED, Reason.SIGNATURE_INVALID)


# Health requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [("7777777777",), ("7777777777", "9999999999")])
def test_a_health_request_gets_no_validation_whatever_the_policy(case, to):
    case.registry.add(
        Holding(numbers=TNRange(TN("9999999999"), TN("9999999999")), subject="sbc", spcs=("1234",))
    )
    case.registry.add(order(TargetKind.NUMBER, "9999999999"))
    case.unsigned = UnsignedPolicy({"1234": FAIL}, {"US": FAIL}, HEALTH)
    assert told(case.ask(unsigned("9999999999", *to))) == AS_BEFORE


@pytest.mark.parametrize(
    ("orig", "to"),
    [
        ("9999999999", (DEST,)),
        ("9999999999", ("7777777777", DEST)),
        (ORIG, ("7777777777",)),
    ],
)
def test_a_call_to_a_subscriber_is_no_health_request(case, orig, to):
    numbers = TNRange(TN(orig), TN(orig))
    case.registry.add(Holding(numbers=numbers, subject="somebody", spcs=("1234",)))
    case.unsigned = UnsignedPolicy({"1234": FAIL}, {}, HEALTH)
    assert told(case.ask(unsigned(orig, *to))) == FAILED


def test_with_an_identity_header_it_is_a_call(case):
    case.unsigned = UnsignedPolicy({"1234": FAIL}, {}, HEALTH)
    numbers = TNRange(TN("9999999999"), TN("9999999999"))
    case.registry.add(Holding(numbers=numbers, subject="sbc", spcs=("1234",)))
    case.orig, case.to = TN("9999999999"), (TN("7777777777"),)
    assert told(case.ask(case.request(JUNK))) == FAILED


# Orders -----------------------------------------------------------------------------------------

STOPPING = [
    (TargetKind.NUMBER, ORIG),
    (TargetKind.RANGE, "12155550100-12155550199"),
    (TargetKind.SUBJECT, "bank"),
    (TargetKind.RESELLER, "shop"),
]


@pytest.mark.parametrize(("kind", "target"), STOPPING)
@pytest.mark.parametrize("identities", [(), (JUNK,), "unreachable"])
@pytest.mark.parametrize("action", [NONE, FAIL])
def test_a_number_under_an_order_may_be_shown_by_nobody(case, kind, target, identities, action):
    case.registry.add(Reseller(id="shop", name="Shop"))
    case.registry.add(held("1234", reseller="shop"))
    case.unsigned = UnsignedPolicy({"1234": action})
    case.registry.add(order(kind, target))
    if identities == "unreachable":
        unreachable(case)
        request = case.request()
    else:
        request = case.request(*identities) if identities else unsigned()
    verdict = case.ask(request)
    assert told(verdict) == (Verstat.FAILED, Reason.DISPLAY_ORDERED, SipStatus.REJECTED, ())
    assert (verdict.failed, verdict.decisive) == (Check.ORDER, None)
    assert verdict.reason_header is None
    assert verdict.detail == (
        f"order o1 of regulator (ref) stops {kind.value} {target}, and nobody signed for the call"
    )


@pytest.mark.parametrize(
    "stopped", [order(TargetKind.SPC, "1234"), order(TargetKind.NUMBER, ORIG, NOW + 1)]
)
def test_an_order_against_a_signer_or_of_tomorrow_stops_no_unsigned_call(case, stopped):
    case.registry.add(held("1234"))
    case.registry.add(stopped)
    assert told(case.ask(unsigned())) == AS_BEFORE


def test_a_signed_call_under_an_order_has_the_reason_it_had(case):
    case.registry.add(order(TargetKind.NUMBER, ORIG))
    verdict = case.ask()
    assert (verdict.reason, verdict.sip) == (Reason.ORDERED, SipStatus.UNSUPPORTED_CREDENTIAL)
    case = Case()
    case.registry.add(order(TargetKind.NUMBER, ORIG))
    case.replay = Knows(first_seen=False)
    assert case.ask().reason is Reason.REPLAYED


# When the registry is away ----------------------------------------------------------------------


def test_while_the_registry_is_away_nothing_fails(case):
    case.registry = Gone()
    case.unsigned = UnsignedPolicy({"1234": NONE}, {"US": FAIL})
    assert told(case.ask(unsigned())) == LABELLED
    again = Case()
    again.registry = Gone()
    assert told(again.ask(unsigned())) == AS_BEFORE


# The pure decision ------------------------------------------------------------------------------


def test_labels_that_are_there_stay():
    policy = UnsignedPolicy(countries={"US": LABEL})
    before = Verdict(Verstat.NONE, Reason.NO_IDENTITY, "x", (), None, (Label.DISPLAY_SUSPECTED,))
    after = judge_unsigned(before, UnsignedFacts((), "US"), policy)
    assert after.labels == (Label.DISPLAY_SUSPECTED, Label.UNSIGNED)
    assert judge_unsigned(UNSIGNED, UnsignedFacts(), policy) is UNSIGNED


def test_countries_are_asked_for_only_by_a_policy_that_names_one():
    case, asked = Case(), []
    for countries in ({}, {"CN": FAIL}):
        case.unsigned = UnsignedPolicy({"1234": FAIL}, countries)
        case._verifier = None
        case.verifier._country = lambda tn: asked.append(tn) or "US"
        case.ask(unsigned())
    assert asked == [TN(ORIG)]


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("12155550100", "US"),
        ("15555550100", None),  # no such area code: +1 has many countries
        ("14165550100", "CA"),
        ("8613800138000", "CN"),
        ("8610", "CN"),
        ("861", "CN"),
        ("86", "CN"),
        ("1", None),
        ("447400123456", "GB"),
        ("441534456789", "JE"),
        ("79161234567", "RU"),
        ("77011234567", "KZ"),
        ("85366123456", "MO"),
        ("85223456789", "HK"),
        ("442079460000", "GB"),
        ("80012345678", "001"),
        ("*86", None),
        ("0", None),
        ("999999999999999", None),
        ("9999999999", None),
    ],
)
def test_regions(number, country):
    assert region(TN(number)) == country


def test_regions_are_those_of_the_library():
    for country in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number(country)
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        assert region(TN(number[1:])) == phonenumbers.region_code_for_number(example)


def test_any_number_of_callees_is_looked_at():
    request = unsigned("9999999999", *["7777777777"] * MAX_DESTINATIONS)
    case = Case()
    case.unsigned = UnsignedPolicy(health=HEALTH)
    assert told(case.ask(request)) == AS_BEFORE


def test_every_fault_of_one_header_is_covered_by_a_rule():
    # Each reason that leaves a call without validation leads to one of the two labels.
    for fault in FAULTS:
        case = Case()
        fault.apply(case)
        case.registry.add(held("1234"))
        case.unsigned = UnsignedPolicy({"1234": LABEL, "9999": LABEL}, {"US": LABEL})
        verdict = case.ask()
        if verdict.verstat is Verstat.NONE:
            assert len(verdict.labels) == 1, fault
        else:
            assert verdict.labels == (), fault
