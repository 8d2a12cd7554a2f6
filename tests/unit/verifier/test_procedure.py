"""Every reason a verification can give: its check, verstat, SIP answer, and what held before."""

from __future__ import annotations

import pytest
from cryptography import x509
from simulator import DAY, NOW
from verification import (
    DEST,
    FAULTS,
    ORDER,
    ORIG,
    Case,
    Gone,
    baseline,
    demand,
    exclude,
    extend,
    forged,
    permit,
    signed,
)

from zhenxian.certs import tnauthlist
from zhenxian.certs.ca import name
from zhenxian.certs.repository import Failure
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.identity import MAX_HEADER_LENGTH, MAX_HEADERS, parse_identity_header
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.verdict import Check

pytestmark = pytest.mark.usefixtures("es256")

FAILED, NONE = Verstat.FAILED, Verstat.NONE
# RFC 8224 section 6.2.2, RFC 8588, TS 24.229: written down here again, so that a change of the
# table in core/reasons.py shows.
STALE, USE = (403, "Stale Date"), (428, "Use Identity Header")
INFO, CREDENTIAL = (436, "Bad Identity Info"), (437, "Unsupported Credential")
INVALID = (438, "Invalid Identity Header")
# Of several tokens of one call: test_diversion.py.
OF_SEVERAL = {Reason.DIV_CHAIN_BROKEN, Reason.DIV_CHAIN_INCOMPLETE}
DISPLAY_ALONE = {  # test_unsigned.py, test_numbers.py
    Reason.SIGNATURE_MISSING,
    Reason.DISPLAY_ORDERED,
    Reason.EMERGENCY_SHOWN,
    Reason.MIDDLE_NUMBER,
}
WIRE = {
    Reason.NO_IDENTITY: (NONE, USE),
    Reason.IDENTITY_SYNTAX: (NONE, INVALID),
    Reason.IDENTITY_TOO_LARGE: (NONE, INVALID),
    Reason.TOO_MANY_IDENTITIES: (NONE, INVALID),
    Reason.INFO_MISSING: (NONE, INFO),
    Reason.INFO_INVALID: (NONE, INFO),
    Reason.ALG_UNSUPPORTED: (NONE, CREDENTIAL),
    Reason.PPT_UNSUPPORTED: (NONE, INVALID),
    Reason.COMPACT_NOT_ALLOWED: (NONE, INVALID),
    Reason.TOKEN_SYNTAX: (NONE, INVALID),
    Reason.TOKEN_BASE64: (NONE, INVALID),
    Reason.TOKEN_SIGNATURE_LENGTH: (NONE, INVALID),
    Reason.JSON_SYNTAX: (NONE, INVALID),
    Reason.JSON_DUPLICATE_KEY: (NONE, INVALID),
    Reason.JSON_TOO_DEEP: (NONE, INVALID),
    Reason.TYP_UNSUPPORTED: (NONE, CREDENTIAL),
    Reason.CRIT_UNSUPPORTED: (NONE, CREDENTIAL),
    Reason.HEADER_MEMBER_MISSING: (NONE, INFO),
    Reason.HEADER_MEMBER_INVALID: (NONE, INVALID),
    Reason.PPT_MISMATCH: (NONE, INVALID),
    Reason.X5U_MISMATCH: (NONE, INFO),
    Reason.CLAIM_MISSING: (NONE, INVALID),
    Reason.CLAIM_INVALID: (NONE, INVALID),
    Reason.ATTEST_INVALID: (NONE, INVALID),
    Reason.TN_INVALID: (NONE, INVALID),
    Reason.URI_INVALID: (NONE, INVALID),
    Reason.DATE_STALE: (NONE, STALE),
    Reason.DATE_MISSING: (NONE, INVALID),
    Reason.IAT_STALE: (NONE, STALE),
    Reason.ORIG_MISMATCH: (FAILED, INVALID),
    Reason.DEST_MISMATCH: (FAILED, INVALID),
    Reason.X5U_POLICY: (NONE, INFO),
    Reason.CERT_UNREACHABLE: (NONE, INFO),
    Reason.CERT_MALFORMED: (NONE, INFO),
    Reason.CERT_UNTRUSTED: (FAILED, CREDENTIAL),
    Reason.CERT_EXPIRED: (FAILED, CREDENTIAL),
    Reason.CERT_NOT_YET_VALID: (FAILED, CREDENTIAL),
    Reason.CERT_PROFILE: (FAILED, CREDENTIAL),
    Reason.CERT_REVOKED: (FAILED, CREDENTIAL),
    Reason.CRL_UNAVAILABLE: (NONE, CREDENTIAL),
    Reason.TNAUTHLIST_MISSING: (FAILED, CREDENTIAL),
    Reason.TNAUTHLIST_INVALID: (FAILED, CREDENTIAL),
    Reason.TNAUTHLIST_NOT_COVERED: (FAILED, CREDENTIAL),
    Reason.SPC_NOT_HOLDER: (FAILED, CREDENTIAL),
    Reason.DISPLAY_POOLED: (FAILED, (608, "Rejected")),
    Reason.CLAIM_CONSTRAINED: (FAILED, INVALID),
    Reason.SIGNATURE_INVALID: (FAILED, INVALID),
    Reason.REPLAYED: (FAILED, INVALID),
    Reason.REPLAY_UNKNOWN: (NONE, INVALID),
    Reason.ORDERED: (FAILED, CREDENTIAL),
    Reason.CALLEE_REFUSES: (Verstat.PASSED, (607, "Unwanted")),
}


