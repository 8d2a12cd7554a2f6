"""Chains that are trusted, and every way of not being it; the peers' known failures among them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs import constraints, tnauthlist
from zhenxian.certs.ca import DAY, Authority, create_development_pki, name, new_key, pem
from zhenxian.certs.chain import Chain, TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.crl import parse_crl
from zhenxian.certs.profile import ProfilePolicy, Role, check_profile, role_of
from zhenxian.certs.revocation import RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList, load_trust_list
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange

NOW = 1_795_500_000
BEGIN, END = NOW - DAY, NOW + 90 * DAY
DATES = {"not_before": BEGIN, "not_after": END}


class Pki:
    """A STI-PA that signs lists, a root, an intermediate, one carrier."""

    def __init__(self):
        self.admin = Authority.create_root("STI-PA", **DATES)
        self.root = Authority.create_root(crl_issuer=self.admin.certificate.subject, **DATES)
        self.ca = self.root.create_intermediate(**DATES)
        self.key = new_key()

    def leaf(self, **more):
        return self.ca.issue_shaken("1234", self.key.public_key(), **(DATES | more))

    def crl(self, revoked=(), **times):
        times = {"this_update": NOW - 60, "next_update": NOW + DAY} | times
        return self.admin.issue_crl(revoked, indirect=True, **times)

    def view(self, *lists, policy=RevocationPolicy.REQUIRE, issuers=None):
        issuers = (self.admin.certificate,) if issuers is None else issuers
        view, problems = build_view(
            lists,
            issuers=TrustList(tuple(issuers), "i"),
            trust=TrustList((self.root.certificate,), "t"),
            policy=policy,
        )
        assert not problems
        return view

    def validate(self, leaf, *, above=None, view=None, now=NOW, roots=None, profile=None):
        certificates = (leaf, *(self.ca.above if above is None else above))
        return validate(
            parse_chain(pem(*certificates)),
            now=now,
            trust=TrustList((self.root.certificate,) if roots is None else roots, "t"),
            revocation=self.view(self.crl()) if view is None else view,
            profile=profile or ProfilePolicy(),
        )


@pytest.fixture(scope="module")
def pki():
    return Pki()


def reason(outcome) -> Reason:
    assert isinstance(outcome, Untrusted), outcome
    assert outcome.detail
    return outcome.reason


def test_a_good_chain_is_trusted_for_its_code_until_the_list_ends(pki):
    leaf = pki.leaf()
    signer = pki.validate(leaf)
    assert isinstance(signer, TrustedSigner)
    assert (signer.spc, signer.serial) == ("1234", leaf.serial_number)
    assert signer.valid_from == BEGIN
    assert signer.valid_until == NOW + DAY
    assert not signer.revocation_unchecked
    assert signer.key.public_bytes == parse_chain(pem(leaf)).public_key_der


def test_order_of_intermediates_and_an_included_root_do_not_matter(pki):
    second = pki.ca.create_intermediate("second", **DATES)
    leaf = second.issue_shaken("1234", pki.key.public_key(), **DATES)
    for above in (
        (second.certificate, pki.ca.certificate),
        (pki.ca.certificate, second.certificate),
        (pki.root.certificate, pki.ca.certificate, second.certificate),
    ):
        assert isinstance(pki.validate(leaf, above=above), TrustedSigner)


def test_a_missing_intermediate_is_untrusted(pki):
    assert reason(pki.validate(pki.leaf(), above=())) is Reason.CERT_UNTRUSTED


def test_an_empty_trust_list_trusts_nobody(pki):
    assert reason(pki.validate(pki.leaf(), roots=())) is Reason.CERT_UNTRUSTED


def test_another_root_of_the_same_name_is_untrusted(pki):
    twin = Authority.create_root(**DATES)
    assert twin.certificate.subject == pki.root.certificate.subject
    assert reason(pki.validate(pki.leaf(), roots=(twin.certificate,))) is Reason.CERT_UNTRUSTED


def test_a_self_signed_carrier_is_untrusted(pki):
    fake = Authority.create_root("fake", **DATES)
    leaf = fake.issue_shaken("1234", pki.key.public_key(), **DATES)
    assert reason(pki.validate(leaf, above=(fake.certificate,))) is Reason.CERT_UNTRUSTED


def test_a_leaf_that_is_itself_in_the_trust_list_still_needs_the_rules(pki):
    leaf = pki.ca.issue(name("SHAKEN 1"), None, pki.key.public_key(), **DATES)
    outcome = pki.validate(leaf)
    assert reason(outcome) is Reason.TNAUTHLIST_MISSING


def test_a_carriers_certificate_cannot_issue(pki):
    thief = Authority(pki.leaf(), pki.key, (pki.leaf(), *pki.ca.above))
    leaf = thief.issue_shaken("9999", new_key().public_key(), **DATES)
    assert reason(pki.validate(leaf, above=thief.above)) is Reason.CERT_UNTRUSTED


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEGIN - 1, Reason.CERT_NOT_YET_VALID),
        (BEGIN, None),
        (END, None),
        (END + 1, Reason.CERT_EXPIRED),
    ],
)
def test_dates_of_the_leaf(pki, now, expected):
    view = pki.view(pki.crl(this_update=BEGIN - DAY, next_update=END + DAY))
    outcome = pki.validate(pki.leaf(), now=now, view=view)
    if expected is None:
        assert isinstance(outcome, TrustedSigner)
    else:
        assert reason(outcome) is expected


def test_an_expired_intermediate_is_named(pki):
    short = pki.root.create_intermediate("short", not_before=BEGIN, not_after=NOW - 1)
    leaf = short.issue_shaken("1234", pki.key.public_key(), **DATES)
    outcome = pki.validate(leaf, above=(short.certificate,))
    assert reason(outcome) is Reason.CERT_EXPIRED
    assert "short" in outcome.detail


# Revocation ------------------------------------------------------------------------------------


def test_revoked_by_value_of_serial_and_issuer(pki):
    leaf, other = pki.leaf(), pki.leaf()
    view = pki.view(pki.crl([other, leaf]))
    assert reason(pki.validate(leaf, view=view)) is Reason.CERT_REVOKED
    assert isinstance(pki.validate(pki.leaf(), view=view), TrustedSigner)


def test_the_same_serial_of_another_issuer_is_not_revoked(pki):
    elsewhere = pki.root.create_intermediate("elsewhere", **DATES)
    victim = elsewhere.issue_shaken("1", pki.key.public_key(), serial=77, **DATES)
    leaf = pki.leaf(serial=77)
    assert isinstance(pki.validate(leaf, view=pki.view(pki.crl([victim]))), TrustedSigner)
    both = pki.view(pki.crl([victim, leaf]))
    assert reason(pki.validate(leaf, view=both)) is Reason.CERT_REVOKED


def test_a_revoked_intermediate_takes_its_certificates_along(pki):
    view = pki.view(pki.crl([pki.ca.certificate]))
    assert reason(pki.validate(pki.leaf(), view=view)) is Reason.CERT_REVOKED


@pytest.mark.parametrize(
    "times",
    [
        {"this_update": NOW - 2 * DAY, "next_update": NOW},
        {"this_update": NOW + 1, "next_update": NOW + DAY},
    ],
)
def test_a_stale_or_future_list_covers_nothing(pki, times):
    leaf = pki.leaf()
    lists = pki.crl(**times)
    assert reason(pki.validate(leaf, view=pki.view(lists))) is Reason.CRL_UNAVAILABLE
    preferred = pki.validate(leaf, view=pki.view(lists, policy=RevocationPolicy.PREFER))
    assert isinstance(preferred, TrustedSigner)
    assert preferred.revocation_unchecked


def test_a_stale_list_still_revokes(pki):
    leaf = pki.leaf()
    stale = pki.crl([leaf], this_update=NOW - 2 * DAY, next_update=NOW - DAY)
    for policy in RevocationPolicy:
        outcome = pki.validate(leaf, view=pki.view(stale, policy=policy))
        assert reason(outcome) is Reason.CERT_REVOKED


@pytest.mark.parametrize("policy", list(RevocationPolicy))
def test_no_list_fails_as_configured(pki, policy):
    outcome = pki.validate(pki.leaf(), view=pki.view(policy=policy))
    if policy is RevocationPolicy.REQUIRE:
        assert reason(outcome) is Reason.CRL_UNAVAILABLE
    else:
        assert outcome.revocation_unchecked


def test_a_list_of_somebody_else_covers_nothing(pki):
    """Neither one signed by a stranger under the right name, nor one by an issuer not trusted."""
    leaf = pki.leaf()
    twin = Authority.create_root("STI-PA", **DATES)
    forged = twin.issue_crl([], this_update=NOW, next_update=NOW + DAY, indirect=True)
    assert reason(pki.validate(leaf, view=pki.view(forged))) is Reason.CRL_UNAVAILABLE
    unknown = pki.view(pki.crl(), issuers=())
    assert reason(pki.validate(leaf, view=unknown)) is Reason.CRL_UNAVAILABLE


def test_a_forged_newer_list_does_not_displace_the_real_one(pki):
    leaf = pki.leaf()
    twin = Authority.create_root("STI-PA", **DATES)
    forged = twin.issue_crl([], this_update=NOW, next_update=NOW + DAY, indirect=True)
    for policy in RevocationPolicy:
        view = pki.view(pki.crl([leaf]), forged, policy=policy)
        assert reason(pki.validate(leaf, view=view)) is Reason.CERT_REVOKED


def test_the_newer_of_two_real_lists_counts(pki):
    leaf = pki.leaf()
    older = pki.crl([], this_update=NOW - 100)
    newer = pki.crl([leaf], this_update=NOW - 50)
    for lists in ((older, newer), (newer, older)):
        assert reason(pki.validate(leaf, view=pki.view(*lists))) is Reason.CERT_REVOKED


def test_a_direct_list_of_the_issuing_ca_and_of_the_root_together():
    """The peers' classic: CA certificates and lists loaded together make every call fail."""
    root = Authority.create_root(**DATES)
    ca = root.create_intermediate(**DATES)
    key = new_key()
    good, bad = (ca.issue_shaken("1234", key.public_key(), **DATES) for _ in range(2))
    times = {"this_update": NOW - 60, "next_update": NOW + DAY}
    lists = (ca.issue_crl([bad], **times), root.issue_crl([], **times))
    trust = TrustList((root.certificate,), "t")
    view, problems = build_view(
        lists, issuers=TrustList(), trust=trust, policy=RevocationPolicy.REQUIRE
    )
    assert not problems
    outcomes = [
        validate(parse_chain(pem(*ca.chain(leaf))), now=NOW, trust=trust, revocation=view)
        for leaf in (good, bad)
    ]
    assert isinstance(outcomes[0], TrustedSigner)
    assert reason(outcomes[1]) is Reason.CERT_REVOKED
    half, _ = build_view(
        lists[:1], issuers=TrustList(), trust=trust, policy=RevocationPolicy.REQUIRE
    )
    outcome = validate(parse_chain(pem(*ca.chain(good))), now=NOW, trust=trust, revocation=half)
    assert reason(outcome) is Reason.CRL_UNAVAILABLE


