"""What is remembered of chains, and what ends it: new trust, time, the bound."""

from __future__ import annotations

import pytest
from cryptography import x509
from simulator import DAY, NOW
from verification import DEST, ORIG, Case

from zhenxian.certs.ca import Authority
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.repository import MAX_CHAINS, Failure
from zhenxian.certs.revocation import RevocationPolicy
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import SIGNERS
from zhenxian.verifier import trust as remembering
from zhenxian.verifier.opened import NeedCertificates
from zhenxian.verifier.trust import Signers, Trust
from zhenxian.verifier.verdict import Check


@pytest.fixture
def validated(monkeypatch):
    """The chains that were validated, in order."""
    seen = []
    real = remembering.validate

    def noting(chain, **more):
        seen.append(chain.digest)
        return real(chain, **more)

    monkeypatch.setattr(remembering, "validate", noting)
    return seen


def at(case, time):
    """A fresh call at a time."""
    case.iat = case.time = time
    return case.ask(now=time)


def test_a_missing_certificate_is_asked_for_then_given(case):
    case.cache.empty = True
    request = case.request()
    assert case.ask(request) == NeedCertificates((case.carrier.x5u,))
    assert len(case.replay) == 0
    verdict = case.ask(request, fetched={case.carrier.x5u: case.carrier.chain})
    assert verdict.verstat is Verstat.PASSED


def test_what_was_fetched_goes_before_the_cache(case):
    failure = Failure(Reason.CERT_UNREACHABLE, "no route", NOW)
    verdict = case.ask(fetched={case.carrier.x5u: failure})
    assert (verdict.failed, verdict.reason) == (Check.CERTIFICATE, Reason.CERT_UNREACHABLE)
    assert verdict.detail == "no route"
    case.cache.failures[case.carrier.x5u] = failure
    verdict = case.ask(fetched={case.carrier.x5u: case.carrier.chain})
    assert verdict.verstat is Verstat.PASSED


def test_what_was_fetched_for_another_url_is_not_used(case):
    case.cache.empty = True
    other = case.world.carrier("5678")
    asked = case.ask(fetched={other.x5u: other.chain})
    assert asked == NeedCertificates((case.carrier.x5u,))


def test_a_chain_is_validated_once(case, validated):
    for _ in range(3):
        assert case.ask().verstat is Verstat.PASSED
    assert len(validated) == 1


def test_a_new_revocation_list_counts_from_the_next_call_on(case, validated):
    assert case.ask().verstat is Verstat.PASSED
    case.carrier.certificate.revoke()
    assert case.ask().verstat is Verstat.PASSED  # the list is published, not read yet
    case.verifier.trust = case.trust()
    assert case.ask().reason is Reason.CERT_REVOKED
    assert case.ask().reason is Reason.CERT_REVOKED
    assert len(validated) == 2


def test_a_new_trust_list_counts_from_the_next_call_on(case):
    assert case.ask().verstat is Verstat.PASSED
    case.roots = TrustList()
    case.verifier.trust = case.trust()
    assert case.ask().reason is Reason.CERT_UNTRUSTED
    case.roots = case.world.trust
    case.verifier.trust = case.trust()
    assert case.ask().verstat is Verstat.PASSED


def test_a_new_profile_counts_from_the_next_call_on(case):
    assert case.ask().verstat is Verstat.PASSED
    lenient = case.verifier.trust
    strict = Trust(lenient.roots, lenient.revocation, ProfilePolicy(strict=True))
    case.carrier.certificate.change(_without_policy)
    assert case.ask().verstat is Verstat.PASSED
    case.verifier.trust = strict
    assert case.ask().reason is Reason.CERT_PROFILE


def _without_policy(builder):
    kept = [e for e in builder._extensions if not isinstance(e.value, x509.CertificatePolicies)]
    builder._extensions = kept
    return builder


def test_the_lists_next_update_ends_what_is_remembered(case, validated):
    assert at(case, NOW).verstat is Verstat.PASSED
    assert at(case, NOW + DAY - 1).verstat is Verstat.PASSED
    assert len(validated) == 1
    assert at(case, NOW + DAY).reason is Reason.CRL_UNAVAILABLE


