"""Lists whose names are spelled otherwise than the certificates' (RFC 5280 sections 6.3.3 and 7.1).

Judged beside `openssl verify -crl_check` over generated ASCII spellings, direct and indirect; by
vectors where OpenSSL compares octets. OpenSSL demands that list and certificate share a root.
"""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spelling import attribute, changed, names, spelled

from zhenxian.certs.ca import DAY, Authority, new_key, pem
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.revocation import RevocationPolicy, State, build_view
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason

NOW = 1_795_500_000
BEGIN, END = NOW - DAY, NOW + 90 * DAY
URL = "https://lists.example/crl"
O, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME  # noqa: E741


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def name(*pairs):
    return x509.Name([attribute(*pair) for pair in pairs])


class Made:
    """A root; below it a CA and a signer of lists; a leaf of the CA. All named as told."""

    root = Authority.create_root(not_before=BEGIN, not_after=END)
    ca_key, office_key, leaf_key = new_key(), new_key(), new_key()

    def __init__(self, ca, office=None, points=()):
        self.ca = self._issue(ca, self.ca_key, authority=True)
        self.office = self._issue(office or name((CN, "office")), self.office_key, authority=True)
        self.leaf = self._issue(name((CN, "leaf")), self.leaf_key, issuer=ca, points=points)

    def _issue(self, subject, key, *, authority=False, issuer=None, points=()):
        usage = [not authority, False, False, False, False, authority, authority, False, False]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self.root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment(BEGIN))
            .not_valid_after(moment(END))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.KeyUsage(*usage), critical=True)
        )
        if points:
            builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
        signer = self.root.key if issuer is None else self.ca_key
        return builder.sign(signer, hashes.SHA256())

    def crl(self, issuer, *, entry=None, listed=True, indirect=False, points=None):
        """A list of the CA, or an indirect one of the office, that calls itself `issuer`."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer)
            .last_update(moment(NOW - 60))
            .next_update(moment(NOW + DAY))
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        if indirect or points:
            builder = builder.add_extension(
                x509.IssuingDistributionPoint(points, None, False, False, None, indirect, False),
                critical=True,
            )
        if listed:
            revoked = (
                x509.RevokedCertificateBuilder()
                .serial_number(self.leaf.serial_number)
                .revocation_date(moment(NOW - 60))
            )
            if indirect:
                named = x509.CertificateIssuer([x509.DirectoryName(entry or self.ca.subject)])
                revoked = revoked.add_extension(named, critical=True)
            builder = builder.add_revoked_certificate(revoked.build())
        key = self.office_key if indirect else self.ca_key
        return builder.sign(key, hashes.SHA256())

    def ours(self, *lists, issuers=None, above=()):
        view, problems = build_view(
            [crl.public_bytes(Encoding.DER) for crl in lists],
            issuers=TrustList((self.office,) if issuers is None else issuers),
            trust=TrustList((self.root.certificate,)),
            policy=RevocationPolicy.REQUIRE,
        )
        assert not problems
        return view.status(self.leaf, self.ca, NOW, above).state

    def openssl(self, folder, crl):
        """What OpenSSL says of the leaf."""
        files = {
            "root.pem": pem(self.root.certificate),
            "between.pem": pem(self.ca, self.office),
            "leaf.pem": pem(self.leaf),
            "list.pem": crl.public_bytes(Encoding.PEM),
        }
        for file, content in files.items():
            (folder / file).write_bytes(content)
        command = ["openssl", "verify", "-crl_check", "-extended_crl", "-attime", str(NOW)]
        command += ["-CAfile", "root.pem", "-untrusted", "between.pem", "-CRLfile", "list.pem"]
        done = subprocess.run(
            [*command, "leaf.pem"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        if done.returncode == 0:
            return State.GOOD
        if "certificate revoked" in done.stderr:
            return State.REVOKED
        uncovered = ("unable to get certificate CRL", "different CRL scope")
        assert any(text in done.stderr for text in uncovered), done.stderr
        return State.UNKNOWN


def point(*issuers, url=URL):
    return x509.DistributionPoint(
        [x509.UniformResourceIdentifier(url)],
        None,
        None,
        [x509.DirectoryName(issuer) for issuer in issuers] or None,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    assert shutil.which("openssl"), "openssl is missing: scripts/peers test"
    return tmp_path_factory.mktemp("openssl")


SPELLINGS = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SPELLINGS
@given(data=st.data())
def test_a_direct_list_is_judged_as_openssl_does(folder, data):
    rdns = data.draw(names())
    made = Made(data.draw(spelled(rdns)))
    same = data.draw(st.booleans())
    issuer = data.draw(spelled(rdns if same else data.draw(changed(rdns))))
    crl = made.crl(issuer, listed=data.draw(st.booleans()))
    state = made.openssl(folder, crl)
    assert made.ours(crl) is state
    assert (state is State.UNKNOWN) is not same


@SPELLINGS
@given(data=st.data())
def test_an_indirect_list_is_judged_as_openssl_does(folder, data):
    # They differ in one RDN at least: one name of two keys puzzles OpenSSL.
    ca = [[(NameOID.TITLE, ["authority"])], *data.draw(names())]
    office = [[(NameOID.TITLE, ["office"])], *data.draw(names())]
    other = data.draw(st.sampled_from(("", "", "cRLIssuer", "list", "entry")))

    def written(rdns, where):
        return data.draw(spelled(data.draw(changed(rdns)) if other == where else rdns))

    signer = data.draw(spelled(office))
    made = Made(data.draw(spelled(ca)), signer, [point(written(office, "cRLIssuer"))])
    crl = made.crl(
        written(office, "list"),
        entry=written(ca, "entry"),
        listed=data.draw(st.booleans()),
        indirect=True,
    )
    state = made.openssl(folder, crl)
    mine = made.ours(crl)
    if other == "cRLIssuer" and mine is State.REVOKED:
        # Whom the operator trusts with lists revokes what does not name them, too.
        assert state is State.UNKNOWN
    else:
        assert mine is state


# Vectors ----------------------------------------------------------------------------------------

UTF8, PRINTABLE = StringType.UTF8String, StringType.PrintableString
WAYS = [
    ([(O, "Field"), (CN, "Field CA")], [(O, "FIELD"), (CN, "field ca")]),
    ([(O, "Field"), (CN, "Field CA", UTF8)], [(O, "Field"), (CN, "Field CA", PRINTABLE)]),
    ([(O, "Field"), (CN, "Field CA")], [(O, "Field"), (CN, " Field   CA ")]),
    ([(O, "Field"), (CN, "Straße 1")], [(O, "Field"), (CN, "STRASSE\u00a01")]),
    ([(O, "Field"), (CN, "电信 ＣＡ")], [(O, "Field"), (CN, "电信\u3000ca", StringType.BMPString)]),
    ([(O, "é"), (CN, "x")], [(O, "E\u0301", StringType.UniversalString), (CN, "x")]),
]


@pytest.mark.parametrize(("one", "other"), [*WAYS, *(way[::-1] for way in WAYS)])
def test_a_revocation_counts_however_the_list_spells_its_issuer(one, other):
    made = Made(name(*one), name((CN, "List Office")), [point(name((CN, "List Office")))])
    assert made.ours(made.crl(name(*other))) is State.REVOKED
    assert made.ours(made.crl(name(*other), listed=False)) is State.GOOD
    entry = made.crl(name((CN, "list  office")), entry=name(*other), indirect=True)
    assert made.ours(entry) is State.REVOKED


@pytest.mark.parametrize(("one", "other"), WAYS)
def test_a_list_covers_however_the_certificate_spells_the_lists_issuer(one, other):
    made = Made(name((CN, "Field CA")), name(*one), [point(name(*other))])
    for issuer in (one, other):
        assert made.ours(made.crl(name(*issuer), listed=False, indirect=True)) is State.GOOD
        assert made.ours(made.crl(name(*issuer), indirect=True)) is State.REVOKED


def test_an_entry_may_give_its_issuer_several_names():
    made = Made(name((CN, "Field CA")))
    crl = made.crl(name((CN, "office")), indirect=True, listed=False)
    named = x509.CertificateIssuer(
        [x509.DirectoryName(name((CN, "other"))), x509.DirectoryName(name((CN, "FIELD CA")))]
    )
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(made.leaf.serial_number)
        .revocation_date(moment(NOW - 60))
        .add_extension(named, critical=True)
    )
    builder = x509.CertificateRevocationListBuilder().issuer_name(crl.issuer)
    builder = builder.last_update(moment(NOW - 60)).next_update(moment(NOW + DAY))
    for extension in crl.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    crl = builder.add_revoked_certificate(entry.build()).sign(made.office_key, hashes.SHA256())
    assert made.ours(crl) is State.REVOKED


@pytest.mark.parametrize(
    ("in_certificate", "in_list", "state"),
    [
        ("https://lists.example/crl", "HTTPS://Lists.Example:443/crl", State.GOOD),
        ("https://lists.example/%7ea/crl", "https://lists.example/~a/b/../crl", State.GOOD),
        ("https://lists.example/crl", "https://lists.example/CRL", State.UNKNOWN),
        ("https://lists.example/crl", "http://lists.example/crl", State.UNKNOWN),
    ],
)
def test_distribution_points_are_compared_as_addresses_are(in_certificate, in_list, state):
    office = name((CN, "List Office"))
    made = Made(name((CN, "Field CA")), office, [point(office, url=in_certificate)])
    point_of_list = [x509.UniformResourceIdentifier(in_list)]
    assert made.ours(made.crl(office, listed=False, indirect=True, points=point_of_list)) is state
    assert made.ours(made.crl(office, indirect=True, points=point_of_list)) is State.REVOKED


def test_a_distribution_point_may_be_a_name():
    office = name((CN, "List Office"))
    named = [x509.DirectoryName(name((CN, "shard  ONE")))]
    at = x509.DistributionPoint(
        [x509.DirectoryName(name((CN, "Shard one", PRINTABLE)))],
        None,
        None,
        [x509.DirectoryName(office)],
    )
    made = Made(name((CN, "Field CA")), office, [at])
    assert made.ours(made.crl(office, listed=False, indirect=True, points=named)) is State.GOOD
    other = [x509.DirectoryName(name((CN, "shard two")))]
    assert made.ours(made.crl(office, listed=False, indirect=True, points=other)) is State.UNKNOWN


def test_a_newer_list_takes_the_place_of_one_spelled_otherwise():
    made = Made(name((CN, "Field CA")))
    older, newer = (made.crl(name((CN, text)), listed=False) for text in ("Field CA", "FIELD ca"))
    later = newer.last_update_utc
    builder = x509.CertificateRevocationListBuilder().issuer_name(name((CN, "FIELD ca")))
    builder = builder.last_update(moment(later.timestamp() + 30)).next_update(moment(NOW + DAY))
    lifted = builder.sign(made.ca_key, hashes.SHA256())
    revoking = made.crl(name((CN, "Field CA")))
    assert made.ours(revoking) is State.REVOKED
    assert made.ours(revoking, older) is State.REVOKED
    assert made.ours(revoking, lifted) is made.ours(lifted, revoking) is State.GOOD


def test_roots_are_looked_up_however_a_certificate_spells_them():
    """A root that the certificate names as issuer of its list speaks for it."""
    spelled_otherwise = name(
        (NameOID.COUNTRY_NAME, "US", PRINTABLE),
        (O, "ZHENXIAN  development", PRINTABLE),
        (CN, "shaken root", StringType.BMPString),
    )
    made = Made(name((CN, "Field CA")), None, [point(spelled_otherwise)])
    crl = made.root.issue_crl([], this_update=NOW - 60, next_update=NOW + DAY, indirect=True)
    at = [x509.UniformResourceIdentifier(URL)]
    read = x509.load_pem_x509_crl(crl)
    builder = x509.CertificateRevocationListBuilder().issuer_name(read.issuer)
    builder = builder.last_update(read.last_update_utc).next_update(moment(NOW + DAY))
    builder = builder.add_extension(
        x509.IssuingDistributionPoint(at, None, False, False, None, True, False), critical=True
    )
    crl = builder.sign(made.root.key, hashes.SHA256())
    assert made.ours(crl, issuers=(), above=(made.root.certificate,)) is State.GOOD


def test_another_cas_list_of_nearly_the_same_name_does_not_count():
    """The names match, the key does not: it may not speak for this CA."""
    made = Made(name((CN, "Field CA")))
    hostile = Made(name((CN, "FIELD CA")))
    hostile.ca_key = new_key()
    hostile.leaf = made.leaf
    assert made.ours(hostile.crl(name((CN, "Field CA")))) is State.UNKNOWN
    assert made.ours(made.crl(name((CN, "FIELD CA")), listed=False)) is State.GOOD


# Cases of the field, made anew -------------------------------------------------------------------


def revoked_in_another_case():
    """The CA's own list spells its issuer in another letter case."""
    root = Authority.create_root("Field Root", not_before=BEGIN, not_after=END)
    ca = root.create_intermediate("Field CA", not_before=BEGIN, not_after=END)
    leaf = ca.issue_shaken("1001", new_key().public_key(), not_before=BEGIN, not_after=END)
    parts = [(a.oid, str(a.value).swapcase() if a.oid == CN else str(a.value)) for a in leaf.issuer]
    builder = x509.CertificateRevocationListBuilder().issuer_name(name(*parts))
    entry = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number)
    builder = builder.last_update(moment(NOW - 60)).next_update(moment(NOW + DAY))
    builder = builder.add_revoked_certificate(entry.revocation_date(moment(NOW - 60)).build())
    return root, ca, leaf, builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM), ()