def test_the_key_usage_of_a_lists_signer_counts_if_it_is_present(pki):
    """RFC 5280 section 6.3.3, step f: "if a key usage extension is present"."""

    def signs_certificates_only(builder):
        usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
        return _without(builder, x509.KeyUsage).add_extension(usage, critical=True)

    outcomes = []
    for change in (signs_certificates_only, lambda builder: _without(builder, x509.KeyUsage)):
        signer = Authority.create_root("STI-PA", **DATES, change=change)
        crl = signer.issue_crl([], this_update=NOW - 60, next_update=NOW + DAY, indirect=True)
        view = pki.view(crl, issuers=(signer.certificate,))
        outcomes.append(pki.validate(pki.leaf(), view=view))
    assert reason(outcomes[0]) is Reason.CRL_UNAVAILABLE
    assert isinstance(outcomes[1], TrustedSigner)


def test_versions_of_views_follow_their_content(pki):
    first = pki.crl()
    assert pki.view(first).version == pki.view(first).version
    assert pki.view(first).version != pki.view(pki.crl([pki.leaf()])).version
    assert pki.view(first).version != pki.view(first, policy=RevocationPolicy.PREFER).version


def test_lists_that_cannot_be_read_are_told(pki):
    view, problems = build_view(
        [b"nonsense", pki.crl()],
        issuers=TrustList((pki.admin.certificate,), "i"),
        trust=TrustList((pki.root.certificate,), "t"),
        policy=RevocationPolicy.REQUIRE,
    )
    assert len(problems) == 1
    assert problems[0].startswith("list 1")
    assert isinstance(pki.validate(pki.leaf(), view=view), TrustedSigner)


