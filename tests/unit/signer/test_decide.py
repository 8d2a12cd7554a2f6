"""The decision table, row by row (the table in signer/decide.py is the specification)."""

from __future__ import annotations

import pytest
from found import Found, finding
from msgspec.structs import replace
from plain import PlainRegistry

from zhenxian.analytics.model import KeyKind, Measure
from zhenxian.analytics.model import State as Conduct
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.passport.claims import Destination
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import load_plan
from zhenxian.registry.model import (
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Exemption,
    Holding,
    Order,
    Reseller,
    Standing,
    State,
    Subject,
    TargetKind,
    Use,
    Verification,
)
from zhenxian.signer.analytics import PooledSigning, observation
from zhenxian.signer.decide import Facts, decide, gather
from zhenxian.signer.request import SigningRequest

BANK, SPAM = "subject-bank", "subject-callcentre"
NUMBER = TN("8675588880001")
CALLER, CALLEE = TN("8613700137000"), TN("8613800138000")
NOW = 1_795_500_000
TRUNK = Access(id="bank-trunk", origid="11111111-1111-4111-8111-111111111111", subject=BANK)
OTHER = Access(id="callcentre-trunk", origid="22222222-2222-4222-8222-222222222222", subject=SPAM)
STOPPED = Access(
    id="stopped", origid="33333333-3333-4333-8333-333333333333", subject=BANK, state=State.SUSPENDED
)
GOOD = Standing(Subject(id=BANK))
CLOSED = Standing(Subject(id=BANK), closed_by="subject subject-bank is suspended")
RESOLD = Standing(Subject(id=BANK), ("mvno",), "reseller mvno is suspended")
ORDER = Order(
    id="o1",
    issuer="regulator",
    reference="ref 7",
    kind=TargetKind.SUBJECT,
    target=BANK,
    since=1,
    number=1,
    token="token",
)
BINDING = Binding(
    id="b",
    platform=BANK,
    model=BindingModel.AXB,
    x=NUMBER,
    a=CALLER,
    since=1,
    b=CALLEE,
    until=NOW + 10,
)
BESIDE = finding(beside=(Measure.ROTATION,))
OF_SUBJECT = finding(KeyKind.SUBJECT, BANK)
POOL, SUSPICION = finding(), finding(state=Conduct.SUSPECTED)


def holding(**changes) -> Holding:
    fields = {
        "numbers": TNRange(TN("8675588880000"), TN("8675588889999")),
        "subject": BANK,
        "verification": Verification.VERIFIED,
    } | changes
    return Holding(**fields)


PRIVATE = holding(use=Use.PRIVACY)


def request(attest=None, orig=NUMBER, access=None, origid="given", **more) -> SigningRequest:
    return SigningRequest(orig, Destination((CALLEE,)), NOW, attest, origid, access, **more)


def known(access=TRUNK, held=None, **more) -> Facts:
    return Facts(access, GOOD, held, **{"holder": GOOD, **more})


