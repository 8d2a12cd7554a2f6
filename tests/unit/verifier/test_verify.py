"""The verification procedure on a simulated world: every check, its reason, and its place."""

from __future__ import annotations

import types

import msgspec
import pytest
from simulator import DAY, NOW, World

from certs import constraints
from certs.ca import name
from certs.profile import ProfilePolicy
from certs.repository import Failure
from certs.revocation import RevocationPolicy
from certs.trustlist import TrustList
from passport.claims import Destination, Header, PASSporT
from passport.errors import StoreUnavailableError
from passport.identity import IdentityHeader, parse_identity_header
from passport.jws import Token, b64url_decode, b64url_encode
from passport.ppt.shaken import Attestation
from passport.reasons import Reason, SipStatus, Verstat
from passport.tn import TN, URI, TNRange
from registry.model import Holding
from registry.snapshot import Snapshot
from stores.memory import MemoryReplayStore
from verifier import verify as procedure
from verifier.judge import Facts, judge
from verifier.request import VerificationRequest
from verifier.screen import ScreenPolicy
from verifier.token import VerifiedPASSporT
from verifier.verdict import Check
from verifier.verify import NeedCertificates, Trust, Verifier

ORIG, DEST = "12155550100", "12155550199"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Cache:
    """Chains as the world publishes them now; notes what was asked for and kept."""

    def __init__(self, world):
        self.world, self.asked, self.kept, self.failures, self.empty = world, [], [], {}, False
        self.carriers = {}

    def cached(self, x5u, now):
        self.asked.append(x5u)
        if x5u in self.failures:
            return self.failures[x5u]
        return None if self.empty else self.carriers[x5u].chain

    def keep(self, x5u):
        self.kept.append(x5u)


class Case:
    """A world with one carrier, and a verifier that looks at it."""

    def __init__(self):
        self.world = World()
        self.carrier = self.world.carrier("1234")
        self.cache = Cache(self.world)
        self.replay = MemoryReplayStore()
        self.registry = Snapshot()
        self.policy = ScreenPolicy()
        self.revocation = RevocationPolicy.REQUIRE
        self.verifier = None

    def trust(self):
        view = self.world.revocation(policy=self.revocation)
        return Trust(self.world.trust, view, ProfilePolicy())

    def ask(self, request, now=NOW, **more):
        for carrier in [self.carrier, *getattr(self, "others", [])]:
            self.cache.carriers[carrier.x5u] = carrier
        if self.verifier is None:
            self.verifier = Verifier(
                self.policy, self.cache, self.trust(), self.replay, self.registry
            )
        return self.verifier.verify(request, now, **more)

    def call(self, **more):
        return self.carrier.call(ORIG, DEST, **more)


@pytest.fixture
def case():
    return Case()


def test_a_good_call_passes_every_check(case):
    verdict = case.ask(case.call().arrives())
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
    assert verdict.attest is Attestation.A
    assert verdict.decisive.passed == tuple(Check)
    assert verdict.decisive.spc == "1234"
    assert verdict.failed is None
    assert verdict.reason_header is None
    assert verdict.sip is SipStatus.OK
    assert case.cache.kept == [case.carrier.x5u]


def forged(call, **claims):
    """The call's token with other claims and the signature as it was."""
    header = parse_identity_header(call.signed())
    passport = msgspec.structs.replace(call.passport, **claims)
    return header.expanded(passport).dumps()


def _no_identity(case):
    return VerificationRequest(TN(ORIG), (TN(DEST),), NOW)


def _syntax(case):
    return case.call().arrives("nonsense")


def _wrong_ppt(case):
    call = case.call()
    passport = msgspec.structs.replace(
        call.passport, header=Header(case.carrier.x5u), extension=None
    )
    return call.arrives(call._replace(passport=passport).signed().replace(';ppt="shaken"', ""))


def _compact(case):
    return case.call().arrives(parse_identity_header(case.call().signed()).compacted().dumps())


def _x5u(case):
    return case.call(x5u="https://10.0.0.1/chain.pem").arrives()


def _no_info(case):
    return case.call().arrives(case.call().signed().split(";")[0] + ";alg=ES256")


def _info_differs(case):
    return case.call().arrives(case.call().signed().replace("info=<https://", "info=<https://x."))


def _date(case):
    return case.call().arrives(time=NOW - 61)