@given(st.binary(max_size=200))
def test_any_octets_give_a_list_or_our_error(data):
    for octets in (data, b"-----BEGIN X509 CRL-----\n" + data):
        with pytest.raises(ParseError):
            parse_crl(octets)


def test_lists_that_are_not_read_are_refused(pki):
    base = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(pki.admin.certificate.subject)
        .last_update(_time(NOW))
        .next_update(_time(NOW + DAY))
    )
    attributes = x509.IssuingDistributionPoint(
        full_name=None, relative_name=None, only_contains_user_certs=False,
        only_contains_ca_certs=False, only_some_reasons=None,
        indirect_crl=False, only_contains_attribute_certs=True,
    )  # fmt: skip
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    removed = (
        x509.RevokedCertificateBuilder()
        .serial_number(5)
        .revocation_date(_time(NOW))
        .add_extension(x509.CRLReason(x509.ReasonFlags.remove_from_crl), critical=False)
        .build()
    )
    for builder in (
        base.add_extension(attributes, critical=True),
        base.add_extension(unknown, critical=True),
        base.add_revoked_certificate(removed),
    ):
        signed = builder.sign(pki.admin.key, hashes.SHA256()).public_bytes(Encoding.DER)
        with pytest.raises(ParseError) as caught:
            parse_crl(signed)
        assert caught.value.reason is Reason.CRL_UNAVAILABLE


