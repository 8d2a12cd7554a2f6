"""Revocation lists that compete, are shards, or come from somebody who may not speak."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs.ca import CRL_URL, DAY, Authority, new_key
from zhenxian.certs.crl import parse_crl
from zhenxian.certs.names import name_key
from zhenxian.certs.revocation import (
    ListIssuer,
    RevocationPolicy,
    RevocationView,
    State,
    build_view,
)
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason

NOW = 1_795_500_000
BEGIN, END = NOW - DAY, NOW + 90 * DAY
DATES = {"not_before": BEGIN, "not_after": END}
OTHER_URL = "http://crl.invalid/other.crl"


class World:
    """A STI-PA, a root, an intermediate, and one certificate of it."""

    def __init__(self):
        self.admin = Authority.create_root("STI-PA", **DATES)
        self.root = Authority.create_root(crl_issuer=self.admin.certificate.subject, **DATES)
        self.ca = self.root.create_intermediate(**DATES)
        self.leaf = self.ca.issue_shaken("1234", new_key().public_key(), **DATES)

    def status(self, *lists, issuers=None, trust=None, now=NOW, leaf=None):
        view, problems = build_view(
            lists,
            issuers=TrustList((self.admin.certificate,) if issuers is None else issuers),
            trust=TrustList((self.root.certificate,) if trust is None else trust),
            policy=RevocationPolicy.REQUIRE,
        )
        assert not problems
        path = (self.root.certificate,)
        return view.status(leaf or self.leaf, self.ca.certificate, now, path)

    def state(self, *lists, **more):
        return self.status(*lists, **more).state


@pytest.fixture(scope="module")
def made():
    return World()


def time(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def crl(
    signer,
    revoked=(),
    *,
    this=NOW - 60,
    until=NOW + DAY,
    url=CRL_URL,
    number=None,
    indirect=True,
    **scope,
):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(time(this))
        .next_update(time(until))
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    point = {
        "full_name": [x509.UniformResourceIdentifier(url)] if url else None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": indirect,
        "only_contains_attribute_certs": False,
    } | scope
    if indirect or url or scope:
        builder = builder.add_extension(x509.IssuingDistributionPoint(**point), critical=True)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder()
        entry = entry.serial_number(certificate.serial_number).revocation_date(time(this))
        if indirect:
            named = x509.CertificateIssuer([x509.DirectoryName(certificate.issuer)])
            entry = entry.add_extension(named, critical=True)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


# Shards: one issuer, several distribution points (RFC 5280 section 6.3.3) ------------------------


def test_a_newer_list_of_another_point_does_not_take_a_revocation_back(made):
    lists = (
        crl(made.admin, [made.leaf], this=NOW - 100),
        crl(made.admin, [], this=NOW - 50, url=OTHER_URL),
    )
    assert made.state(*lists) is State.REVOKED
    assert made.state(*reversed(lists)) is State.REVOKED


def test_a_list_of_another_point_does_not_make_good(made):
    assert made.state(crl(made.admin, url=OTHER_URL)) is State.UNKNOWN
    assert made.state(crl(made.admin)) is State.GOOD
    assert made.state(crl(made.admin, url=None)) is State.GOOD


def test_a_direct_list_of_another_point_does_not_make_good(made):
    """The certificate's points name another list issuer, so a direct list must be unrestricted."""
    assert made.state(crl(made.ca, url=None, indirect=False)) is State.GOOD
    assert made.state(crl(made.ca, url=OTHER_URL, indirect=False)) is State.UNKNOWN
    assert made.state(crl(made.ca, url=CRL_URL, indirect=False)) is State.UNKNOWN


@pytest.mark.parametrize(("url", "state"), [(CRL_URL, State.GOOD), (OTHER_URL, State.UNKNOWN)])
def test_a_direct_list_of_the_certificates_own_point_makes_good(made, url, state):
    leaf = pointing(made, crl_issuer=None)
    assert made.state(crl(made.ca, url=url, indirect=False), leaf=leaf) is state