def token(change):
    """Change the header field value on its way."""

    def apply(case):
        case.spelling = change

    return apply


def made(**parts):
    """Send a header the carrier signed over something else."""

    def apply(case):
        case.spelling = lambda _: signed(case, **parts)

    return apply


def certificate(action):
    """Change the certificate."""

    def apply(case):
        getattr(case.carrier.certificate, action)()

    apply.__name__ = action
    return apply


def digest(change):
    """Change the part before the parameters."""

    def spell(value):
        first, _, rest = value.partition(";")
        return f"{change(first)};{rest}"

    return token(spell)


def too_many(case):
    request = case.request()
    case.request = lambda: Case.request(case, *request.identities * (MAX_HEADERS + 1))


def only_for_us(case):
    case.spelling = lambda _: baseline(case).dumps()


def not_a_chain(case):
    failure = Failure(Reason.CERT_MALFORMED, "a web page", NOW + 30)
    case.cache.failures[case.carrier.x5u] = failure


def misnamed(case):
    def rename(builder):
        builder._subject_name = name("SHAKEN 9999")
        return builder

    case.carrier.certificate.change(rename)


def broken_tnauthlist(case):
    case.carrier.certificate.drop_tnauthlist()
    extend(case, tnauthlist.OID, b"\x30\x00")


def nobody_trusted(case):
    case.roots = TrustList()


def stale_list(case):
    case.lists = (case.world.crl(this_update=NOW - 2 * DAY, next_update=NOW - DAY),)


def delegate_of_others(case):
    case.carrier = case.carrier.delegate(TNRange(TN("12155550200"), TN("12155550299")))


def other_claims(case):
    case.spelling = lambda _: forged(case.call(), iat=NOW - 1)


def really_replayed(case):
    request = case.request()
    assert case.ask(request).verstat is Verstat.PASSED
    case.cache.kept.clear()
    case.request = lambda: request


def no_replay_store(case):
    case.replay = Gone()


def under(make, *arguments):
    """Put the certificate under a constraint."""

    def apply(case):
        extend(case, *make(*arguments))

    return apply


def compact_without_date(case):
    case.policy = ScreenPolicy(types=frozenset({None}))
    text = baseline(case).compacted().dumps()
    case.request = lambda *_, **__: VerificationRequest(TN(ORIG), (TN(DEST),), None, (text,))