def _iat(case):
    return case.call(iat=NOW - 61).arrives(time=NOW)


def _orig(case):
    call = case.call()
    return msgspec.structs.replace(call.arrives(), orig=TN("12155559999"))


def _dest(case):
    call = case.call()
    return msgspec.structs.replace(call.arrives(), to=(TN("12155559999"),))


def _unreachable(case):
    failure = Failure(Reason.CERT_UNREACHABLE, "no route", NOW + 30)
    case.cache.failures[case.carrier.x5u] = failure
    return case.call().arrives()


def _malformed(case):
    failure = Failure(Reason.CERT_MALFORMED, "a web page", NOW + 30)
    case.cache.failures[case.carrier.x5u] = failure
    return case.call().arrives()


def _certificate(action):
    def change(case):
        getattr(case.carrier.certificate, action)()
        return case.call().arrives()

    change.__name__ = action
    return change


def _profile(case):
    def renamed(builder):
        builder._subject_name = name("SHAKEN 9999")
        return builder

    case.carrier.certificate.change(renamed)
    return case.call().arrives()


def _stale_list(case):
    stale = case.world.crl(this_update=NOW - 2 * DAY, next_update=NOW - DAY)
    view = case.world.revocation(stale)
    trust = Trust(case.world.trust, view, ProfilePolicy())
    case.verifier = Verifier(case.policy, case.cache, trust, case.replay, case.registry)
    return case.call().arrives()


def _no_trust(case):
    trust = Trust(TrustList(), case.world.revocation(), ProfilePolicy())
    case.verifier = Verifier(case.policy, case.cache, trust, case.replay, case.registry)
    return case.call().arrives()


def _not_covered(case):
    case.carrier = case.carrier.delegate(TNRange(TN("12155550200"), TN("12155550299")))
    return case.call().arrives()


def _constrained(case):
    rule = _permit("attest", "B")
    case.carrier.certificate.change(
        lambda builder: builder.add_extension(
            constraints.x509.UnrecognizedExtension(constraints.OID, rule), critical=False
        )
    )
    return case.call().arrives()


def _permit(claim, value):
    def tlv(tag, content):
        return bytes([tag, len(content)]) + content

    entry = tlv(0x30, tlv(0x16, claim.encode()) + tlv(0x30, tlv(0x0C, value.encode())))
    return tlv(0x30, tlv(0xA1, tlv(0x30, entry)))


def _forged(case):
    call = case.call()
    return call.arrives(forged(call, iat=NOW - 1))


def _replayed(case):
    request = case.call().arrives()
    case.ask(request)
    return request


def _replay_unknown(case):
    case.replay = Unavailable()
    return case.call().arrives()


def _not_the_holder(case):
    numbers = TNRange(TN(ORIG), TN(ORIG))
    case.registry = Snapshot([Holding(numbers, "bank", spcs=("5678", "9999"))])
    return case.call().arrives()


class Unavailable:
    def first_seen(self, *_):
        raise StoreUnavailableError("gone")

    def holding(self, _):
        raise StoreUnavailableError("gone")


