"""Diverted calls: chains of div and div-o, whole and broken (RFC 8946 sections 4.2, 5.1 and 6)."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from simulator import NOW
from verification import Case, Gone, baseline

from zhenxian.certs.repository import Failure
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import CalleeRefusal, Holding, Order, TargetKind
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.marks import to_emergency
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.unsigned import Action, UnsignedPolicy
from zhenxian.verifier.verdict import Check, Label

pytestmark = pytest.mark.usefixtures("es256")

A, B, C, D = "12155550100", "12155550199", "12155550300", "12155550400"
PASSED, FAILED, NONE = Verstat.PASSED, Verstat.FAILED, Verstat.NONE


class Diverted(Case):
    """A calls B by one carrier; B diverts to C by a second, C to D by a third."""

    def __init__(self):
        super().__init__()
        self.second, self.third = self.world.carrier("5678"), self.world.carrier("9012")
        self.others = [self.second, self.third]

    def original(self, orig=A, *dest, **more):
        return self.carrier.call(orig, *(dest or (B,)), **{"iat": self.iat, **more}).signed()

    def first(self, orig=A, diverting=B, dest=C, **more):
        return self.second.diverts(orig, diverting, dest, **{"iat": self.iat, **more}).signed()

    def then(self, orig=A, diverting=C, dest=D, **more):
        return self.third.diverts(orig, diverting, dest, **{"iat": self.iat, **more}).signed()

    def arrives(self, *identities, dest=(C,), to=(B,), **more):
        """What is asked of the call where it arrives: To as it was made, the Request-URI as it is.

        dest: None where the Request-URI is not told.
        """
        told = {} if dest is None else {"dest": tuple(map(TN, dest))}
        return VerificationRequest(
            self.orig or TN(A), tuple(map(TN, to)), NOW, identities, **told, **more
        )

    def judged(self, *identities, **more):
        return self.ask(self.arrives(*identities, **more))


@pytest.fixture
def call():
    return Diverted()


def told(verdict):
    """What a proxy learns: verstat, reason, and each div with its own."""
    return verdict.verstat, verdict.reason, results(verdict)


def results(verdict):
    return {
        str(result.diverting): PASSED if result.refusal is None else result.refusal.reason.verstat
        for result in verdict.results
        if result.diverting is not None
    }


def token(identity):
    return identity.partition(";")[0]


# Whole chains -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [(B,), (C,)])
def test_a_diverted_call_passes_by_its_chain_whatever_became_of_to(call, to):
    verdict = call.judged(call.original(), call.first(), to=to)
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})
    assert verdict.attest == "A"
    assert verdict.decisive.ppt == "shaken"
    assert verdict.labels == ()


def test_where_the_request_uri_is_not_told_to_stands_for_it(call):
    verdict = call.judged(call.original(), call.first(), to=(C,), dest=None)
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_headers_have_no_order(call, order):
    made = [call.original(), call.first(), call.then()]
    verdict = call.judged(*(made[place] for place in order), dest=(D,))
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED, C: PASSED})
    assert [result.identity for result in verdict.results] == [made[place] for place in order]


def test_headers_may_be_joined_by_commas(call):
    verdict = call.judged(f"{call.first()}, {call.original()}")
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})


def test_a_chain_of_fourteen_steps(call):
    numbers = [B, *(f"121555510{step:02d}" for step in range(14))]
    steps = [call.first(A, one, two) for one, two in itertools.pairwise(numbers)]
    verdict = call.judged(call.original(), *steps, dest=(numbers[-1],))
    assert verdict.verstat is PASSED
    assert len(results(verdict)) == 14
    missing = call.judged(call.original(), *steps[:6], *steps[7:], dest=(numbers[-1],))
    assert (missing.verstat, missing.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)


def test_a_call_to_several_is_diverted_from_one_of_them(call):
    verdict = call.judged(call.original(A, B, "12155550777"), call.first())
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})


def test_one_div_diverts_what_several_carriers_signed(call):
    theirs = call.third.call(A, B, iat=call.iat, attest="B").signed()
    verdict = call.judged(call.original(), theirs, call.first())
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})
    assert [result.refusal for result in verdict.results] == [None, None, None]


def test_a_baseline_token_is_diverted_in_full_and_in_compact_form(call):
    call.policy = ScreenPolicy(types=frozenset({None}))
    header = baseline(call, dest=None)
    for original in (header.dumps(), header.compacted().dumps()):
        call.replay = MemoryReplayStore()
        call._verifier = None
        verdict = call.judged(original, call.first())
        assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})


def test_a_request_uri_that_is_a_devices_address_leaves_it_to_to(call):
    request = VerificationRequest(
        TN(A), (TN(C),), NOW, (call.original(), call.first()), dest=(URI("sip:c@192.0.2.7"),)
    )
    assert told(call.ask(request)) == (PASSED, Reason.VERIFIED, {B: PASSED})


def test_uris_divert_too(call):
    passport = call.second.diverts(A, B, C, iat=NOW).passport
    claims = {**passport.claims(), "div": {"uri": f"sip:+{B}@example.com;user=phone"}}
    assert call.judged(call.original(), remade(call.second, passport, claims)).verstat is PASSED


def test_what_div_holds_beside_the_number_is_no_harm(call):
    passport = call.second.diverts(A, B, C, iat=NOW).passport
    claims = {**passport.claims(), "div": {"tn": B, "hi": "1.2.1", "x-why": {"a": [1]}}}
    verdict = call.judged(call.original(), remade(call.second, passport, claims))
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})
    extension = verdict.results[1].passport.extension
    assert (extension.hi, extension.claims()) == ("1.2.1", {"div": claims["div"]})


def remade(carrier, passport, claims, header=None):
    """A div token of any claims, signed by the carrier."""
    first = b64url_encode(msgspec.json.encode(header) if header else passport.header.dumps())
    second = b64url_encode(msgspec.json.encode(claims))
    signature = b64url_encode(carrier.key.sign(first + b"." + second))
    text = Token(first, second, signature).dumps().decode()
    return f"{text};info=<{passport.header.x5u}>;ppt={passport.header.ppt}"


# div-o --------------------------------------------------------------------------------------------


def test_a_div_o_alone_holds_its_whole_chain(call):
    inner = call.first(opt=token(call.original()))
    verdict = call.judged(inner)
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})
    assert (verdict.attest, len(verdict.results)) == ("A", 2)
    outer = call.then(opt=token(call.first(opt=token(call.original()))))
    assert told(call.judged(outer, dest=(D,))) == (PASSED, Reason.VERIFIED, {B: PASSED, C: PASSED})


def test_a_div_o_leads_from_what_it_holds_alone(call):
    """A token that stands beside it is no part of it: who signed it saw another."""
    stranger = call.original("12155559999")
    verdict = call.judged(call.original(), call.first(opt=token(stranger)))
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)
    assert results(verdict)[B] is FAILED


@pytest.mark.parametrize("what", ["signature", "orig", "dest", "compact", "garbage"])
def test_what_a_div_o_holds_is_checked_like_any_token(call, what):
    nested = {
        "signature": token(call.original())[:-86] + token(call.first())[-86:],
        "orig": token(call.original("12155559999")),
        "dest": token(call.original(A, "12155550777")),
        "compact": f"..{token(call.original())[-86:]}",
        "garbage": "a.b.c",
    }[what]
    verdict = call.judged(call.first(opt=nested))
    assert verdict.verstat is not PASSED
    assert PASSED not in results(verdict).values()


def test_a_div_o_may_be_diverted_by_a_div_and_a_div_by_a_div_o(call):
    made = (call.first(opt=token(call.original())), call.then())
    assert told(call.judged(*made, dest=(D,))) == (
        PASSED, Reason.VERIFIED, {B: PASSED, C: PASSED}
    )  # fmt: skip
    step = call.first()
    made = (call.original(), step, call.then(opt=token(step)))
    call._verifier, call.replay = None, MemoryReplayStore()
    assert call.judged(*made, dest=(D,)).verstat is PASSED


def test_tokens_within_tokens_are_as_many_as_headers_may_be(call):
    nested, numbers = token(call.original()), [B]
    for step in range(6):
        numbers.append(f"121555510{step:02d}")
        nested = token(call.first(A, numbers[-2], numbers[-1], opt=nested))
    verdict = call.judged(f"{nested};info=<{call.second.x5u}>;ppt=div-o", dest=(numbers[-1],))
    assert len(nested) < 8192
    assert (verdict.verstat, len(verdict.results)) == (PASSED, 7)
    many = [call.first(A, B, f"121555520{n:02d}", opt=token(call.original())) for n in range(16)]
    crowded = call.judged(*many, dest=("12155552000",))
    assert len(crowded.results) <= 32
    assert crowded.verstat is not PASSED


# Broken chains ------------------------------------------------------------------------------------


def test_a_token_for_another_destination_does_not_pass_alone(call):
    verdict = call.judged(call.original(), to=(C,), dest=None)
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DEST_MISMATCH)


BROKEN = {
    "the target is another": (lambda c: (c.original(), c.first()), D),
    "a link is missing": (lambda c: (c.original(), c.then()), D),
    "the number that diverts is another": (lambda c: (c.original(), c.first(A, D)), C),
    "orig was changed": (lambda c: (c.original(), c.first("12155559999")), C),
    "orig was changed on the way": (
        lambda c: (c.original(), c.first("12155559999"), c.then()), D,
    ),
    "the outermost was altered": (lambda c: (c.original(), altered(c.first(), c.then())), C),
    "the first was altered": (
        lambda c: (c.original(), altered(c.first(), c.then()), c.then()), D,
    ),
    "a loop": (lambda c: (c.original(), c.first(), c.then(A, C, B), c.then()), D),
    "itself": (lambda c: (c.original(), c.first(A, B, B)), C),
}  # fmt: skip


def altered(identity, other):
    """With the signature of another token."""
    return identity.replace(token(identity)[-86:], token(other)[-86:])


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_chain_has_a_reason_of_its_own(call, what):
    made, dest = BROKEN[what]
    verdict = call.judged(*made(call), dest=(dest,))
    if what == "a loop":  # B to C to D: the way back to B is beside it
        assert (verdict.verstat, results(verdict)) == (PASSED, {B: PASSED, C: PASSED})
        return
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)
    assert (verdict.sip.code, verdict.failed) == (438, Check.DEST)
    assert PASSED not in results(verdict).values()
    assert verdict.attest is None
    assert call.conduct.observed == []


def test_a_loop_has_no_end(call):
    """B diverts to C and C to B: where the call goes now, nothing leads (RFC 8946 section 4.2)."""
    verdict = call.judged(call.original(), call.first(), call.then(A, C, B), to=(C,), dest=(C,))
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)
    back = call.judged(call.original(), call.first(), call.then(A, C, B), dest=(B,))
    assert back.verstat is PASSED  # A called B, and reaches B: no div is needed
    assert PASSED not in results(back).values()


def test_many_that_divert_to_each_other_are_told_apart_in_no_time(call):
    everybody = (B, C, D)
    steps = [call.first(A, one, two) for one, two in itertools.permutations(everybody, 2)] * 2
    verdict = call.judged(call.original(A, *everybody), *steps, dest=("12155550777",), to=(B,))
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)


@pytest.mark.parametrize("dest", [(C,), None])
def test_a_div_alone_says_nothing_of_the_caller(call, dest):
    """A proxy on the way left the original out."""
    verdict = call.judged(call.first(), dest=dest, to=(C,))
    assert told(verdict) == (NONE, Reason.DIV_CHAIN_INCOMPLETE, {B: NONE})
    assert call.cache.asked == []


def test_a_div_alone_counts_as_no_signature_where_calls_are_to_be_signed(call):
    call.unsigned = UnsignedPolicy({}, {"US": Action.FAIL})
    verdict = call.judged(call.first())
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.SIGNATURE_MISSING)


def test_the_chain_of_a_type_that_is_not_supported_is_ignored(call):
    passport = call.carrier.call(A, B, iat=NOW).passport
    header = {"alg": "ES256", "ppt": "rph", "typ": "passport", "x5u": call.carrier.x5u}
    claims = {"dest": {"tn": [B]}, "iat": NOW, "orig": {"tn": A}, "rph": {"auth": ["ets.0"]}}
    other = remade(call.carrier, passport, claims, header).replace("ppt=shaken", "ppt=rph")
    verdict = call.judged(other, call.first())
    assert told(verdict) == (NONE, Reason.PPT_UNSUPPORTED, {B: NONE})
    beside = call.judged(call.original(), other, call.first())
    assert told(beside) == (PASSED, Reason.VERIFIED, {B: PASSED})


def test_a_div_that_the_request_cannot_place_does_no_harm(call):
    """To as it was, and nothing told of the Request-URI: the token is for To, as ever."""
    verdict = call.judged(call.original(), call.first(), dest=None)
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: NONE})


def test_to_is_not_enough_where_a_div_is_there_and_does_not_lead(call):
    verdict = call.judged(call.original(), call.first(A, B, D), dest=(C,), to=(B,))
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.DIV_CHAIN_BROKEN)


def test_who_is_diverted_without_a_div_is_labelled(call):
    verdict = call.judged(call.original(), dest=(C,))
    assert told(verdict) == (PASSED, Reason.VERIFIED, {})
    assert verdict.labels == (Label.DIVERSION_UNSIGNED,)
    call._verifier, call.replay = None, MemoryReplayStore()
    assert call.judged(call.original(), dest=(B,)).labels == ()


# Who may divert -----------------------------------------------------------------------------------


def test_a_certificate_for_numbers_must_cover_the_number_that_diverts(call):
    good, bad = call.second.delegate(TN(B)), call.second.delegate(TN(C), name="Other")
    call.others += [good, bad]
    for carrier, verstat in ((good, PASSED), (bad, FAILED)):
        call._verifier, call.replay = None, MemoryReplayStore()
        step = carrier.diverts(A, B, C, iat=NOW).signed()
        verdict = call.judged(call.original(), step)
        assert told(verdict)[0] is verstat
        assert results(verdict) == {B: verstat}
    assert verdict.reason is Reason.DIV_CHAIN_BROKEN
    assert verdict.results[1].refusal.reason is Reason.TNAUTHLIST_NOT_COVERED


def test_a_certificate_for_numbers_need_not_cover_the_caller_to_divert(call):
    """A signs by a certificate for A alone, B by one for B alone."""
    a, b = call.carrier.delegate(TN(A)), call.second.delegate(TN(B), name="B")
    call.others += [a, b]
    original = a.call(A, B, iat=NOW).signed()
    verdict = call.judged(original, b.diverts(A, B, C, iat=NOW).signed())
    assert told(verdict) == (PASSED, Reason.VERIFIED, {B: PASSED})


@pytest.mark.parametrize(("spcs", "verstat"), [(("5678",), PASSED), (("9012",), FAILED)])
def test_a_carrier_diverts_for_the_numbers_it_holds(call, spcs, verstat):
    call.registry.add(Holding(numbers=TNRange(TN(B), TN(B)), subject="forwarder", spcs=spcs))
    verdict = call.judged(call.original(), call.first())
    assert verdict.verstat is verstat
    assert results(verdict) == {B: verstat}
    if verstat is FAILED:
        assert (verdict.reason, verdict.failed) == (Reason.SPC_NOT_HOLDER, Check.DEST)


ORDERS = {
    "who diverts": (TargetKind.NUMBER, B),
    "its range": (TargetKind.RANGE, f"{B}-{B[:-1]}9"),
    "its holder": (TargetKind.SUBJECT, "forwarder"),
    "its carrier": (TargetKind.SPC, "5678"),
    "the caller": (TargetKind.NUMBER, A),
    "the caller's carrier": (TargetKind.SPC, "1234"),
}


@pytest.mark.parametrize("what", ORDERS)
def test_an_order_stops_a_number_whether_it_calls_or_diverts(call, what):
    call.registry.add(Holding(numbers=TNRange(TN(B), TN(B)), subject="forwarder", spcs=("5678",)))
    kind, target = ORDERS[what]
    call.registry.add(
        Order(
            id="o1",
            issuer="regulator",
            reference="ref",
            kind=kind,
            target=target,
            since=NOW - 1,
            number=1,
            token="token",
        )
    )
    verdict = call.judged(call.original(), call.first())
    assert (verdict.verstat, verdict.reason) == (FAILED, Reason.ORDERED)
    assert results(verdict)[B] is FAILED


def test_a_revoked_certificate_diverts_nothing(call):
    call.second.certificate.revoke()
    verdict = call.judged(call.original(), call.first())
    assert told(verdict) == (FAILED, Reason.DIV_CHAIN_BROKEN, {B: FAILED})


def test_what_cannot_be_checked_is_no_accusation(call):
    call.cache.empty = True
    missing = call.judged(call.original(), call.first())
    assert set(missing.urls) == {call.carrier.x5u, call.second.x5u}
    call.cache.empty = False
    call.cache.failures[call.second.x5u] = Failure(Reason.CERT_UNREACHABLE, "no route", NOW + 30)
    verdict = call.judged(call.original(), call.first())
    assert told(verdict) == (NONE, Reason.CERT_UNREACHABLE, {B: NONE})


def test_a_registry_that_is_away_is_left_out(call):
    call.registry = Gone()
    assert call.judged(call.original(), call.first()).verstat is PASSED


def test_a_replay_store_that_is_away_lets_nothing_pass(call):
    call.replay = Gone()
    verdict = call.judged(call.original(), call.first())
    assert told(verdict) == (NONE, Reason.REPLAY_UNKNOWN, {B: NONE})


def test_a_callee_who_is_reached_by_diversion_may_refuse_too(call):
    for callee in (B, C):
        call._verifier, call.replay = None, MemoryReplayStore()
        call.registry.records.clear()
        call.registry.add(CalleeRefusal(numbers=TNRange(TN(callee), TN(callee)), since=NOW - 1))
        call.consent = ConsentPolicy(Consent.REFUSE)
        verdict = call.judged(call.original(), call.first(), purpose="telemarketing")
        assert verdict.reason is Reason.CALLEE_REFUSES


# Fresh, and once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["original", "first", "then"])
@pytest.mark.parametrize("old", [61, 3600])
def test_every_token_of_a_chain_is_fresh(call, which, old):
    stale = {which: NOW - old}
    made = [getattr(call, name)(iat=stale.get(name, NOW)) for name in ("original", "first", "then")]
    verdict = call.judged(*made, dest=(D,))
    assert (verdict.verstat, verdict.reason) == (NONE, Reason.IAT_STALE)
    assert PASSED not in results(verdict).values()


def test_a_call_that_is_transferred_later_where_a_setting_permits(call):
    call.policy = ScreenPolicy(diverted_window=3600)
    made = call.original(iat=NOW - 3599), call.first(iat=NOW - 3500), call.then()
    assert call.judged(*made, dest=(D,)).verstat is PASSED
    again = call.judged(*made, dest=(D,))
    assert again.reason is Reason.REPLAYED
    for made in (  # the last token is always fresh, and none is from the future
        (call.original(iat=NOW - 3601), call.first(), call.then()),
        (call.original(), call.first(), call.then(iat=NOW - 61)),
        (call.original(iat=NOW + 61), call.first(), call.then()),
    ):
        assert call.judged(*made, dest=(D,)).reason is Reason.IAT_STALE
    assert call.judged(call.original(iat=NOW - 61), dest=(B,)).reason is Reason.IAT_STALE


def test_an_outdated_date_says_nothing_of_a_chain_that_is_fresh(call):
    request = msgspec.structs.replace(call.arrives(call.original(), call.first()), time=NOW - 70)
    assert call.ask(request).verstat is PASSED


def test_one_token_diverted_once_to_each_destination(call):
    """Who forwards may let several ring; each new div for the same callee is a replay."""
    original = call.original()
    assert call.judged(original, call.first()).verstat is PASSED
    assert call.judged(original, call.first(A, B, D), dest=(D,)).verstat is PASSED
    for _ in range(3):
        verdict = call.judged(original, call.first())
        assert told(verdict) == (FAILED, Reason.REPLAYED, {B: FAILED})


def test_the_call_to_who_diverts_is_another_than_the_diverted_one(call):
    original = call.original()
    assert call.judged(original, dest=None).verstat is PASSED
    assert call.judged(original, call.first()).verstat is PASSED
    assert call.judged(original, dest=None).reason is Reason.REPLAYED


def test_a_div_is_good_once_whatever_it_leads_from(call):
    step = call.first()
    assert call.judged(call.original(), step).verstat is PASSED
    verdict = call.judged(call.original(), step)
    assert told(verdict) == (FAILED, Reason.REPLAYED, {B: FAILED})


def test_forks_are_one_question(call):
    made = call.original(), call.first()
    request = call.arrives(*made, call_id="c1")
    assert call.ask(request).verstat is PASSED
    assert call.ask(request).verstat is PASSED
    assert call.ask(request, asker=b"other").reason is Reason.REPLAYED


# Whom it counts for -------------------------------------------------------------------------------


def test_a_diverted_call_counts_for_who_signed_for_the_caller_and_with_who_is_reached(call):
    call.judged(call.original(), call.first())
    (seen,) = call.conduct.observed
    assert (seen.display, seen.callee) == (A, C)
    assert {key.id.partition("/")[0] for key in seen.keys} == {"1234"}


def test_an_emergency_call_is_one_by_to_or_by_where_it_goes(call):
    """Networks put a number of who answers into the Request-URI, and leave To."""
    plan = Plan((), "US")
    for to, dest, emergency in (
        (("911",), (), True),
        (("911",), (TN(C),), True),
        ((B,), (TN(C),), False),
        ((B,), (), False),
        ((B,), (TN("911"),), True),
        (("911",), (URI("sip:psap@192.0.2.7"),), True),
    ):
        request = VerificationRequest(TN(A), tuple(map(TN, to)), NOW, (), dest=dest)
        assert to_emergency(request, plan) is emergency