# Profile, TNAuthList, delegation -----------------------------------------------------------------


def _time(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def _without(builder, kind):
    """The builder again, without extensions of a kind."""
    kept = [e for e in builder._extensions if not isinstance(e.value, kind)]
    builder._extensions = kept
    return builder


def _raw(oid, value, *, critical=False):
    extension = x509.UnrecognizedExtension(oid, value)
    return lambda builder: builder.add_extension(extension, critical=critical)


def test_the_development_pki_keeps_the_profile(tmp_path):
    made = create_development_pki(tmp_path / "pki", {"1234": "A", "5678": "B"}, now=NOW)
    for files in made.carriers.values():
        leaf, ca = parse_chain(files.chain.read_bytes()).certificates
        assert check_profile(leaf, Role.LEAF) == ()
        assert check_profile(ca, Role.INTERMEDIATE) == ()
        assert files.key.stat().st_mode & 0o777 == 0o600
    (root,) = load_trust_list(made.root).roots
    assert check_profile(root, Role.ROOT) == ()
    assert [role_of(c) for c in (leaf, ca, root)] == [Role.LEAF, Role.INTERMEDIATE, Role.ROOT]
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700


def test_the_development_pki_is_left_alone_until_it_must_change(tmp_path):
    folder = tmp_path / "pki"
    make = lambda now, **more: create_development_pki(folder, {"1": "A"}, now=now, **more)  # noqa: E731
    first = make(NOW).root.read_bytes()
    assert make(NOW + 80 * DAY).root.read_bytes() == first
    second = make(NOW + 89 * DAY + 1).root.read_bytes()
    assert second != first
    assert make(NOW + 89 * DAY + 1, revoked=("1",)).root.read_bytes() != second


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: _without(b, x509.KeyUsage), "KEY_USAGE"),
        (lambda b: _without(b, x509.SubjectKeyIdentifier), "SKI"),
        (lambda b: _without(b, x509.AuthorityKeyIdentifier), "AKI"),
        (lambda b: _without(b, x509.CertificatePolicies), "POLICY"),
        (lambda b: _without(b, x509.CRLDistributionPoints), "CRLDP"),
        (lambda b: _without(b, x509.UnrecognizedExtension), "TNAUTHLIST"),
        (
            lambda b: b.add_extension(
                x509.SubjectAlternativeName([x509.DNSName("x.example")]), critical=False
            ),
            "SAN",
        ),
        (_raw(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00", critical=True), "CRITICAL_UNKNOWN"),
        (lambda b: b.subject_name_of("Carrier"), "SUBJECT_CN"),
        (lambda b: b.subject_name_of("SHAKEN 9999"), "SPC_CONTRADICTION"),
    ],
)
def test_departures_from_the_profile_are_named(pki, change, code, monkeypatch):
    monkeypatch.setattr(
        x509.CertificateBuilder,
        "subject_name_of",
        lambda self, common: _renamed(self, common),  # noqa: PLW0108
        raising=False,
    )
    leaf = pki.leaf(change=change)
    assert code in [violation.code for violation in check_profile(leaf, Role.LEAF)]
    assert all(v.text and v.source for v in check_profile(leaf, Role.LEAF))