FAILED, NONE = Verstat.FAILED, Verstat.NONE
INVALID, CRED, INFO = (
    SipStatus.INVALID_IDENTITY,
    SipStatus.UNSUPPORTED_CREDENTIAL,
    SipStatus.BAD_INFO,
)
SCENARIOS = [
    (_no_identity, Check.IDENTITY, Reason.NO_IDENTITY, NONE, SipStatus.USE_IDENTITY),
    (_syntax, Check.SYNTAX, Reason.INFO_MISSING, NONE, INFO),
    (_no_info, Check.SYNTAX, Reason.INFO_MISSING, NONE, INFO),
    (_wrong_ppt, Check.SYNTAX, Reason.PPT_UNSUPPORTED, NONE, INVALID),
    (_compact, Check.SYNTAX, Reason.COMPACT_NOT_ALLOWED, NONE, INVALID),
    (_info_differs, Check.SYNTAX, Reason.X5U_MISMATCH, NONE, INFO),
    (_x5u, Check.X5U, Reason.X5U_POLICY, NONE, INFO),
    (_date, Check.DATE, Reason.DATE_STALE, NONE, SipStatus.STALE_DATE),
    (_iat, Check.IAT, Reason.IAT_STALE, NONE, SipStatus.STALE_DATE),
    (_orig, Check.ORIG, Reason.ORIG_MISMATCH, FAILED, INVALID),
    (_dest, Check.DEST, Reason.DEST_MISMATCH, FAILED, INVALID),
    (_unreachable, Check.CERTIFICATE, Reason.CERT_UNREACHABLE, NONE, INFO),
    (_malformed, Check.CERTIFICATE, Reason.CERT_MALFORMED, NONE, INFO),
    (_certificate("expire"), Check.CHAIN, Reason.CERT_EXPIRED, FAILED, CRED),
    (_certificate("not_yet_valid"), Check.CHAIN, Reason.CERT_NOT_YET_VALID, FAILED, CRED),
    (_certificate("untrusted"), Check.CHAIN, Reason.CERT_UNTRUSTED, FAILED, CRED),
    (_certificate("missing_intermediate"), Check.CHAIN, Reason.CERT_UNTRUSTED, FAILED, CRED),
    (_certificate("revoke"), Check.CHAIN, Reason.CERT_REVOKED, FAILED, CRED),
    (_certificate("drop_tnauthlist"), Check.CHAIN, Reason.TNAUTHLIST_MISSING, FAILED, CRED),
    (_profile, Check.CHAIN, Reason.CERT_PROFILE, FAILED, CRED),
    (_no_trust, Check.CHAIN, Reason.CERT_UNTRUSTED, FAILED, CRED),
    (_stale_list, Check.CHAIN, Reason.CRL_UNAVAILABLE, NONE, CRED),
    (_not_covered, Check.TNAUTHLIST, Reason.TNAUTHLIST_NOT_COVERED, FAILED, CRED),
    (_constrained, Check.CONSTRAINTS, Reason.CLAIM_CONSTRAINED, FAILED, INVALID),
    (_certificate("wrong_key"), Check.SIGNATURE, Reason.SIGNATURE_INVALID, FAILED, INVALID),
    (_forged, Check.SIGNATURE, Reason.SIGNATURE_INVALID, FAILED, INVALID),
    (_replayed, Check.REPLAY, Reason.REPLAYED, FAILED, INVALID),
    (_replay_unknown, Check.REPLAY, Reason.REPLAY_UNKNOWN, NONE, INVALID),
    (_not_the_holder, Check.HOLDER, Reason.SPC_NOT_HOLDER, FAILED, CRED),
]


@pytest.mark.parametrize(("scenario", "check", "reason", "verstat", "sip"), SCENARIOS)
def test_each_failure_has_its_check_reason_and_code(case, scenario, check, reason, verstat, sip):
    request = scenario(case)
    case.cache.kept.clear()
    verdict = case.ask(request)
    assert (verdict.failed, verdict.reason, verdict.verstat, verdict.sip) == (
        check,
        reason,
        verstat,
        sip,
    )
    assert verdict.attest is None
    assert verdict.detail
    header = f'STIR;cause={sip.code};text="{sip.phrase}"'
    assert verdict.reason_header.startswith(header)
    if verdict.decisive is not None:
        order = tuple(Check)
        assert verdict.decisive.passed == order[: order.index(check)]
    genuine = check in (Check.REPLAY, Check.HOLDER)
    assert bool(case.cache.kept) is genuine


def test_every_check_fails_in_some_scenario():
    assert {check for _, check, *_ in SCENARIOS} == set(Check)


def test_every_reason_of_judging_appears():
    """Reasons of syntax have tests of their own beside the parsers."""
    judged = {reason for _, _, reason, *_ in SCENARIOS}
    beyond_syntax = {
        reason
        for reason in Reason
        if reason.verstat is Verstat.FAILED or reason.sip is SipStatus.STALE_DATE
    }
    assert beyond_syntax - judged == {Reason.TNAUTHLIST_INVALID}  # tests/unit/certs/test_chain.py


# One check removed turns a scenario green: each is caught by its check alone -------------------


def _always_first(*_):
    return True


REMOVALS = [
    (_certificate("wrong_key"), lambda _, m: _no_signatures(m)),
    (_forged, lambda _, m: _no_signatures(m)),
    (_constrained, lambda _, m: m.setattr("certs.chain.constraints_of", lambda _: ())),
    (_not_the_holder, lambda case, _: setattr(case, "registry", Snapshot())),
]


def _no_signatures(monkeypatch):
    monkeypatch.setattr("passport.jws.VerifyingKey.verifies", lambda *_: True)


