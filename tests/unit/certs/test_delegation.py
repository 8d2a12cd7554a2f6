"""Delegation only narrows, and what is served can be broken in every octet without harm."""

from __future__ import annotations

import ssl
from time import process_time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.certs import tnauthlist
from zhenxian.certs.ca import DAY, Authority, name, new_key, pem
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.constraints import constraints_of
from zhenxian.certs.profile import Role, check_profile, role_of
from zhenxian.certs.revocation import RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList, parse_tnauthlist, tnauthlist_of
from zhenxian.certs.trustlist import TrustList, load_trust_list
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange

NOW = 1_795_500_000
DATES = {"not_before": NOW - DAY, "not_after": NOW + 90 * DAY}
KEY = new_key().public_key()
ROOT = Authority.create_root(**DATES)
CA = ROOT.create_intermediate(**DATES)
UNCHECKED, _ = build_view(
    [], issuers=TrustList(), trust=TrustList(), policy=RevocationPolicy.PREFER
)


def outcome(leaf, above, *, roots=(ROOT.certificate,), now=NOW):
    return validate(
        parse_chain(pem(leaf, *above)), now=now, trust=TrustList(roots), revocation=UNCHECKED
    )


def reason(result):
    return result.reason if isinstance(result, Untrusted) else None


def ranged(first, last):
    return TNRange(TN(first), TN(last))


# A CA without a list frees of nothing ------------------------------------------------------------


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        ((TN("5"),), None),
        ((TN("6"),), Reason.TNAUTHLIST_NOT_COVERED),
        ((SPC("9999"),), Reason.TNAUTHLIST_NOT_COVERED),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_delegate_does_not_escape_through_a_ca_without_a_list(depth, claimed, expected):
    authority = CA.create_intermediate("delegator", tnauthlist=TNAuthList((TN("5"),)), **DATES)
    for number in range(depth):
        authority = authority.create_intermediate(f"without a list {number}", **DATES)
    leaf = authority.issue(name("SHAKEN 9999"), TNAuthList(claimed), KEY, **DATES)
    assert reason(outcome(leaf, authority.above)) is expected


@pytest.mark.parametrize(("number", "expected"), [("5", None), ("6", "not covered")])
def test_a_list_on_the_root_limits_too(number, expected):
    extension = x509.UnrecognizedExtension(tnauthlist.OID, TNAuthList((TN("5"),)).dumps())
    root = Authority.create_root(
        change=lambda b: b.add_extension(extension, critical=False), **DATES
    )
    leaf = root.issue(name("delegate"), TNAuthList((TN(number),)), KEY, **DATES)
    result = outcome(leaf, (), roots=(root.certificate,))
    assert reason(result) is (Reason.TNAUTHLIST_NOT_COVERED if expected else None)


def test_a_list_on_a_ca_that_cannot_be_read_refuses():
    extension = x509.UnrecognizedExtension(tnauthlist.OID, b"\x30\x00")
    add = lambda builder: builder.add_extension(extension, critical=False)  # noqa: E731
    bad = CA.create_intermediate("bad", change=add, **DATES)
    leaf = bad.issue_shaken("1", KEY, **DATES)
    assert reason(outcome(leaf, bad.above)) is Reason.TNAUTHLIST_INVALID


def test_a_signer_that_the_trust_list_holds_is_no_root():
    """The library ends a path at whatever is in the store: no issuer, no revocation, no limit."""
    leaf = CA.issue_shaken("1234", KEY, **DATES)
    result = outcome(leaf, CA.above, roots=(leaf,))
    assert reason(result) is Reason.CERT_UNTRUSTED


# Encompassing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "child", "holds"),
    [
        ((ranged("100", "199"), ranged("200", "299")), (ranged("150", "250"),), True),
        ((ranged("200", "299"), ranged("100", "199")), (ranged("100", "299"),), True),
        ((ranged("100", "199"), TN("200")), (ranged("150", "200"),), True),
        ((TN("7"), TN("8")), (ranged("7", "8"),), True),
        ((ranged("100", "199"), ranged("201", "299")), (ranged("150", "250"),), False),
        ((ranged("100", "199"), ranged("150", "160")), (ranged("150", "199"),), True),
        ((ranged("010", "019"),), (ranged("10", "19"),), False),
        ((ranged("10", "19"),), (TN("010"),), False),
        ((TN("*86"), TN("#1")), (TN("*86"),), True),
        ((ranged("10", "99"),), (TN("*86"),), False),
    ],
)
def test_entries_add_up(parent, child, holds):
    assert TNAuthList(parent).encompasses(TNAuthList(child)) is holds


