"""Issuing certificates and revocation lists: the development PKI, and the material of tests.

Every time is an argument. Keys are P-256, certificates follow the SHAKEN profile; whoever wants
one that does not (tests do) changes the builder on its way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from zhenxian.certs import tnauthlist
from zhenxian.certs.profile import POLICY_ARC
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.core.errors import ConfigError, shown

DAY: Final = 86_400  # seconds
CRL_URL: Final = "http://crl.invalid/shaken.crl"  # .invalid never resolves (RFC 6761)
_CRL_FILE: Final = "sti-pa.crl"
_SPC: Final = re.compile(r"[A-Za-z0-9]{1,10}\Z")  # it becomes part of file names
_BACKDATE: Final = 3_600  # seconds a new certificate is valid already, for clocks that lag

Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def _unchanged(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in PEM, SEC1 as SIP software reads it; unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def pem(*certificates: x509.Certificate) -> bytes:
    """A chain in PEM, in the order given."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def name(common: str, organisation: str = "Zhenxian development") -> x509.Name:
    """A subject of the profile: C, O, CN."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """A CA: its certificate, its key, and the certificates from it up to below the root."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        above: tuple[x509.Certificate, ...] = (),
        crl_issuer: x509.Name | None = None,
    ) -> None:
        self.certificate = certificate
        self.key = key
        self.above = above
        self.crl_issuer = crl_issuer

    @classmethod
    def create_root(
        cls,
        common: str = "SHAKEN root",
        *,
        not_before: int,
        not_after: int,
        crl_issuer: x509.Name | None = None,
        change: Change = _unchanged,
        subject: x509.Name | None = None,
    ) -> Authority:
        """A self-signed root, under a common name or a whole name."""
        key = new_key()
        subject = subject or name(common)
        builder = _builder(subject, subject, key.public_key(), not_before, not_after, None)
        builder = _as_authority(builder, key.public_key())
        return cls(change(builder).sign(key, hashes.SHA256()), key, (), crl_issuer)

    def create_intermediate(
        self,
        common: str = "SHAKEN intermediate",
        *,
        not_before: int,
        not_after: int,
        tnauthlist: TNAuthList | None = None,
        change: Change = _unchanged,
    ) -> Authority:
        """A CA below this one; with a TNAuthList, one that delegates (RFC 9060)."""
        key = new_key()
        builder = self._issued(name(common), key.public_key(), not_before, not_after, None)
        builder = _as_authority(builder, key.public_key())
        builder = self._distribution(builder)
        if tnauthlist is not None:
            builder = _listed(builder, tnauthlist)
        certificate = change(builder).sign(self.key, hashes.SHA256())
        return Authority(certificate, key, (certificate, *self.above), self.crl_issuer)

    def issue_shaken(
        self,
        spc: str,
        public_key: ec.EllipticCurvePublicKey,
        *,
        not_before: int,
        not_after: int,
        organisation: str = "Zhenxian development",
        serial: int | None = None,
        change: Change = _unchanged,
    ) -> x509.Certificate:
        """A carrier's certificate: CN "SHAKEN <SPC>", TNAuthList of that one code."""
        return self.issue(
            name(f"SHAKEN {spc}", organisation),
            TNAuthList((SPC(spc),)),
            public_key,
            not_before=not_before,
            not_after=not_after,
            serial=serial,
            change=change,
        )

    def issue(
        self,
        subject: x509.Name,
        listed: TNAuthList | None,
        public_key: ec.EllipticCurvePublicKey,
        *,
        not_before: int,
        not_after: int,
        serial: int | None = None,
        change: Change = _unchanged,
    ) -> x509.Certificate:
        """A certificate that signs calls: a carrier's, or a delegate's for some numbers."""
        builder = self._issued(subject, public_key, not_before, not_after, serial)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=True, authority=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )
        builder = self._distribution(builder)
        if listed is not None:
            builder = _listed(builder, listed)
        return change(builder).sign(self.key, hashes.SHA256())

    def chain(self, leaf: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """What x5u serves for a certificate of this CA: leaf first, root left out."""
        return (leaf, *self.above)

    def issue_crl(
        self,
        revoked: Iterable[x509.Certificate] = (),
        *,
        this_update: int,
        next_update: int,
        indirect: bool = False,
        url: str = CRL_URL,
    ) -> bytes:
        """A revocation list in PEM; an indirect one names its URL and each one's own issuer."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_time(this_update))
            .next_update(_time(next_update))
            .add_extension(x509.CRLNumber(this_update), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if indirect:
            builder = builder.add_extension(
                x509.IssuingDistributionPoint(
                    full_name=[x509.UniformResourceIdentifier(url)],
                    relative_name=None,
                    only_contains_user_certs=False,
                    only_contains_ca_certs=False,
                    only_some_reasons=None,
                    indirect_crl=True,
                    only_contains_attribute_certs=False,
                ),
                critical=True,
            )
        for certificate in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(_time(this_update))
            )
            if indirect:
                entry = entry.add_extension(
                    x509.CertificateIssuer([x509.DirectoryName(certificate.issuer)]), critical=True
                )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _issued(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        not_before: int,
        not_after: int,
        serial: int | None,
    ) -> x509.CertificateBuilder:
        return (
            _builder(subject, self.certificate.subject, public_key, not_before, not_after, serial)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.CertificatePolicies(
                    [x509.PolicyInformation(x509.ObjectIdentifier(f"{POLICY_ARC}4"), None)]
                ),
                critical=False,
            )
        )

    def _distribution(self, builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        issuer = self.crl_issuer or self.certificate.subject
        point = x509.DistributionPoint(
            full_name=[x509.UniformResourceIdentifier(CRL_URL)],
            relative_name=None,
            reasons=None,
            crl_issuer=[x509.DirectoryName(issuer)],
        )
        return builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    not_before: int,
    not_after: int,
    serial: int | None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(_time(not_before))
        .not_valid_after(_time(not_after))
    )


def _as_authority(
    builder: x509.CertificateBuilder, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(sign=False, authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _listed(builder: x509.CertificateBuilder, listed: TNAuthList) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.UnrecognizedExtension(tnauthlist.OID, listed.dumps()), critical=False
    )


class CarrierFiles(NamedTuple):
    """A sample carrier's key (mode 0600) and chain (leaf first)."""

    key: Path
    chain: Path


class DevelopmentPki(NamedTuple):
    """Where create_development_pki put what."""

    root: Path
    intermediate: Path
    crl_issuers: Path
    crl_folder: Path
    carriers: dict[str, CarrierFiles]


def create_development_pki(
    folder: Path,
    carriers: Mapping[str, str],
    *,
    now: int,
    revoked: Iterable[str] = (),
    days: int = 90,
) -> DevelopmentPki:
    """Make a PKI below a folder of mode 0700: root, intermediate, one certificate a carrier.

    A STI-PA of its own signs the revocation list.

    A PKI that is complete, of the same carriers and not about to end is left as it is. The CA's
    own keys are thrown away: what was issued is replaced as a whole, never added to.

    Args:
        carriers: names by service provider code.
        now: seconds since the epoch.
        revoked: codes whose certificate is revoked.
        days: how long everything is valid.

    Raises:
        ConfigError: the folder cannot be written, or a code is not letters and digits.
    """
    for spc in carriers:
        if _SPC.match(spc) is None:
            raise ConfigError(f"{shown(spc)}: a service provider code is letters and digits")
    made = DevelopmentPki(
        folder / "root.pem",
        folder / "intermediate.pem",
        folder / "sti-pa.pem",
        folder / "crl",
        {
            spc: CarrierFiles(folder / f"{spc}.key.pem", folder / f"{spc}.chain.pem")
            for spc in carriers
        },
    )
    stamp = folder / "valid-until"
    want = " ".join([*sorted(carriers), "revoked:", *sorted(revoked)])
    try:
        if stamp.is_file() and all(file.is_file() for file in _files(made)):
            until, _, present = stamp.read_text(encoding="utf-8").partition(" ")
            if present == want and until.isdecimal() and now < int(until) - DAY:
                return made
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.crl_folder.mkdir(mode=0o700, exist_ok=True)
        stamp.unlink(missing_ok=True)
        end = now + days * DAY
        _fill(made, carriers, frozenset(revoked), now - _BACKDATE, end)
        stamp.write_text(f"{end} {want}", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    return made


def _files(made: DevelopmentPki) -> Iterator[Path]:
    yield from (made.root, made.intermediate, made.crl_issuers, made.crl_folder / _CRL_FILE)
    for files in made.carriers.values():
        yield from files


def _fill(
    made: DevelopmentPki,
    carriers: Mapping[str, str],
    revoked: frozenset[str],
    begin: int,
    end: int,
) -> None:
    administrator = Authority.create_root("STI-PA CRL", not_before=begin, not_after=end)
    root = Authority.create_root(
        not_before=begin, not_after=end, crl_issuer=administrator.certificate.subject
    )
    intermediate = root.create_intermediate(not_before=begin, not_after=end)
    stopped = []
    for spc, organisation in carriers.items():
        key = new_key()
        leaf = intermediate.issue_shaken(
            spc, key.public_key(), not_before=begin, not_after=end, organisation=organisation
        )
        files = made.carriers[spc]
        _write(files.key, key_pem(key), 0o600)
        _write(files.chain, pem(*intermediate.chain(leaf)), 0o644)
        if spc in revoked:
            stopped.append(leaf)
    _write(made.root, pem(root.certificate), 0o644)
    _write(made.intermediate, pem(intermediate.certificate), 0o644)
    _write(made.crl_issuers, pem(administrator.certificate), 0o644)
    listed = administrator.issue_crl(stopped, this_update=begin, next_update=end, indirect=True)
    _write(made.crl_folder / _CRL_FILE, listed, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