SCENARIOS = [
    *FAULTS,
    (digest(lambda first: "!" + first), Check.SYNTAX, Reason.IDENTITY_SYNTAX),
    (token(lambda value: value + ";" * 3 + '"'), Check.SYNTAX, Reason.IDENTITY_SYNTAX),
    (token(lambda value: value + ";ppt=shaken"), Check.SYNTAX, Reason.IDENTITY_SYNTAX),
    (token(lambda v: v + ";x" * MAX_HEADER_LENGTH), Check.SYNTAX, Reason.IDENTITY_TOO_LARGE),
    (token(lambda v: v.replace("info=", "inf0=")), Check.SYNTAX, Reason.INFO_MISSING),
    (token(lambda v: v.replace("https:", "")), Check.SYNTAX, Reason.INFO_INVALID),
    (made(header={"alg": "none"}), Check.SYNTAX, Reason.ALG_UNSUPPORTED),
    (token(lambda v: v.replace("ppt=shaken", "ppt=div")), Check.SYNTAX, Reason.PPT_MISMATCH),
    (only_for_us, Check.SYNTAX, Reason.PPT_UNSUPPORTED),
    (
        token(lambda v: parse_identity_header(v).compacted().dumps()),
        Check.SYNTAX,
        Reason.COMPACT_NOT_ALLOWED,
    ),
    (compact_without_date, Check.SYNTAX, Reason.DATE_MISSING),
    (digest(lambda first: first.replace(".", "", 1)), Check.SYNTAX, Reason.TOKEN_SYNTAX),
    (digest(lambda first: first.replace(".", "=.", 1)), Check.SYNTAX, Reason.TOKEN_BASE64),
    (digest(lambda first: first[:-86] + "A" * 84), Check.SYNTAX, Reason.TOKEN_SIGNATURE_LENGTH),
    (made(payload=b"[]"), Check.SYNTAX, Reason.JSON_SYNTAX),
    (made(payload=b'{"iat":1,"iat":1}'), Check.SYNTAX, Reason.JSON_DUPLICATE_KEY),
    (made(payload=b'{"a":' + b"[" * 99 + b"]" * 99 + b"}"), Check.SYNTAX, Reason.JSON_TOO_DEEP),
    (made(header={"typ": "JWT"}), Check.SYNTAX, Reason.TYP_UNSUPPORTED),
    (made(header={"crit": ["x"]}), Check.SYNTAX, Reason.CRIT_UNSUPPORTED),
    (made(header={"x5u": None}), Check.SYNTAX, Reason.HEADER_MEMBER_MISSING),
    (made(header={"typ": 1}), Check.SYNTAX, Reason.HEADER_MEMBER_INVALID),
    (token(lambda v: v.replace("https://", "https://x.")), Check.SYNTAX, Reason.X5U_MISMATCH),
    (made(payload={"iat": None}), Check.SYNTAX, Reason.CLAIM_MISSING),
    (made(payload={"iat": str(NOW)}), Check.SYNTAX, Reason.CLAIM_INVALID),
    (made(payload={"attest": "D"}), Check.SYNTAX, Reason.ATTEST_INVALID),
    (made(payload={"orig": {"tn": "+12155550100"}}), Check.SYNTAX, Reason.TN_INVALID),
    (made(payload={"orig": {"uri": "nobody"}}), Check.SYNTAX, Reason.URI_INVALID),
    (too_many, Check.SYNTAX, Reason.TOO_MANY_IDENTITIES),
    (not_a_chain, Check.CERTIFICATE, Reason.CERT_MALFORMED),
    (certificate("expire"), Check.CHAIN, Reason.CERT_EXPIRED),
    (certificate("not_yet_valid"), Check.CHAIN, Reason.CERT_NOT_YET_VALID),
    (certificate("untrusted"), Check.CHAIN, Reason.CERT_UNTRUSTED),
    (certificate("missing_intermediate"), Check.CHAIN, Reason.CERT_UNTRUSTED),
    (nobody_trusted, Check.CHAIN, Reason.CERT_UNTRUSTED),
    (misnamed, Check.CHAIN, Reason.CERT_PROFILE),
    (certificate("drop_tnauthlist"), Check.CHAIN, Reason.TNAUTHLIST_MISSING),
    (broken_tnauthlist, Check.CHAIN, Reason.TNAUTHLIST_INVALID),
    (stale_list, Check.CHAIN, Reason.CRL_UNAVAILABLE),
    (delegate_of_others, Check.TNAUTHLIST, Reason.TNAUTHLIST_NOT_COVERED),
    (under(demand, "rcd"), Check.CONSTRAINTS, Reason.CLAIM_CONSTRAINED),
    (under(exclude, "attest"), Check.CONSTRAINTS, Reason.CLAIM_CONSTRAINED),
    (other_claims, Check.SIGNATURE, Reason.SIGNATURE_INVALID),
    (really_replayed, Check.REPLAY, Reason.REPLAYED),
    (no_replay_store, Check.REPLAY, Reason.REPLAY_UNKNOWN),
]