@pytest.mark.parametrize(("scenario", "remove"), REMOVALS)
def test_without_its_check_a_scenario_passes(case, scenario, remove, monkeypatch):
    request = scenario(case)
    remove(case, monkeypatch)
    assert case.ask(request).verstat is Verstat.PASSED


def test_without_its_window_a_stale_call_passes(case):
    for scenario, policy in (
        (_date, ScreenPolicy(date_window=10**6)),
        (_iat, ScreenPolicy(iat_window=10**6)),
    ):
        fresh = Case()
        fresh.policy = policy
        assert fresh.ask(scenario(fresh)).verstat is Verstat.PASSED


def test_without_the_replay_check_a_replay_passes(case):
    request = _replayed(case)
    case.replay.first_seen = _always_first
    case.verifier._replay = case.replay
    assert case.ask(request).verstat is Verstat.PASSED


# Order and several headers ----------------------------------------------------------------------


def test_the_first_check_that_fails_is_the_reason(case):
    case.carrier.certificate.revoke()
    case.carrier.certificate.wrong_key()
    request = msgspec.structs.replace(_date(case), orig=TN("12155559999"))
    assert case.ask(request).reason is Reason.DATE_STALE
    request = msgspec.structs.replace(request, time=NOW)
    assert case.ask(request).reason is Reason.ORIG_MISMATCH
    request = msgspec.structs.replace(request, orig=TN(ORIG))
    assert case.ask(request).reason is Reason.CERT_REVOKED


def test_cheap_checks_ask_for_no_certificate(case):
    for scenario in (_syntax, _x5u, _date, _iat, _orig, _dest):
        fresh = Case()
        fresh.ask(scenario(fresh))
        assert fresh.cache.asked == []


def test_a_bad_header_beside_a_good_one_does_no_harm(case):
    call = case.call()
    for bad in ("nonsense", forged(call, iat=NOW - 1), "a.b.c;info=<https://x.example/>"):
        fresh = Case()
        good = fresh.call()
        for identities in ((bad, good.signed()), (good.signed(), bad)):
            verdict = fresh.ask(good.arrives(*identities))
            assert verdict.verstat is Verstat.PASSED
            assert len(verdict.results) == 2
        joined = fresh.ask(good.arrives(f"{bad}, {good.signed()}"))
        assert joined.verstat is Verstat.PASSED


def test_the_gravest_failure_wins_then_the_first(case):
    call = case.call()
    verdict = case.ask(
        call.arrives("nonsense;info=<https://x.example/>", forged(call, iat=NOW - 2))
    )
    assert verdict.reason is Reason.SIGNATURE_INVALID
    two = case.ask(call.arrives(forged(call, iat=NOW - 61), "x.y.z;info=<https://x.example/>"))
    assert two.reason is Reason.IAT_STALE
    unsupported = case.ask(call.arrives(_wrong_ppt(case).identities[0], forged(call, iat=NOW - 61)))
    assert unsupported.reason is Reason.IAT_STALE


def test_one_token_twice_in_one_call_is_no_replay_of_itself(case):
    call = case.call()
    signed = call.signed()
    assert case.ask(call.arrives(signed, signed)).verstat is Verstat.PASSED


def test_too_many_headers_are_refused(case):
    call = case.call()
    verdict = case.ask(call.arrives(*["x"] * 17))
    assert verdict.reason is Reason.TOO_MANY_IDENTITIES


def test_a_fresh_iat_may_differ_from_date(case):
    assert case.ask(case.call(iat=NOW - 50).arrives(time=NOW + 50)).verstat is Verstat.PASSED


def test_windows_end_where_they_say(case):
    for offset, passes in ((60, True), (61, False), (-60, True), (-61, False)):
        fresh = Case()
        verdict = fresh.ask(fresh.call(iat=NOW + offset).arrives(time=NOW))
        assert (verdict.verstat is Verstat.PASSED) is passes
        fresh = Case()
        verdict = fresh.ask(fresh.call().arrives(time=NOW + offset))
        assert (verdict.verstat is Verstat.PASSED) is passes