def _renamed(builder, common):
    builder._subject_name = name(common)
    return builder


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_raw(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00", critical=True), Reason.CERT_PROFILE),
        (lambda b: _renamed(b, "SHAKEN 9999"), Reason.CERT_PROFILE),
        (lambda b: _without(b, x509.UnrecognizedExtension), Reason.TNAUTHLIST_MISSING),
        (
            lambda b: _raw(tnauthlist.OID, b"\x30\x00")(_without(b, x509.UnrecognizedExtension)),
            Reason.TNAUTHLIST_INVALID,
        ),
        (_raw(constraints.OID, b"\x30\x00"), Reason.CERT_PROFILE),
    ],
)
def test_departures_that_bear_on_trust_refuse(pki, change, expected):
    assert reason(pki.validate(pki.leaf(change=change))) is expected


def test_no_key_usage_or_a_ca_flag_refuses(pki):
    assert isinstance(
        pki.validate(pki.leaf(change=lambda b: _without(b, x509.KeyUsage))), Untrusted
    )
    authority = pki.ca.create_intermediate("own ca", **DATES, tnauthlist=TNAuthList((SPC("1"),)))
    assert isinstance(pki.validate(authority.certificate), Untrusted)


def test_naming_refuses_only_when_strict(pki):
    leaf = pki.leaf(change=lambda b: _without(b, x509.SubjectKeyIdentifier))
    assert isinstance(pki.validate(leaf), TrustedSigner)
    assert reason(pki.validate(leaf, profile=ProfilePolicy(strict=True))) is Reason.CERT_PROFILE


def test_another_curve_is_refused(pki):
    key = ec.generate_private_key(ec.SECP384R1())
    leaf = pki.ca.issue_shaken("1234", key.public_key(), **DATES)
    assert reason(pki.validate(leaf)) is Reason.CERT_PROFILE


def delegation(pki, parent, child):
    authority = pki.ca.create_intermediate("delegator", **DATES, tnauthlist=TNAuthList(parent))
    leaf = authority.issue(name("delegate"), TNAuthList(child), pki.key.public_key(), **DATES)
    return pki.validate(leaf, above=authority.above)


def test_a_delegate_with_numbers_and_no_code_is_trusted(pki):
    """Peers refuse it: they want an SPC as the first entry."""
    ranges = (TNRange(TN("100"), TN("199")), TN("555"))
    signer = delegation(pki, (SPC("1234"),), ranges)
    assert isinstance(signer, TrustedSigner)
    assert signer.spc is None
    assert signer.tnauthlist == TNAuthList(ranges)


def test_a_delegate_cannot_exceed_its_issuer(pki):
    inside = delegation(pki, (TNRange(TN("100"), TN("199")),), (TN("150"),))
    assert isinstance(inside, TrustedSigner)
    for parent, child in (
        ((TNRange(TN("100"), TN("199")),), (TN("200"),)),
        ((TNRange(TN("100"), TN("199")),), (SPC("1"),)),
        ((SPC("1"),), (SPC("2"),)),
    ):
        assert reason(delegation(pki, parent, child)) is Reason.TNAUTHLIST_NOT_COVERED


def test_a_chain_of_delegates_only_narrows(pki):
    one = pki.ca.create_intermediate("one", **DATES, tnauthlist=TNAuthList((SPC("1"),)))
    two = one.create_intermediate(
        "two", **DATES, tnauthlist=TNAuthList((TNRange(TN("100"), TN("199")),))
    )
    for number, good in (("150", True), ("250", False)):
        leaf = two.issue(name("leaf"), TNAuthList((TN(number),)), pki.key.public_key(), **DATES)
        outcome = pki.validate(leaf, above=two.above)
        assert isinstance(outcome, TrustedSigner) is good