NUMBERS = st.integers(0, 30).map(lambda n: TN(f"{n:02d}"))
RANGES = st.tuples(st.integers(0, 30), st.integers(1, 9)).map(
    lambda p: ranged(f"{p[0]:02d}", f"{p[0] + p[1]:02d}")
)
SMALL = st.lists(NUMBERS | RANGES, min_size=1, max_size=5).map(lambda e: TNAuthList(tuple(e)))


@given(SMALL, SMALL)
def test_encompassing_is_covering_each_number(parent, child):
    every = [TN(f"{n:02d}") for n in range(100)]
    expected = all(parent.covers(tn) for tn in every if child.covers(tn))
    assert parent.encompasses(child) is expected


def test_long_lists_are_compared_quickly():
    """Four thousand entries fill a chain; entry by entry they took four seconds."""
    listed = TNAuthList(tuple(TN(f"{n:011d}") for n in range(0, 8000, 2)))
    begin = process_time()
    assert listed.encompasses(listed)
    assert process_time() - begin < 1


# Which date of which certificate ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"not_before": NOW + 1, "not_after": NOW + DAY}, Reason.CERT_NOT_YET_VALID),
        ({"not_before": NOW - DAY, "not_after": NOW - 1}, Reason.CERT_EXPIRED),
    ],
)
def test_the_dates_of_a_ca_on_the_way_are_the_reason(dates, expected):
    late = ROOT.create_intermediate("late", **dates)
    leaf = late.issue_shaken("1", KEY, **DATES)
    result = outcome(leaf, late.above)
    assert reason(result) is expected
    assert "late" in result.where
    root = Authority.create_root("late root", **dates)
    leaf = root.issue_shaken("1", KEY, **DATES)
    assert reason(outcome(leaf, (), roots=(root.certificate,))) is expected


def test_an_expired_certificate_off_the_way_is_not_the_reason():
    stray = Authority.create_root("stray", not_before=NOW - DAY, not_after=NOW - 1)
    fake = Authority.create_root("fake", **DATES)
    leaf = fake.issue_shaken("1", KEY, **DATES)
    result = outcome(leaf, (fake.certificate, stray.certificate))
    assert reason(result) is Reason.CERT_UNTRUSTED


def test_certificates_that_name_each_other_as_issuer_end():
    """Names may go round in a circle; the explanation of the refusal must not."""
    one, two = (Authority.create_root(common, **DATES) for common in ("one", "two"))
    crossed = Authority(two.certificate, new_key()).create_intermediate("one", **DATES)
    back = Authority(one.certificate, new_key()).create_intermediate("two", **DATES)
    leaf = crossed.issue_shaken("1", KEY, **DATES)
    result = outcome(leaf, (crossed.certificate, back.certificate))
    assert reason(result) is Reason.CERT_UNTRUSTED


def test_a_renewed_ca_beside_its_expired_certificate_is_trusted():
    old = ROOT.create_intermediate("renewed", not_before=NOW - DAY, not_after=NOW - 1)
    new = ROOT.create_intermediate("renewed", **DATES)
    leaf = new.issue_shaken("1", KEY, **DATES)
    assert isinstance(outcome(leaf, (old.certificate, new.certificate)), TrustedSigner)
    result = outcome(leaf, (old.certificate, new.certificate), roots=(CA.certificate,))
    assert reason(result) is Reason.CERT_UNTRUSTED


# What the library raises is ours to catch ---------------------------------------------------------

LEAF = CA.issue_shaken("1234", KEY, **DATES)


def version_eight():
    der = bytearray(LEAF.public_bytes(Encoding.DER))
    der[der.index(bytes.fromhex("a003020102")) + 4] = 7
    return bytes(der)