def test_all_called_numbers_must_be_signed_for(case):
    call = case.carrier.call(ORIG, DEST, "12155550198")
    assert case.ask(call.arrives()).verstat is Verstat.PASSED
    one = msgspec.structs.replace(
        case.carrier.call(ORIG, DEST, "12155550198").arrives(), to=(TN(DEST),)
    )
    assert case.ask(one).verstat is Verstat.PASSED
    more = msgspec.structs.replace(case.call().arrives(), to=(TN(DEST), TN("12155550198")))
    assert case.ask(more).reason is Reason.DEST_MISMATCH


# Certificates, trust, time ----------------------------------------------------------------------


def test_a_missing_certificate_is_asked_for_once_then_given(case):
    case.cache.empty = True
    request = case.call().arrives()
    assert case.ask(request) == NeedCertificates((case.carrier.x5u,))
    assert not len(case.replay)
    verdict = case.ask(request, fetched={case.carrier.x5u: case.carrier.chain})
    assert verdict.verstat is Verstat.PASSED
    failure = Failure(Reason.CERT_UNREACHABLE, "no route", NOW)
    refused = case.ask(case.call().arrives(), fetched={case.carrier.x5u: failure})
    assert (refused.verstat, refused.reason) == (Verstat.NONE, Reason.CERT_UNREACHABLE)


def test_several_missing_certificates_are_asked_for_together(case):
    case.cache.empty = True
    other = case.world.carrier("5678")
    call = case.call()
    identities = (call.signed(), other.call(ORIG, DEST).signed(), call.signed())
    assert case.ask(call.arrives(*identities)) == NeedCertificates((case.carrier.x5u, other.x5u))


def test_only_a_genuine_token_enters_the_replay_store(case):
    for scenario in (_forged, _certificate("wrong_key"), _orig, _certificate("revoke")):
        fresh = Case()
        fresh.ask(scenario(fresh))
        assert len(fresh.replay) == 0


def test_chains_are_validated_once_until_trust_changes(case, monkeypatch):
    validated = []
    real = procedure.validate
    monkeypatch.setattr(procedure, "validate", lambda *a, **k: validated.append(1) or real(*a, **k))
    for _ in range(3):
        assert case.ask(case.call().arrives()).verstat is Verstat.PASSED
    assert len(validated) == 1
    case.carrier.certificate.revoke()
    assert case.ask(case.call().arrives()).verstat is Verstat.PASSED  # the list is not read yet
    case.verifier.trust = case.trust()
    assert case.ask(case.call().arrives()).reason is Reason.CERT_REVOKED
    assert len(validated) == 2


def test_what_is_remembered_ends_with_the_list_it_rests_on(case):
    assert case.ask(case.call().arrives()).verstat is Verstat.PASSED
    later = NOW + DAY + 1
    request = case.call(iat=later).arrives(time=later)
    assert case.ask(request, now=later).reason is Reason.CRL_UNAVAILABLE


def test_a_clock_that_steps_back_does_not_use_what_is_not_valid_yet(case):
    assert case.ask(case.call().arrives()).verstat is Verstat.PASSED
    before = NOW - 2 * DAY
    request = case.call(iat=before).arrives(time=before)
    assert case.ask(request, now=before).reason is Reason.CERT_NOT_YET_VALID


def test_a_refused_chain_is_looked_at_again_soon(case):
    case.carrier.certificate.not_yet_valid()
    assert case.ask(case.call().arrives()).reason is Reason.CERT_NOT_YET_VALID
    later = NOW + 61
    request = case.call(iat=later).arrives(time=later)
    assert case.ask(request, now=later).verstat is Verstat.PASSED


def test_remembered_chains_are_bounded(case, monkeypatch):
    monkeypatch.setattr(procedure, "MAX_REMEMBERED_CHAINS", 3)
    for _ in range(6):
        case.carrier.renew()
        assert case.ask(case.call().arrives()).verstat is Verstat.PASSED
    assert len(case.verifier._signers) == 3


def test_prefer_passes_with_a_note(case):
    trust = Trust(
        case.world.trust,
        case.world.revocation(
            case.world.crl(this_update=NOW - 2 * DAY, next_update=NOW - DAY),
            policy=RevocationPolicy.PREFER,
        ),
        ProfilePolicy(),
    )
    case.verifier = Verifier(case.policy, case.cache, trust, case.replay, case.registry)
    verdict = case.ask(case.call().arrives())
    assert verdict.verstat is Verstat.PASSED
    assert "revocation" in verdict.decisive.notes[0]