def good_by_a_list_spelled_otherwise():
    """cRLIssuer PrintableString, the list's issuer UTF8String."""
    office = Authority.create_root("List Office CRL", not_before=BEGIN, not_after=END)
    printable = [(a.oid, str(a.value), PRINTABLE) for a in office.certificate.subject]
    root = Authority.create_root(
        "Field Root", not_before=BEGIN, not_after=END, crl_issuer=name(*printable)
    )
    ca = root.create_intermediate("Field CA", not_before=BEGIN, not_after=END)
    leaf = ca.issue_shaken("1001", new_key().public_key(), not_before=BEGIN, not_after=END)
    crl = office.issue_crl([], this_update=NOW - 60, next_update=NOW + DAY, indirect=True)
    return root, ca, leaf, crl, (office.certificate,)


@pytest.mark.parametrize("policy", RevocationPolicy)
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (revoked_in_another_case, Reason.CERT_REVOKED),
        (good_by_a_list_spelled_otherwise, None),
    ],
)
def test_cases_of_the_field(case, expected, policy):
    root, ca, leaf, crl, issuers = case()
    trust = TrustList((root.certificate,), "t")
    view, problems = build_view([crl], issuers=TrustList(issuers), trust=trust, policy=policy)
    assert not problems
    outcome = validate(parse_chain(pem(*ca.chain(leaf))), now=NOW, trust=trust, revocation=view)
    if expected is None:
        assert isinstance(outcome, TrustedSigner)
        assert not outcome.revocation_unchecked
        assert outcome.notes == ()
    else:
        assert isinstance(outcome, Untrusted)
        assert outcome.reason is expected