def doubled_extension():
    first = x509.SubjectKeyIdentifier.oid
    der = LEAF.public_bytes(Encoding.DER)
    ski = b"\x06\x03" + bytes([0x55, 0x1D, 14])
    aki = b"\x06\x03" + bytes([0x55, 0x1D, 35])
    assert first.dotted_string == "2.5.29.14"
    assert der.count(ski) == der.count(aki) == 1
    return der.replace(aki, ski)


def unsupported_name():
    """An ediPartyName where the distribution point has its URL."""
    point = bytes.fromhex("300e300ca00aa008a506a1040c0241424142")[:16]
    extension = x509.UnrecognizedExtension(x509.CRLDistributionPoints.oid, point)

    def change(builder):
        builder._extensions = [
            e for e in builder._extensions if not isinstance(e.value, x509.CRLDistributionPoints)
        ]
        return builder.add_extension(extension, critical=False)

    return CA.issue_shaken("1", KEY, change=change, **DATES).public_bytes(Encoding.DER)


def unreadable_name():
    der = LEAF.public_bytes(Encoding.DER)
    assert der.count(b"SHAKEN 1234") == 1
    return der.replace(b"SHAKEN 1234", b"\xff" * 11)


BROKEN = [version_eight, doubled_extension, unsupported_name, unreadable_name]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_certificate_that_the_library_does_not_take_is_malformed(broken):
    ca_der = CA.certificate.public_bytes(Encoding.DER)
    assert parse_chain(ca_der)
    text = ssl.DER_cert_to_PEM_cert(broken()).encode()
    for served in (broken(), text, pem(LEAF) + text):
        with pytest.raises(ParseError) as caught:
            parse_chain(served)
        assert caught.value.reason is Reason.CERT_MALFORMED


@pytest.mark.parametrize("broken", [doubled_extension, unsupported_name])
def test_what_explains_certificates_explains_broken_ones_too(broken):
    certificate = x509.load_der_x509_certificate(broken())
    assert role_of(certificate) is Role.LEAF
    assert [v.code for v in check_profile(certificate, Role.LEAF)] == ["UNREADABLE"]
    with pytest.raises(ParseError) as caught:
        tnauthlist_of(certificate)
    assert caught.value.reason is Reason.TNAUTHLIST_INVALID
    with pytest.raises(ParseError) as caught:
        constraints_of(certificate)
    assert caught.value.reason is Reason.CERT_PROFILE


def test_a_trust_list_names_the_file_that_it_cannot_read(tmp_path):
    (tmp_path / "good.pem").write_bytes(pem(ROOT.certificate))
    bad = tmp_path / "version.pem"
    bad.write_text(ssl.DER_cert_to_PEM_cert(version_eight()))
    with pytest.raises(ConfigError, match=r"version\.pem: not PEM"):
        load_trust_list(tmp_path)
    bad.unlink()
    (tmp_path / "folder.pem").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.pem: Is a directory"):
        load_trust_list(tmp_path)


def test_a_count_too_large_to_print_is_refused():
    """Python does not turn integers of more than 4300 digits to text, and raises ValueError."""
    count = b"\x7f" + b"\xff" * 2000
    inner = b"\x16\x03100" + b"\x02\x82" + len(count).to_bytes(2) + count
    for tag in (b"\x30", b"\xa1", b"\x30"):
        inner = tag + b"\x82" + len(inner).to_bytes(2) + inner
    with pytest.raises(ParseError) as caught:
        parse_tnauthlist(inner)
    assert caught.value.reason is Reason.TNAUTHLIST_INVALID


SERVED = [LEAF.public_bytes(Encoding.DER), CA.certificate.public_bytes(Encoding.DER)]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1), st.integers(0), st.integers(0, 7))
def test_one_flipped_bit_is_refused_and_never_raises(which, position, bit):
    ders = [bytearray(der) for der in SERVED]
    changed = ders[which]
    changed[position % len(changed)] ^= 1 << bit
    served = "".join(ssl.DER_cert_to_PEM_cert(bytes(der)) for der in ders).encode()
    try:
        chain = parse_chain(served)
    except ParseError as error:
        assert error.reason is Reason.CERT_MALFORMED
        return
    for certificate in chain.certificates:
        check_profile(certificate, role_of(certificate))
    result = validate(chain, now=NOW, trust=TrustList((ROOT.certificate,)), revocation=UNCHECKED)
    assert isinstance(result, Untrusted)