def test_a_delegate_signs_for_its_numbers_only(case):
    case.carrier = case.carrier.delegate(TNRange(TN("12155550100"), TN("12155550150")))
    verdict = case.ask(case.call().arrives())
    assert verdict.verstat is Verstat.PASSED
    assert verdict.decisive.spc is None
    outside = case.carrier.call("12155550151", DEST).arrives()
    assert case.ask(outside).reason is Reason.TNAUTHLIST_NOT_COVERED


# Replay -----------------------------------------------------------------------------------------


def test_the_same_call_may_be_asked_about_again(case):
    call = case.call()
    signed = call.signed()
    assert case.ask(call.arrives(signed, call_id="a")).verstat is Verstat.PASSED
    assert case.ask(call.arrives(signed, call_id="a")).verstat is Verstat.PASSED
    assert case.ask(call.arrives(signed, call_id="b")).reason is Reason.REPLAYED
    assert case.ask(call.arrives(signed)).reason is Reason.REPLAYED


def test_a_mirrored_signature_verifies_and_is_still_a_replay(case):
    call = case.call()
    header = parse_identity_header(call.signed())
    assert case.ask(call.arrives(header.dumps())).verstat is Verstat.PASSED
    octets = b64url_decode(header.token.signature, "signature")
    s = (P256_ORDER - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    mirrored = Token(header.token.header, header.token.payload, b64url_encode(octets[:32] + s))
    twin = IdentityHeader(mirrored, header.info, header.alg, header.ppt)
    assert case.ask(call.arrives(twin.dumps())).reason is Reason.REPLAYED


def test_two_calls_of_one_second_are_two(case):
    call = case.call()
    assert case.ask(call.arrives(call.signed())).verstat is Verstat.PASSED
    assert case.ask(call.arrives(call.signed())).verstat is Verstat.PASSED


# Holder and registry ----------------------------------------------------------------------------


def test_the_holder_counts_only_where_the_registry_says_where(case):
    numbers = TNRange(TN(ORIG), TN(ORIG))
    for spcs in ((), ("1234",), ("9", "1234")):
        fresh = Case()
        fresh.registry = Snapshot([Holding(numbers, "bank", spcs=spcs)])
        assert fresh.ask(fresh.call().arrives()).verstat is Verstat.PASSED


def test_an_unavailable_registry_leaves_the_holder_out(case):
    case.registry = Unavailable()
    assert case.ask(case.call().arrives()).verstat is Verstat.PASSED


# Compact form and URIs --------------------------------------------------------------------------


def baseline(case, orig=None):
    passport = PASSporT(Header(case.carrier.x5u), orig or TN(ORIG), Destination((TN(DEST),)), NOW)
    header = b64url_encode(passport.header.dumps())
    payload = b64url_encode(passport.payload())
    signature = b64url_encode(case.carrier.key.sign(header + b"." + payload))
    return IdentityHeader(Token(header, payload, signature), case.carrier.x5u, "ES256")


def test_the_compact_form_is_rebuilt_from_the_call(case):
    case.policy = ScreenPolicy(types=frozenset({"shaken", None}))
    compact = baseline(case).compacted().dumps()
    assert compact.startswith("..")
    request = VerificationRequest(TN(ORIG), (TN(DEST),), NOW, (compact,))
    verdict = case.ask(request)
    assert verdict.verstat is Verstat.PASSED
    assert verdict.attest is None
    for changed in (
        {"orig": TN("12155559999")},
        {"to": (TN("12155559999"),)},
        {"time": NOW + 1},
    ):
        other = msgspec.structs.replace(request, **changed)
        assert case.ask(other).reason is Reason.SIGNATURE_INVALID


def test_full_and_compact_form_agree(case):
    case.policy = ScreenPolicy(types=frozenset({None}))
    for orig in (TN(ORIG), URI("sip:alice@example.com")):
        header = baseline(case, orig)
        for form in (header, header.compacted()):
            fresh = Case()
            fresh.world, fresh.carrier, fresh.policy = case.world, case.carrier, case.policy
            request = VerificationRequest(orig, (TN(DEST),), NOW, (form.dumps(),))
            assert fresh.ask(request).verstat is Verstat.PASSED


# Values -----------------------------------------------------------------------------------------


def test_a_verdict_has_no_truth_value(case):
    with pytest.raises(TypeError):
        bool(case.ask(case.call().arrives()))


def test_a_verified_passport_is_made_by_its_step_alone(case):
    call = case.call()
    header = parse_identity_header(call.signed())
    with pytest.raises(RuntimeError):
        VerifiedPASSporT(header, call.passport, b"", None, object())


def test_judging_without_knowing_replay_never_passes():
    signed = types.SimpleNamespace(signer=types.SimpleNamespace(spc="1234"))
    assert judge(signed, Facts(None)).reason is Reason.REPLAY_UNKNOWN
    assert judge(signed, Facts(True)) is None


# What mutants showed to be unwatched ------------------------------------------------------------


def test_a_screened_out_header_before_a_good_one_does_no_harm(case):
    call = case.call()
    stale = case.call(iat=NOW - 61).signed()
    assert case.ask(call.arrives(stale, call.signed())).verstat is Verstat.PASSED


def test_a_replay_is_known_to_the_last_second_of_its_freshness(case):
    call = case.call()
    signed = call.signed()
    assert case.ask(call.arrives(signed)).verstat is Verstat.PASSED
    request = call.arrives(signed, time=NOW + 60)
    assert case.ask(request, now=NOW + 60).reason is Reason.REPLAYED


def test_details_say_how_far_apart(case):
    assert case.ask(_date(case)).detail.startswith("Date is 61 s before now; 60 s")
    late = case.call(iat=NOW + 70).arrives(time=NOW)
    assert case.ask(late).detail.startswith("iat is 70 s after now; 60 s")
    assert "baseline" in case.ask(_wrong_ppt(case)).detail
    other = Case()
    assert "5678, 9999" in other.ask(_not_the_holder(other)).detail


def test_results_tell_type_header_signer_and_notes(case):
    call = case.call()
    altered = forged(call, iat=NOW - 1)
    verdict = case.ask(call.arrives("nonsense", altered))
    first, second = verdict.results
    assert (first.ppt, first.identity, first.spc, first.notes) == (None, "nonsense", None, ())
    assert (second.ppt, second.spc, second.notes) == ("shaken", "1234", ())
    assert second.identity == altered
    assert second.passport.iat == NOW - 1
    good = case.ask(call.arrives())
    assert good.results == (good.decisive,)
    assert good.detail == Reason.VERIFIED.text
    replayed = case.ask(_replayed(case))
    assert replayed.decisive.spc == "1234"


def test_too_many_headers_name_the_check(case):
    verdict = case.ask(case.call().arrives(*["x"] * 17))
    assert (verdict.failed, verdict.decisive.passed) == (Check.SYNTAX, (Check.IDENTITY,))
    assert verdict.decisive.identity == "x"
    assert "17" in verdict.detail


def test_the_profile_in_force_is_the_one_of_trust(case):
    def unnamed(builder):
        builder._subject_name = name("Carrier")
        return builder

    case.carrier.certificate.change(unnamed)
    assert case.ask(case.call().arrives()).verstat is Verstat.PASSED
    case.verifier.trust = msgspec.structs.replace(
        case.verifier.trust, profile=ProfilePolicy(strict=True)
    )
    assert case.ask(case.call().arrives()).reason is Reason.CERT_PROFILE


def test_a_trusted_chain_is_remembered_longer_than_a_refused_one(case, monkeypatch):
    validated = []
    real = procedure.validate
    monkeypatch.setattr(procedure, "validate", lambda *a, **k: validated.append(1) or real(*a, **k))
    for now in (NOW, NOW + procedure.UNTRUSTED_FOR + 5):
        assert case.ask(case.call(iat=now).arrives(time=now), now=now).verstat is Verstat.PASSED
    assert len(validated) == 1
    case.carrier.certificate.untrusted()
    for now in (NOW, NOW + procedure.UNTRUSTED_FOR - 1, NOW + procedure.UNTRUSTED_FOR):
        request = case.call(iat=now).arrives(time=now)
        assert case.ask(request, now=now).reason is Reason.CERT_UNTRUSTED
    assert len(validated) == 3


def test_a_uri_has_no_holder(case):
    case.policy = ScreenPolicy(types=frozenset({None}))
    case.registry = Snapshot([Holding(TNRange(TN(ORIG), TN(ORIG)), "bank", spcs=("9",))])
    orig = URI("sip:alice@example.com")
    request = VerificationRequest(orig, (TN(DEST),), NOW, (baseline(case, orig).dumps(),))
    assert case.ask(request).verstat is Verstat.PASSED