def test_a_point_for_some_reasons_says_nothing_of_the_others(made):
    leaf = pointing(
        made,
        crl_issuer=[x509.DirectoryName(made.admin.certificate.subject)],
        reasons=frozenset({x509.ReasonFlags.superseded}),
    )
    assert made.state(crl(made.admin), leaf=leaf) is State.UNKNOWN


def test_a_point_without_a_name_of_its_own_is_named_by_its_list_issuer(made):
    names = [x509.DirectoryName(made.admin.certificate.subject)]
    leaf = pointing(made, full_name=None, crl_issuer=names)
    assert made.state(crl(made.admin, url=None), leaf=leaf) is State.GOOD
    assert made.state(crl(made.admin), leaf=leaf) is State.UNKNOWN
    named = crl(made.admin, url=None, full_name=names)
    assert made.state(named, leaf=leaf) is State.GOOD


def pointing(made, **members):
    """A certificate with one distribution point, of these members."""
    point = x509.DistributionPoint(
        **{
            "full_name": [x509.UniformResourceIdentifier(CRL_URL)],
            "relative_name": None,
            "reasons": None,
            "crl_issuer": None,
        }
        | members
    )

    def change(builder):
        builder._extensions = [
            e for e in builder._extensions if not isinstance(e.value, x509.CRLDistributionPoints)
        ]
        return builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)

    return made.ca.issue_shaken("1234", new_key().public_key(), change=change, **DATES)


@pytest.mark.parametrize(
    ("scope", "leaf", "authority"),
    [
        ({"only_contains_user_certs": True}, State.GOOD, State.UNKNOWN),
        ({"only_contains_ca_certs": True}, State.UNKNOWN, State.GOOD),
    ],
)
def test_a_list_of_one_kind_of_certificate_covers_only_it(made, scope, leaf, authority):
    listed = crl(made.admin, **scope)
    assert made.state(listed) is leaf
    view, _ = build_view(
        [listed],
        issuers=TrustList((made.admin.certificate,)),
        trust=TrustList((made.root.certificate,)),
        policy=RevocationPolicy.REQUIRE,
    )
    assert view.status(made.ca.certificate, made.root.certificate, NOW).state is authority


# Which of several lists counts ------------------------------------------------------------------


def test_of_two_lists_of_one_second_the_higher_number_counts(made):
    clean = crl(made.admin, [], number=1)
    revoking = crl(made.admin, [made.leaf], number=2)
    assert made.state(clean, revoking) is made.state(revoking, clean) is State.REVOKED
    lifted = crl(made.admin, [], number=3)
    assert made.state(revoking, lifted) is made.state(lifted, revoking) is State.GOOD


def test_of_two_lists_that_cannot_be_told_apart_the_revocation_counts(made):
    clean, revoking = crl(made.admin), crl(made.admin, [made.leaf])
    assert made.state(clean, revoking) is made.state(revoking, clean) is State.REVOKED


def test_a_list_of_the_future_neither_takes_back_nor_displaces(made):
    future = crl(made.admin, this=NOW + 60)
    assert made.state(crl(made.admin, [made.leaf]), future) is State.REVOKED
    assert made.state(crl(made.admin), future) is State.GOOD
    assert made.state(future) is State.UNKNOWN


def test_a_revocation_outlives_its_signers_certificate(made):
    """Else each revoked certificate would come back on the day the list's signer expires."""
    old = Authority.create_root("STI-PA", not_before=BEGIN, not_after=NOW - 10)
    listed = crl(old, [made.leaf], this=NOW - 100)
    assert made.state(listed, issuers=(old.certificate,)) is State.REVOKED
    clean = crl(old, this=NOW - 100)
    assert made.state(clean, issuers=(old.certificate,)) is State.UNKNOWN


def test_a_list_whose_signer_has_expired_does_not_displace(made):
    """Whoever finds a retired key could else take revocations back with a newer list."""
    old = Authority.create_root("STI-PA", not_before=BEGIN, not_after=NOW - 10)
    issuers = (made.admin.certificate, old.certificate)
    retired = crl(old, this=NOW - 20)
    assert made.state(crl(made.admin, [made.leaf]), retired, issuers=issuers) is State.REVOKED
    assert made.state(crl(made.admin), retired, issuers=issuers) is State.GOOD