def test_the_certificates_end_ends_what_is_remembered(case, validated):
    case.lists = (case.world.crl(next_update=NOW + 365 * DAY),)
    end = NOW + 90 * DAY
    assert at(case, NOW).verstat is Verstat.PASSED
    assert at(case, end - 1).verstat is Verstat.PASSED
    assert len(validated) == 1
    assert at(case, end).verstat is Verstat.PASSED  # its last second (RFC 5280 section 4.1.2.5)
    assert len(validated) == 2
    assert at(case, end + 1).reason is Reason.CERT_EXPIRED


def test_an_intermediates_end_ends_what_is_remembered(case):
    case.lists = (case.world.crl(next_update=NOW + 365 * DAY),)
    certificate = case.carrier.certificate
    certificate.authority = case.world.root.create_intermediate(
        "SHAKEN brief", not_before=NOW - DAY, not_after=NOW + 60
    )
    certificate.reissue()
    assert at(case, NOW).verstat is Verstat.PASSED
    assert at(case, NOW + 61).reason is Reason.CERT_EXPIRED


def test_a_clock_set_back_does_not_use_what_is_not_valid_yet(case):
    assert at(case, NOW).verstat is Verstat.PASSED
    assert at(case, NOW - DAY).verstat is Verstat.PASSED  # its first second
    assert at(case, NOW - DAY - 1).reason is Reason.CERT_NOT_YET_VALID


def test_a_refused_chain_is_looked_at_again_soon(case, validated):
    case.carrier.certificate.not_yet_valid()
    begin = NOW + 60
    for time, reason, looks in (
        (begin - 11, Reason.CERT_NOT_YET_VALID, 1),
        (begin - 2, Reason.CERT_NOT_YET_VALID, 1),  # remembered for ten seconds
        (begin - 1, Reason.CERT_NOT_YET_VALID, 2),
        (begin, Reason.CERT_NOT_YET_VALID, 2),
        (begin + 9, Reason.VERIFIED, 3),
    ):
        assert at(case, time).reason is reason
        assert len(validated) == looks


def test_a_refusal_by_a_clock_that_was_ahead_ends_when_it_is_set_right(case):
    """Years ahead, as a machine without a clock battery may start."""
    assert at(case, NOW + 5 * 365 * DAY).reason is Reason.CERT_EXPIRED
    assert at(case, NOW).verstat is Verstat.PASSED


def test_a_renewed_certificate_at_the_same_url_is_another_chain(case, validated):
    assert case.ask().verstat is Verstat.PASSED
    case.carrier.renew()
    assert case.ask().verstat is Verstat.PASSED
    assert len(set(validated)) == 2


def test_what_is_remembered_is_bounded_and_what_is_in_use_stays(case, validated, monkeypatch):
    monkeypatch.setattr(case.verifier, "_signers", Signers(3))
    stranger = case.world.carrier("5678")
    stranger.certificate.untrusted()
    case.others = [stranger]
    own, theirs_so_far = case.carrier.chain.digest, []
    for _ in range(6):
        assert case.ask().verstat is Verstat.PASSED
        stranger.renew()
        theirs_so_far.append(stranger.chain.digest)
        theirs = case.request(stranger.call(ORIG, DEST).signed())
        assert case.ask(theirs).reason is Reason.CERT_UNTRUSTED
        # the oldest goes first, and what was used again counts as new
        assert list(case.verifier._signers._remembered) == [
            *theirs_so_far[-2:-1],
            own,
            theirs_so_far[-1],
        ]
    assert validated.count(own) == 1


def test_prefer_passes_without_a_list_and_says_so(case):
    case.lists = (case.world.crl(this_update=NOW - 2 * DAY, next_update=NOW - DAY),)
    case.revocation = RevocationPolicy.PREFER
    verdict = case.ask()
    assert verdict.verstat is Verstat.PASSED
    assert verdict.decisive.notes == (
        "revocation was not checked: no fresh list, and the policy permits that",
    )


def test_a_key_that_may_have_been_replaced_is_asked_for_behind_the_answer(case):
    x5u = case.carrier.x5u
    case.carrier.certificate.wrong_key()
    for request in (case.request(), case.request()):
        verdict = case.ask(request)
        assert verdict.reason is Reason.SIGNATURE_INVALID
    assert case.cache.suspected == [x5u, x5u]  # the cache tells how often is enough
    # A chain that was fetched for this very call is what its host serves now.
    case.ask(case.request(), fetched={x5u: case.carrier.chain})
    assert case.cache.suspected == [x5u, x5u]