def test_constraints_of_the_whole_path_are_collected(pki):
    rule = constraints_der("attest", "B")
    authority = pki.ca.create_intermediate(
        "constrained", **DATES, tnauthlist=TNAuthList((SPC("1"),)),
        change=_raw(constraints.OID, rule),
    )  # fmt: skip
    leaf = authority.issue_shaken("1", pki.key.public_key(), **DATES)
    signer = pki.validate(leaf, above=authority.above)
    assert isinstance(signer, TrustedSigner)
    assert signer.constraints[0].permitted_values == (("attest", ("B",)),)


def constraints_der(claim, value):
    inner = b"\x30" + bytes([len(value) + 2]) + b"\x0c" + bytes([len(value)]) + value.encode()
    entry = b"\x16" + bytes([len(claim)]) + claim.encode() + inner
    entry = b"\x30" + bytes([len(entry)]) + entry
    listed = b"\x30" + bytes([len(entry)]) + entry
    tagged = b"\xa1" + bytes([len(listed)]) + listed
    return b"\x30" + bytes([len(tagged)]) + tagged


# Reading -----------------------------------------------------------------------------------------


def test_pem_and_der_are_read_alike(pki):
    leaf = pki.leaf()
    der = leaf.public_bytes(Encoding.DER)
    assert parse_chain(der) == parse_chain(pem(leaf))
    chain = parse_chain(pem(leaf, pki.ca.certificate))
    assert chain.spc == "1234"
    assert chain.not_after == END
    assert chain.digest != parse_chain(pem(leaf)).digest


@given(st.binary(max_size=300))
def test_any_octets_give_a_chain_or_our_error(data):
    for octets in (data, b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----"):
        with pytest.raises(ParseError) as caught:
            parse_chain(octets)
        assert caught.value.reason is Reason.CERT_MALFORMED


def test_chains_are_bounded(pki):
    one = pem(pki.leaf())
    with pytest.raises(ParseError, match="certificates"):
        parse_chain(one * 11)
    with pytest.raises(ParseError, match="octets"):
        parse_chain(one + b"#" * 70_000)
    assert isinstance(parse_chain(one * 10), Chain)


def test_a_certificate_with_one_octet_changed_is_not_trusted(pki):
    der = bytearray(pki.leaf().public_bytes(Encoding.DER))
    for position in range(0, len(der), 37):
        changed = bytearray(der)
        changed[position] ^= 1
        try:
            chain = parse_chain(bytes(changed))
        except ParseError:
            continue
        chain = msgspec.structs.replace(chain, certificates=(*chain.certificates, *pki.ca.above))
        outcome = validate(
            chain, now=NOW, trust=TrustList((pki.root.certificate,), "t"),
            revocation=pki.view(pki.crl()),
        )  # fmt: skip
        assert isinstance(outcome, Untrusted), position


def test_keys_of_other_kinds_are_refused(pki):
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = pki.ca.issue_shaken("1234", key.public_key(), **DATES)
    assert isinstance(pki.validate(leaf), Untrusted)


# Trust lists -------------------------------------------------------------------------------------


def test_trust_lists_from_bundle_and_folder(pki, tmp_path):
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(pem(pki.root.certificate, pki.admin.certificate, pki.root.certificate))
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "a.pem").write_bytes(pem(pki.admin.certificate))
    (folder / "b.crt").write_bytes(pem(pki.root.certificate))
    (folder / "README").write_text("not a certificate")
    first, second = load_trust_list(bundle), load_trust_list(folder)
    assert len(first.roots) == 2
    assert first.version == second.version
    (folder / "b.crt").unlink()
    assert load_trust_list(folder).version != first.version


def test_an_empty_trust_list_loads(tmp_path):
    (tmp_path / "empty").mkdir()
    assert load_trust_list(tmp_path / "empty") == TrustList()
    (tmp_path / "empty.pem").write_bytes(b"\n")
    assert load_trust_list(tmp_path / "empty.pem") == TrustList()


def test_a_trust_list_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pem"):
        load_trust_list(tmp_path / "none.pem")
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "bad.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"bad\.pem"):
        load_trust_list(folder)