def test_good_lasts_no_longer_than_the_signers_certificate(made):
    soon = Authority.create_root("STI-PA", not_before=BEGIN, not_after=NOW + 10)
    status = made.status(crl(soon), issuers=(soon.certificate,))
    assert (status.state, status.until) == (State.GOOD, NOW + 10)
    late = made.state(crl(soon), issuers=(soon.certificate,), now=NOW + 11)
    assert late is State.UNKNOWN


def test_a_signer_not_valid_yet_signs_nothing(made):
    early = Authority.create_root("STI-PA", not_before=NOW + 1, not_after=END)
    assert made.state(crl(early, [made.leaf]), issuers=(early.certificate,)) is State.UNKNOWN


def test_a_list_without_next_update_is_stale(made):
    """The library writes none, so the parsed list is changed."""
    endless = msgspec.structs.replace(parse_crl(crl(made.admin)), next_update=0)
    issuers = {name_key(made.admin.certificate.subject): (ListIssuer(made.admin.certificate),)}
    view = RevocationView([endless], issuers, {}, RevocationPolicy.REQUIRE)
    status = view.status(made.leaf, made.ca.certificate, NOW)
    assert status.state is State.UNKNOWN
    assert "stale" in status.detail


# Who may speak -----------------------------------------------------------------------------------


def test_one_root_does_not_revoke_what_another_issued(made):
    other = Authority.create_root("other root", **DATES)
    trust = (made.root.certificate, other.certificate)
    hostile = crl(other, [made.leaf])
    assert made.state(crl(made.admin), hostile, trust=trust) is State.GOOD
    assert made.state(hostile, trust=trust) is State.UNKNOWN


def test_a_root_that_the_certificate_names_speaks_for_it(made):
    leaf = pointing(made, crl_issuer=[x509.DirectoryName(made.root.certificate.subject)])
    assert made.state(crl(made.root), leaf=leaf, issuers=()) is State.GOOD
    assert made.state(crl(made.root, [leaf]), leaf=leaf, issuers=()) is State.REVOKED


def test_a_direct_list_does_not_speak_of_other_issuers_certificates(made):
    """Same serial, other issuer; and a list issuer whose list is not marked as indirect."""
    twin = made.root.create_intermediate("elsewhere", **DATES)
    victim = twin.issue_shaken("9", new_key().public_key(), serial=made.leaf.serial_number, **DATES)
    assert made.state(crl(twin, [victim], url=None, indirect=False)) is State.UNKNOWN
    direct = crl(made.admin, [made.leaf], url=None, indirect=False)
    assert made.state(direct) is State.UNKNOWN


def test_an_entry_without_issuer_inherits_the_one_before(made):
    """RFC 5280 section 5.3.3; before the first it is the list's own issuer."""
    second = made.ca.issue_shaken("5", new_key().public_key(), **DATES)

    def listed(*entries):
        builder = x509.load_der_x509_crl(crl(made.admin))
        fresh = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(builder.issuer)
            .last_update(time(NOW - 60))
            .next_update(time(NOW + DAY))
        )
        for extension in builder.extensions:
            fresh = fresh.add_extension(extension.value, critical=extension.critical)
        for certificate, named in entries:
            entry = x509.RevokedCertificateBuilder()
            entry = entry.serial_number(certificate.serial_number).revocation_date(time(NOW - 60))
            if named:
                name = x509.CertificateIssuer([x509.DirectoryName(certificate.issuer)])
                entry = entry.add_extension(name, critical=True)
            fresh = fresh.add_revoked_certificate(entry.build())
        return fresh.sign(made.admin.key, hashes.SHA256()).public_bytes(Encoding.DER)

    inherited = listed((second, True), (made.leaf, False))
    assert made.state(inherited) is State.REVOKED
    assert made.state(inherited, leaf=second) is State.REVOKED
    assert made.state(listed((made.leaf, False), (second, True))) is State.GOOD