def test_a_revoked_certificate_may_have_been_replaced(case):
    case.carrier.certificate.revoke()
    assert case.ask().reason is Reason.CERT_REVOKED
    assert case.cache.suspected == [case.carrier.x5u]


def more_usages(builder):
    usages = x509.KeyUsage(True, True, True, False, False, False, False, False, False)
    builder._extensions = [
        item for item in builder._extensions if not isinstance(item.value, x509.KeyUsage)
    ]
    return builder.add_extension(usages, critical=True)


def test_a_departure_from_the_profile_is_a_note(case):
    case.carrier.certificate.change(more_usages)
    verdict = case.ask()
    assert verdict.verstat is Verstat.PASSED
    (departure,) = verdict.decisive.signer.departures
    assert (departure.role, departure.code) == ("leaf", "KEY_USAGE_OTHERS")
    assert verdict.decisive.notes == (departure.text,)
    assert "nonRepudiation, keyEncipherment" in departure.text


def test_under_the_strict_profile_a_departure_refuses(case):
    case.profile = ProfilePolicy(strict=True)
    assert case.ask().verstat is Verstat.PASSED
    case.carrier.certificate.change(more_usages)
    verdict = case.ask()
    assert (verdict.verstat, verdict.reason) == (Verstat.FAILED, Reason.CERT_PROFILE)


def test_prefer_still_refuses_what_is_revoked(case):
    case.carrier.certificate.revoke()
    case.lists = (case.world.crl(this_update=NOW - 2 * DAY, next_update=NOW - DAY),)
    case.revocation = RevocationPolicy.PREFER
    assert case.ask().reason is Reason.CERT_REVOKED


# What a certificate may speak for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("orig", "reason"),
    [
        ("12155550099", Reason.TNAUTHLIST_NOT_COVERED),
        ("12155550100", Reason.VERIFIED),
        ("12155550150", Reason.VERIFIED),
        ("12155550151", Reason.TNAUTHLIST_NOT_COVERED),
        ("12155550177", Reason.VERIFIED),
        ("1215555010", Reason.TNAUTHLIST_NOT_COVERED),
    ],
)
def test_a_delegate_signs_for_its_numbers_only(case, orig, reason):
    numbers = TNRange(TN("12155550100"), TN("12155550150"))
    case.carrier = case.carrier.delegate(numbers, TN("12155550177"))
    verdict = case.ask(case.carrier.call(orig, DEST).arrives())
    assert verdict.reason is reason
    assert verdict.decisive.spc is None


def test_a_code_speaks_for_any_number(case):
    for orig in ("12155550100", "8613800138000"):
        assert case.ask(case.carrier.call(orig, DEST).arrives()).verstat is Verstat.PASSED


def test_a_delegate_does_not_reach_beyond_who_delegates_to_it(case):
    narrow = case.carrier.delegating_authority(TNRange(TN("12155550100"), TN("12155550109")))
    delegate = case.carrier.delegate(TNRange(TN("12155550100"), TN("12155550199")))
    delegate.certificate.authority = narrow
    delegate.certificate.reissue()
    case.carrier = delegate
    verdict = case.ask()
    assert (verdict.failed, verdict.reason) == (Check.CHAIN, Reason.TNAUTHLIST_NOT_COVERED)


def test_a_root_of_the_same_name_is_not_the_root(case):
    twin = Authority.create_root(not_before=NOW - DAY, not_after=NOW + DAY)
    assert twin.certificate.subject == case.world.root.certificate.subject
    case.carrier.certificate.authority = twin
    case.carrier.certificate.reissue()
    assert case.ask().reason is Reason.CERT_UNTRUSTED


def test_two_verifiers_share_nothing():
    one, two = Case(), Case()
    two.roots = TrustList()
    assert one.ask().verstat is Verstat.PASSED
    two.world, two.carrier = one.world, one.carrier
    assert two.ask().reason is Reason.CERT_UNTRUSTED


def test_a_continents_carriers_are_remembered():
    """Seven eighths of the chains are kept for those that have signed."""
    assert MAX_CHAINS * 7 // 8 > 10_000
    assert SIGNERS > 10_000