A, B, C = Attestation
TABLE = [
    # facts, asked, attest given, reason
    (known(held=holding()), A, A, Reason.HELD_AND_VERIFIED),
    (known(held=holding()), None, A, Reason.HELD_AND_VERIFIED),
    (known(held=holding()), B, B, Reason.ASKED_FOR_LESS),
    (known(held=holding()), C, C, Reason.ASKED_FOR_LESS),
    (known(), A, B, Reason.DISPLAY_UNKNOWN),
    (known(), None, B, Reason.DISPLAY_UNKNOWN),
    (known(), C, C, Reason.ASKED_FOR_LESS),
    (known(None, holding()), A, C, Reason.ACCESS_UNKNOWN),
    (known(None), A, C, Reason.ACCESS_UNKNOWN),
    (known(None), None, C, Reason.ACCESS_UNKNOWN),
    (known(OTHER, holding()), A, None, Reason.DISPLAY_OF_ANOTHER),
    (known(OTHER, holding()), C, None, Reason.DISPLAY_OF_ANOTHER),
    (known(OTHER, PRIVATE, binding=BINDING), A, None, Reason.DISPLAY_OF_ANOTHER),
    (
        known(OTHER, holding(verification=Verification.UNVERIFIED)),
        A,
        None,
        Reason.DISPLAY_OF_ANOTHER,
    ),
    *(
        (known(held=holding(verification=state)), A, None, Reason.HOLDING_UNVERIFIED)
        for state in (Verification.UNVERIFIED, Verification.EXPIRED, Verification.WITHDRAWN)
    ),
    (known(held=holding(use=Use.DO_NOT_ORIGINATE)), A, None, Reason.DO_NOT_ORIGINATE),
    (known(None, holding(use=Use.DO_NOT_ORIGINATE)), C, None, Reason.DO_NOT_ORIGINATE),
    # a carrier's service number: its holder may show it, nobody else
    (known(held=holding(), service=True), A, A, Reason.HELD_AND_VERIFIED),
    (known(OTHER, holding(), service=True), A, None, Reason.DO_NOT_ORIGINATE),
    (known(service=True), A, None, Reason.DO_NOT_ORIGINATE),
    (known(None, service=True), C, None, Reason.DO_NOT_ORIGINATE),
    # an emergency number likewise
    (known(held=holding(), emergency=True), A, A, Reason.HELD_AND_VERIFIED),
    (known(OTHER, holding(), emergency=True), A, None, Reason.DO_NOT_ORIGINATE),
    (known(emergency=True), C, None, Reason.DO_NOT_ORIGINATE),
    (known(None, emergency=True), C, None, Reason.DO_NOT_ORIGINATE),
    # a call to one is never refused, and gets what it earns
    (known(held=holding(), to_emergency=True), A, A, Reason.HELD_AND_VERIFIED),
    (known(held=holding(), to_emergency=True), B, B, Reason.ASKED_FOR_LESS),
    (known(emergency=True, to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    (known(OTHER, holding(), to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    (known(None, service=True, to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    (known(STOPPED, holding(), to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    (known(held=holding(), order=ORDER, to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    (known(held=holding(), finding=POOL, to_emergency=True), A, C, Reason.EMERGENCY_CALL),
    # privacy numbers
    (known(held=PRIVATE, binding=BINDING), A, A, Reason.BOUND),
    (known(held=PRIVATE), A, None, Reason.NOT_BOUND),
    (known(held=PRIVATE), C, None, Reason.NOT_BOUND),
    (known(held=PRIVATE, binding=BINDING, current=False), A, B, Reason.REGISTRY_STALE),
    # suspensions
    (known(STOPPED, holding()), A, None, Reason.ACCESS_SUSPENDED),
    (Facts(TRUNK, CLOSED, holding(), CLOSED), A, None, Reason.SUBJECT_SUSPENDED),
    (Facts(TRUNK, CLOSED), C, None, Reason.SUBJECT_SUSPENDED),
    (Facts(TRUNK, GOOD, holding(), RESOLD), A, None, Reason.RESELLER_SUSPENDED),
    # orders win over everything that is known
    (known(held=holding(), order=ORDER), A, None, Reason.ORDERED),
    (known(order=ORDER), C, None, Reason.ORDERED),
    (known(None, order=ORDER), C, None, Reason.ORDERED),
    (known(OTHER, holding(), order=ORDER), A, None, Reason.ORDERED),
    # a copy that may lag behind
    (known(held=holding(), current=False), A, B, Reason.REGISTRY_STALE),
    (known(OTHER, holding(), current=False), A, None, Reason.DISPLAY_OF_ANOTHER),
    # conduct
    (known(held=holding(), finding=POOL), A, None, Reason.POOLED_DISPLAY),
    (known(held=holding(), finding=POOL), C, None, Reason.POOLED_DISPLAY),
    (known(finding=POOL), A, None, Reason.POOLED_DISPLAY),
    (known(held=holding(), finding=SUSPICION), A, A, Reason.HELD_AND_VERIFIED),
    (known(OTHER, holding(), finding=POOL), A, None, Reason.DISPLAY_OF_ANOTHER),
    (known(held=holding(), finding=POOL, order=ORDER), A, None, Reason.ORDERED),
    (known(held=PRIVATE, finding=POOL), A, None, Reason.NOT_BOUND),
    (Facts(available=False), A, C, Reason.REGISTRY_UNAVAILABLE),
    (Facts(available=False), None, C, Reason.REGISTRY_UNAVAILABLE),
    (Facts(available=False, service=True), A, None, Reason.DO_NOT_ORIGINATE),
    (Facts(available=False, emergency=True), A, None, Reason.DO_NOT_ORIGINATE),
    (Facts(available=False, privacy=True), A, None, Reason.NOT_BOUND),
]


@pytest.mark.parametrize(("facts", "asked", "given", "reason"), TABLE)
def test_table(facts, asked, given, reason):
    decision = decide(request(asked), facts)
    assert (decision.attest, decision.reason) == (given, reason)
    assert decision.detail


def test_never_more_than_asked_and_never_more_than_proven():
    for facts, _, _, _ in TABLE:
        ceiling = decide(request(None), facts).attest
        for asked in Attestation:
            given = decide(request(asked), facts).attest
            if ceiling is None:
                assert given is None
            else:
                assert given is not None
                assert given.value >= max(asked.value, ceiling.value)


def test_known_access_gives_its_own_origid_and_unknown_keeps_the_proxys():
    assert decide(request(A), known(held=holding())).origid == TRUNK.origid
    assert decide(request(A), Facts()).origid == "given"


def test_a_uri_gets_b_at_most():
    decision = decide(request(A, URI("sip:alice@example.com")), Facts(TRUNK))
    assert (decision.attest, decision.reason) == (B, Reason.ORIG_NOT_A_NUMBER)


def test_a_decision_has_no_truth_value():
    with pytest.raises(TypeError):
        bool(decide(request(A), Facts()))


class Broken(PlainRegistry):
    def holding(self, tn):
        raise StoreUnavailableError("gone")


def test_an_unavailable_registry_never_earns_more_than_c():
    facts = gather(request(A, access="bank-trunk"), Broken([holding()], [TRUNK]), NOW)
    assert facts == Facts(available=False)
    assert decide(request(A), facts).attest is C


@pytest.mark.parametrize("display", ["110", "10086", "700100020000001"])
def test_an_unavailable_registry_leaves_what_the_plan_alone_knows(display):
    asked = replace(request(A, access="bank-trunk"), orig=TN(display))
    facts = gather(asked, Broken([holding()], [TRUNK]), NOW, plan=load_plan((), "CN"))
    assert decide(asked, facts).attest is None


def test_gather_reads_access_by_name_then_by_origid():
    registry = PlainRegistry([holding()], [TRUNK, OTHER])

    def access(**more):
        return gather(request(**more), registry, NOW).access

    assert access(access="callcentre-trunk", origid=TRUNK.origid) is OTHER
    assert access(origid=TRUNK.origid) is TRUNK
    assert access(access="nobody", origid=TRUNK.origid) is None
    assert gather(request(origid=TRUNK.origid), registry, NOW).holding == holding()


def order(kind, target, **more):
    return Order(
        id="o1",
        issuer="regulator",
        reference="ref",
        kind=kind,
        target=target,
        since=1,
        number=1,
        token="token",
        **more,
    )


COVERED = {
    "the caller's subject": order(TargetKind.SUBJECT, BANK),
    "a reseller before the last": order(TargetKind.RESELLER, "mvno"),
    "the carrier's SPC": order(TargetKind.SPC, "1001"),
    "the number": order(TargetKind.NUMBER, str(NUMBER)),
    "a range around it": order(TargetKind.RANGE, "8675588880000-8675588880009"),
}


@pytest.mark.parametrize("name", COVERED)
def test_orders_reach_what_a_call_involves(name):
    registry = PlainRegistry(
        [holding(reseller="agent", spcs=("1001",))],
        [TRUNK],
        others=[Reseller(id="mvno"), Reseller(id="agent", parent="mvno"), COVERED[name]],
    )
    facts = gather(request(A, access="bank-trunk"), registry, NOW)
    decision = decide(request(A), facts)
    assert (decision.attest, decision.reason) == (None, Reason.ORDERED)
    assert "o1" in decision.detail
    assert "ref" in decision.detail


@pytest.mark.parametrize(
    "found",
    [
        order(TargetKind.SUBJECT, BANK, lifted=5),
        order(TargetKind.SUBJECT, "somebody"),
        Order(
            id="later",
            issuer="r",
            reference="ref",
            kind=TargetKind.SUBJECT,
            target=BANK,
            since=NOW + 1,
            number=1,
            token="t",
        ),
    ],
)
def test_orders_lifted_of_others_or_to_come_do_not_stop_a_call(found):
    registry = PlainRegistry([holding()], [TRUNK], others=[found])
    assert decide(request(A), gather(request(A, access="bank-trunk"), registry, NOW)).attest is A


def test_an_order_reaches_the_caller_behind_a_privacy_number():
    own = Holding(
        numbers=TNRange(CALLER, CALLER), subject="rider", verification=Verification.VERIFIED
    )
    registry = PlainRegistry(
        [PRIVATE, own], [TRUNK], others=[BINDING, order(TargetKind.SUBJECT, "rider")]
    )
    asked = request(A, access="bank-trunk", caller=CALLER)
    assert decide(asked, gather(asked, registry, NOW)).reason is Reason.ORDERED


def test_a_privacy_number_needs_caller_display_and_callee_of_one_binding():
    registry = PlainRegistry([PRIVATE], [TRUNK], others=[BINDING])

    def reason(now=NOW, dest=(CALLEE,), **more):
        asked = SigningRequest(
            NUMBER, Destination(dest), NOW, A, None, "bank-trunk", **{"caller": CALLER, **more}
        )
        return decide(asked, gather(asked, registry, now)).reason

    assert reason() is Reason.BOUND
    assert reason(caller=CALLEE, dest=(CALLER,)) is Reason.BOUND
    assert reason(caller=None) is Reason.NOT_BOUND
    assert reason(caller=TN("8613700137001")) is Reason.NOT_BOUND
    assert reason(dest=(TN("8613800138001"),)) is Reason.NOT_BOUND
    assert reason(dest=(CALLEE, TN("8613800138001"))) is Reason.NOT_BOUND
    # It ends when its time does, within the second.
    assert reason(now=NOW + 9.999) is Reason.BOUND
    assert reason(now=NOW + 10) is Reason.NOT_BOUND


@pytest.mark.parametrize(
    ("policy", "given", "reason", "told"),
    [
        (PooledSigning.REFUSE, None, Reason.POOLED_DISPLAY, POOL),
        (PooledSigning.LOWER, B, Reason.POOLED_LOWERED, POOL),
        (PooledSigning.LABEL, A, Reason.HELD_AND_VERIFIED, POOL),
        (PooledSigning.OFF, A, Reason.HELD_AND_VERIFIED, None),
    ],
)
def test_what_a_pool_leads_to_is_policy(policy, given, reason, told):
    decision = decide(request(A), known(held=holding(), finding=POOL), policy)
    assert (decision.attest, decision.reason, decision.finding) == (given, reason, told)


def test_a_refusal_for_conduct_says_what_was_measured_against_what():
    decision = decide(request(A), known(held=holding(), finding=POOL))
    assert "displays 80 (at least 40)" in decision.detail
    assert "access bank-trunk" in decision.detail


@pytest.mark.parametrize(
    ("of_access", "of_subject", "told"),
    [
        (None, None, None),
        (None, Conduct.POOLED, KeyKind.SUBJECT),
        (Conduct.SUSPECTED, Conduct.POOLED, KeyKind.SUBJECT),
        (Conduct.POOLED, Conduct.POOLED, KeyKind.ACCESS),
        (Conduct.POOLED, None, KeyKind.ACCESS),
    ],
)
def test_the_worse_of_access_and_subject_counts(of_access, of_subject, told):
    states = {(KeyKind.ACCESS, "bank-trunk"): of_access, (KeyKind.SUBJECT, BANK): of_subject}
    conduct = Found(*(finding(*key, state) for key, state in states.items() if state is not None))
    registry = PlainRegistry([holding()], [TRUNK])
    found = gather(request(A, access="bank-trunk"), registry, NOW, conduct=conduct).finding
    assert (found.key.kind if found is not None else None) is told


def test_a_bound_call_is_judged_by_its_binding():
    registry = PlainRegistry([PRIVATE], [TRUNK], others=[BINDING])
    asked = request(A, access="bank-trunk", caller=CALLER)
    facts = gather(asked, registry, NOW, conduct=Found(POOL))
    assert (facts.binding, facts.finding) == (BINDING, None)
    assert decide(asked, facts).reason is Reason.BOUND


AGENT = finding(KeyKind.AGENT, f"{BANK}/{CALLER}", measure=Measure.BINDINGS)
LENDER = finding(KeyKind.SUBJECT, BANK, measure=Measure.RATE, beside=(Measure.BINDINGS,))


@pytest.mark.parametrize("found", [AGENT, LENDER])
def test_a_bound_call_is_refused_for_how_bindings_are_used(found):
    asked = request(A, access="bank-trunk", caller=CALLER)
    registry = PlainRegistry([PRIVATE], [TRUNK], others=[BINDING])
    facts = gather(asked, registry, NOW, conduct=Found(POOL, found))
    assert facts.finding == found
    assert decide(asked, facts).reason is Reason.POOLED_DISPLAY
    spared = exempt(KeyKind.SUBJECT, BANK)
    registry = PlainRegistry([PRIVATE], [TRUNK], others=[BINDING, spared])
    facts = gather(asked, registry, NOW, conduct=Found(POOL, found))
    assert facts.finding is None


def test_an_agent_speaks_against_nobody_elses_call():
    registry = PlainRegistry([holding()], [TRUNK])
    asked = request(A, access="bank-trunk", caller=CALLER)
    assert gather(asked, registry, NOW, conduct=Found(AGENT)).finding is None


def exempt(kind, target, **more):
    fields = {"reason": "ambulance dispatch", "since": 1, "until": NOW + 9} | more
    return Exemption(id="e", kind=kind, target=target, **fields)


@pytest.mark.parametrize(
    ("found", "exemption", "left"),
    [
        ([POOL], exempt(KeyKind.ACCESS, "bank-trunk"), None),
        ([POOL], exempt(KeyKind.SUBJECT, BANK), None),
        ([OF_SUBJECT], exempt(KeyKind.SUBJECT, BANK), None),
        ([OF_SUBJECT], exempt(KeyKind.ACCESS, "bank-trunk"), OF_SUBJECT),
        ([POOL, OF_SUBJECT], exempt(KeyKind.ACCESS, "bank-trunk"), OF_SUBJECT),
        ([POOL], exempt(KeyKind.ACCESS, "another"), POOL),
        ([POOL], exempt(KeyKind.ACCESS, "bank-trunk", until=NOW), POOL),
        (
            [POOL],
            exempt(KeyKind.ACCESS, "bank-trunk", measures=(Measure.SPREAD,)),
            None,
        ),
        (
            [POOL],
            exempt(KeyKind.ACCESS, "bank-trunk", measures=(Measure.RATE,)),
            POOL,
        ),
        (  # exempt from the strongest measure, and not from what is found beside it
            [BESIDE],
            exempt(KeyKind.ACCESS, "bank-trunk", measures=(Measure.SPREAD,)),
            BESIDE,
        ),
        (
            [BESIDE],
            exempt(
                KeyKind.ACCESS,
                "bank-trunk",
                measures=(Measure.SPREAD, Measure.ROTATION),
            ),
            None,
        ),
    ],
)
def test_who_is_exempt_is_left_alone(found, exemption, left):
    registry = PlainRegistry([holding()], [TRUNK], others=[exemption])
    asked = request(A, access="bank-trunk")
    facts = gather(asked, registry, NOW, conduct=Found(*found))
    assert facts.finding == left
    assert decide(asked, facts).attest is (None if left else A)


def test_nobodys_conduct_is_asked_where_the_access_is_unknown():
    registry = PlainRegistry([holding()], [TRUNK])
    assert gather(request(A, access="?"), registry, NOW, conduct=Found(POOL)).finding is None


def test_what_a_call_tells_of_conduct():
    told = observation(request(), TRUNK, None, NOW)
    assert (told.at, told.display, told.callee, told.bound) == (NOW, NUMBER, CALLEE, False)
    assert [str(key) for key in told.keys] == ["access:bank-trunk", f"subject:{BANK}"]
    told = observation(request(caller=CALLER), TRUNK, BINDING, NOW)
    assert (told.display, told.bound, told.hidden_caller) == (NUMBER, True, CALLER)
    assert [str(key) for key in told.keys] == [
        "access:bank-trunk",
        f"subject:{BANK}",
        f"agent:{BANK}/{CALLER}",
    ]
    assert observation(request(orig=URI("sip:alice@example.com")), TRUNK, None, NOW) is None


def test_refusals_count_for_conduct_only_when_conduct_is_why():
    assert decide(request(A), known(held=holding())).counts
    assert decide(request(A), known(held=holding(), finding=POOL)).counts
    assert not decide(request(A), known(OTHER, holding())).counts


UNWANTED = CalleeRefusal(numbers=TNRange(CALLEE, CALLEE), since=1)


@pytest.mark.parametrize(
    ("policy", "given", "reason"),
    [
        (Consent.REFUSE, None, Reason.CALLEE_REFUSES),
        (Consent.LABEL, A, Reason.HELD_AND_VERIFIED),
    ],
)
def test_what_a_callees_refusal_leads_to_is_policy(policy, given, reason):
    decision = decide(request(A), known(held=holding(), unwanted=UNWANTED), marketing=policy)
    assert (decision.attest, decision.reason, decision.unwanted) == (given, reason, UNWANTED)
    assert decision.counts is (given is not None)


def test_the_default_is_to_tell():
    decision = decide(request(A), known(held=holding(), unwanted=UNWANTED))
    assert (decision.attest, decision.unwanted) == (A, UNWANTED)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(unwanted=UNWANTED), Reason.CALLEE_REFUSES),  # gateway traffic too
        (known(held=holding(subject=SPAM), unwanted=UNWANTED), Reason.DISPLAY_OF_ANOTHER),
        (known(held=holding(), finding=POOL, unwanted=UNWANTED), Reason.POOLED_DISPLAY),
        (known(held=holding(), order=ORDER, unwanted=UNWANTED), Reason.ORDERED),
    ],
)
def test_what_is_refused_anyway_keeps_its_reason(facts, reason):
    decision = decide(request(A), facts, marketing=Consent.REFUSE)
    assert (decision.attest, decision.reason) == (None, reason)


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"purpose": "营销"}, UNWANTED),
        ({"crn": "promotion"}, UNWANTED),
        ({"purpose": "delivery", "crn": "promotion"}, UNWANTED),
        ({"purpose": "delivery"}, None),
        ({}, None),
    ],
)
def test_the_stated_purpose_is_held_against_what_the_callee_refuses(stated, found):
    registry = PlainRegistry([holding()], [TRUNK], others=[UNWANTED])
    asked = SigningRequest(NUMBER, Destination((CALLEE,)), NOW, A, None, "bank-trunk", **stated)
    assert gather(asked, registry, NOW, consent=ConsentPolicy()).unwanted == found
    assert gather(asked, registry, NOW, consent=ConsentPolicy(Consent.OFF)).unwanted is None
    if not stated:
        registry.refusal = None  # whoever asks fails
        assert gather(asked, registry, NOW, consent=ConsentPolicy()).unwanted is None