# Reading -----------------------------------------------------------------------------------------


def refused(data):
    with pytest.raises(ParseError) as caught:
        parse_crl(data)
    assert caught.value.reason is Reason.CRL_UNAVAILABLE
    return caught.value.detail


REASONS = frozenset({x509.ReasonFlags.key_compromise})


def delta(made, *revoked, this=NOW - 30, reason=None):
    """What changed since a complete list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(made.ca.certificate.subject)
        .last_update(time(this))
        .next_update(time(NOW + DAY))
        .add_extension(x509.DeltaCRLIndicator(1), critical=True)
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        entry = entry.revocation_date(time(this))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(made.ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_list_for_some_reasons_revokes_and_never_covers(made):
    whole = crl(made.ca, url=None, indirect=False)
    part = {"url": None, "indirect": False, "only_some_reasons": REASONS}
    gone = crl(made.ca, [made.leaf], **part)
    assert made.state(gone) is State.REVOKED
    assert made.state(gone, whole) is State.REVOKED
    assert made.state(crl(made.ca, this=NOW - 5, **part)) is State.UNKNOWN
    assert made.state(crl(made.ca, this=NOW - 5, **part), whole) is State.GOOD
    listed = crl(made.ca, [made.leaf], url=None, indirect=False)
    assert made.state(listed, crl(made.ca, this=NOW - 5, **part)) is State.REVOKED


def test_so_does_a_delta_list(made):
    whole = crl(made.ca, url=None, indirect=False)
    listed = crl(made.ca, [made.leaf], url=None, indirect=False)
    assert made.state(delta(made, made.leaf), whole) is State.REVOKED
    assert made.state(delta(made)) is State.UNKNOWN
    assert made.state(delta(made), whole) is State.GOOD
    assert made.state(delta(made), listed) is State.REVOKED
    removed = delta(made, made.leaf, reason=x509.ReasonFlags.remove_from_crl)
    assert made.state(removed, listed) is State.REVOKED
    assert made.state(removed, whole) is State.GOOD


@pytest.mark.parametrize("before", [b"", b"\n", b"Certificate Revocation List (CRL):\n  V2\n"])
def test_text_may_stand_before_a_list_in_pem(made, before):
    der = crl(made.admin, [made.leaf])
    text = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    assert made.state(before + text) is State.REVOKED
    assert parse_crl(before + text).digest == parse_crl(der).digest


def test_an_impossible_version_is_our_error(made):
    der = bytearray(crl(made.admin))
    der[der.index(bytes.fromhex("020101")) + 2] = 9
    assert "version" in refused(bytes(der))


def test_what_the_reader_does_not_support_is_refused(made):
    relative = x509.RelativeDistinguishedName(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, "shard 1")]
    )
    assert "relative" in refused(crl(made.admin, url=None, relative_name=relative))
    direct = crl(made.admin, [made.leaf], url=None, indirect=False)
    assert list(parse_crl(direct).revoked) == [
        (name_key(made.admin.certificate.subject), made.leaf.serial_number)
    ]
    attributes = {"only_contains_attribute_certs": True, "indirect": False}
    assert "attribute" in refused(crl(made.admin, url=None, **attributes))
    assert "larger" in refused(b"\x30" * (8 * 1024 * 1024 + 1))


@given(st.data())
def test_a_list_with_changed_octets_is_read_or_refused_and_never_good(data):
    made = CHANGED
    der = bytearray(LISTED)
    position = data.draw(st.integers(0, len(der) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    der[position] ^= bit
    try:
        parse_crl(bytes(der))
    except ParseError as error:
        assert error.reason is Reason.CRL_UNAVAILABLE
        return
    # The count of unused bits of the signature is under no signature.
    assert made.state(bytes(der)) is not State.GOOD


CHANGED = World()
LISTED = crl(CHANGED.admin, [CHANGED.leaf], number=7)
