"""Revocation lists that nobody has signed yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from zhenxian.certs import ca


def unsigned(entries):
    """The builder of a list of so many serial numbers of eleven octets, by the issuer "Lists"."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    revoked = [
        x509.RevokedCertificateBuilder().serial_number(1 << 80 | n).revocation_date(now).build()
        for n in range(entries)
    ]
    return x509.CertificateRevocationListBuilder(
        ca.name("Lists"), now, now + timedelta(days=1), [], revoked
    )