def test_a_good_call_passes_every_check(case):
    verdict = case.ask()
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
    assert verdict.sip is SipStatus.OK
    assert verdict.detail == "every check passed"
    assert verdict.attest is Attestation.A
    assert verdict.failed is None
    assert verdict.reason_header is None
    (result,) = verdict.results
    assert verdict.decisive is result
    assert result.passed == ORDER
    assert (result.ppt, result.spc, result.refusal, result.notes) == ("shaken", "1234", None, ())
    assert result.passport.orig == TN("12155550100")
    assert case.cache.kept == [case.carrier.x5u]


@pytest.mark.parametrize(
    ("apply", "check", "reason"), SCENARIOS, ids=lambda v: getattr(v, "name", None)
)
def test_a_fault_is_found_by_its_check_and_answered_as_the_table_says(case, apply, check, reason):
    apply(case)
    request = case.request()
    verdict = case.ask(request)
    assert (verdict.failed, verdict.reason) == (check, reason)
    verstat, (code, phrase) = WIRE[reason]
    assert (verdict.verstat, verdict.sip.code, verdict.sip.phrase) == (verstat, code, phrase)
    header = f'STIR;cause={code};text="{phrase}"'
    sent = request.identities[0].partition(";")[0] if request.identities else None
    if sent is not None and "!" not in sent:  # RFC 9410 sends a PASSporT; what is none is left out
        header += f';ppi="{sent}"'
    # 607 and 608 are no causes of protocol STIR: such a response says so in its status line.
    assert verdict.reason_header == (header if code < 600 else None)
    # What the callee does not want is a call of the number it shows.
    assert verdict.attest == ("A" if verstat is Verstat.PASSED else None)
    assert verdict.detail
    genuine = ORDER.index(check) > ORDER.index(Check.SIGNATURE)
    assert case.cache.kept == ([case.carrier.x5u] if genuine else [])
    if check is Check.IDENTITY:
        assert (verdict.results, verdict.decisive) == ((), None)
        return
    assert verdict.results == (verdict.decisive,)
    result = verdict.decisive
    assert result.passed == ORDER[: ORDER.index(check)]
    assert (result.refusal.reason, result.refusal.detail) == (reason, verdict.detail)
    assert result.identity == request.identities[0]
    assert (result.passport is not None) is (check is not Check.SYNTAX)
    assert result.ppt == (None if check is Check.SYNTAX else "shaken")
    chained = ORDER.index(check) > ORDER.index(Check.CHAIN)
    assert result.spc == ("1234" if chained and check is not Check.TNAUTHLIST else None)


def test_every_check_fails_in_some_scenario():
    assert {check for _, check, _ in SCENARIOS} == set(Check)


def test_every_reason_of_a_verification_is_given_in_some_scenario():
    given = {reason for *_, reason in SCENARIOS} | {Reason.VERIFIED} | DISPLAY_ALONE | OF_SEVERAL
    assert given == {reason for reason in Reason if reason.verstat is not None}


def test_the_table_of_answers_is_whole():
    verdicts = {r for r in Reason if r.verstat is not None}
    assert WIRE.keys() | DISPLAY_ALONE | OF_SEVERAL == verdicts - {Reason.VERIFIED}


@pytest.mark.parametrize(
    ("kept", "constraint"),
    [
        (True, permit("attest", "A")),
        (True, permit("rcd", "x")),  # a claim that is not there may have any value
        (True, demand("origid")),
        (True, exclude("rcd")),
        (False, permit("attest", "C")),
    ],
)
def test_constraints_hold_or_break(kept, constraint):
    case = Case()
    extend(case, *constraint)
    expected = Reason.VERIFIED if kept else Reason.CLAIM_CONSTRAINED
    assert case.ask().reason is expected


def test_a_ca_constrains_those_below_it(case):
    """Constraints hold along the chain, not for the signer's certificate alone."""
    oid, value = permit("attest", "B")
    authority = case.world.root.create_intermediate(
        "SHAKEN constrained",
        not_before=NOW - DAY,
        not_after=NOW + 90 * DAY,
        change=lambda builder: builder.add_extension(
            x509.UnrecognizedExtension(oid, value), critical=False
        ),
    )
    case.carrier.certificate.authority = authority
    case.carrier.certificate.reissue()
    assert case.ask().reason is Reason.CLAIM_CONSTRAINED
    assert case.ask(case.request(case.call(attest="B").signed())).verstat is Verstat.PASSED
