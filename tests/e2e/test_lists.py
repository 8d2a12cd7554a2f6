"""Revocation lists over REST: whose names are spelled otherwise, whose issuer the operator assigns,
and addresses that strangers' certificates name."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from running import free_port, metric, until, verdict

from zhenxian.certs import ca
from zhenxian.certs.ca import Authority, new_key
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.simulation.demo import COURIER

CN = NameOID.COMMON_NAME


def spelled(name, change=str.swapcase, kind=StringType.PrintableString):
    """The name with its common name in another case and type."""
    return x509.Name(
        [x509.NameAttribute(a.oid, change(a.value) if a.oid == CN else a.value, kind) for a in name]
    )


class Realm:
    """A root, a CA and the office of its lists, and who is where."""

    def __init__(self, label, *urls, crl_issuer=None):
        now = int(time.time())
        self.dates = {"not_before": now - 3600, "not_after": now + 30 * ca.DAY}
        self.now = now
        self.office = Authority.create_root(f"{label} lists", **self.dates)
        self.root = Authority.create_root(f"{label} root", **self.dates)
        self.urls, self.crl_issuer = urls, crl_issuer
        self.ca = self.root.create_intermediate(
            f"{label} CA", change=self.pointing(*urls), **self.dates
        )

    def pointing(self, *urls):
        def change(builder):
            builder._extensions = [
                e
                for e in builder._extensions
                if not isinstance(e.value, x509.CRLDistributionPoints)
            ]
            named = [x509.DirectoryName(self.crl_issuer)] if self.crl_issuer is not None else None
            points = [
                x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, named)
                for url in urls
            ]
            if not points:
                return builder
            return builder.add_extension(x509.CRLDistributionPoints(points), critical=False)

        return change

    def carrier(self, host, name, *urls, authority=None):
        """A certificate that the host serves: its address, its key, itself."""
        key, authority = new_key(), authority or self.ca
        leaf = authority.issue_shaken(
            "2002", key.public_key(), change=self.pointing(*(urls or self.urls)), **self.dates
        )
        x5u = host.publish(name, ca.pem(*authority.chain(leaf)))
        return x5u, ca.key_pem(key), leaf

    def crl(self, *revoked, signer=None, issuer=None, indirect=True, point=None):
        signer = signer or self.office
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer or signer.certificate.subject)
            .last_update(datetime.fromtimestamp(self.now - 60, UTC))
            .next_update(datetime.fromtimestamp(self.now + ca.DAY, UTC))
        )
        if indirect:
            where = [x509.UniformResourceIdentifier(point)] if point else None
            distribution = x509.IssuingDistributionPoint(
                where, None, False, False, None, True, False
            )
            builder = builder.add_extension(distribution, critical=True)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            entry = entry.revocation_date(datetime.fromtimestamp(self.now - 60, UTC))
            if indirect:
                named = x509.CertificateIssuer([x509.DirectoryName(spelled(certificate.issuer))])
                entry = entry.add_extension(named, critical=True)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def configured(*realms, lists=(), trust=""):
    """Change the service's settings to these realms; `trust` replaces who may sign lists."""

    def alter(world):
        folder = world.config.parent
        for index, realm in enumerate(realms):
            (folder / f"root{index}.pem").write_bytes(ca.pem(realm.root.certificate))
            (folder / f"office{index}.pem").write_bytes(ca.pem(realm.office.certificate))
        roots = ca.pem(*(realm.root.certificate for realm in realms)) + world.pki.root.read_bytes()
        (folder / "roots.pem").write_bytes(roots)
        for index, listed in enumerate(lists):
            (world.pki.crl_folder / f"own{index}.crl").write_bytes(listed)
        text = world.config.read_text()
        kept = [
            line for line in text.splitlines() if not line.startswith(("roots =", "crl_issuers ="))
        ]
        text = "\n".join(kept).replace("[trust]", '[trust]\nroots = "roots.pem"\n' + trust)
        world.config.write_text(text)

    return alter


def table(index, *roots, addresses=()):
    listed = ", ".join(f'"{url}"' for url in addresses)
    lines = ["[[trust.crl_issuers]]", f'certificates = "office{index}.pem"']
    lines += [f'roots = "root{root}.pem"' for root in roots]
    return "\n".join([*lines, f"addresses = [{listed}]", ""])


def after_trust(*tables):
    """Tables of trust.crl_issuers; written after the keys of [trust]."""

    def alter(inner):
        def changed(world):
            inner(world)
            text = world.config.read_text()
            world.config.write_text("\n".join([text, *tables]))

        return changed

    return alter


def judge(service, client, carrier):
    x5u, key, _ = carrier
    return verdict(client, COURIER, service.token("", COURIER, x5u=x5u, key=key))


def says(answer):
    return answer["verstat"], answer["reason"]


PASSED = ("TN-Validation-Passed", "VERIFIED")
REVOKED = ("TN-Validation-Failed", "CERT_REVOKED")
UNCOVERED = ("No-TN-Validation", "CRL_UNAVAILABLE")


@pytest.mark.parametrize("policy", ["require", "prefer"])
def test_a_revocation_counts_however_names_are_spelled(serve, host, policy):
    direct, indirect = Realm("direct"), Realm("indirect", "https://lists.example/crl")
    carriers = direct.carrier(host, "direct.pem"), indirect.carrier(host, "indirect.pem")
    name = spelled(direct.ca.certificate.subject)
    lists = (
        direct.crl(carriers[0][2], signer=direct.ca, issuer=name, indirect=False),
        indirect.crl(carriers[1][2], issuer=spelled(indirect.office.certificate.subject)),
    )
    alter = configured(direct, indirect, lists=lists, trust='crl_issuers = "office1.pem"')
    service = serve(alter=alter, trust__revocation=policy)
    with service.client() as client:
        for carrier in carriers:
            assert says(judge(service, client, carrier)) == REVOKED


def test_a_list_covers_whoever_spells_its_issuer_otherwise(serve, host):
    realm = Realm("field", "https://lists.example/crl")
    realm.crl_issuer = spelled(realm.office.certificate.subject)
    realm.ca = realm.root.create_intermediate(
        "field CA", change=realm.pointing(*realm.urls), **realm.dates
    )
    carrier = realm.carrier(host, "field.pem")
    alter = configured(realm, lists=[realm.crl()], trust='crl_issuers = "office0.pem"')
    service = serve(alter=alter)
    with service.client() as client:
        answer = judge(service, client, carrier)
        assert says(answer) == PASSED
        assert not any("trust.crl_issuers" in note for note in answer.get("notes", ()))


def test_two_lists_and_two_roots(serve, host):
    """Each list covers what is below the root that its issuer speaks for, and says so."""
    first = Realm("first", f"{host.base}/first.crl")
    second = Realm("second", f"{host.base}/second.crl")
    host.publish("first.crl", first.crl())
    host.publish("second.crl", second.crl())
    stray = Realm("second", f"{host.base}/first.crl")
    stray.root, stray.office = second.root, second.office
    stray.ca = second.ca
    delegate = first.ca.create_intermediate(
        "delegate",
        tnauthlist=TNAuthList((SPC("2002"),)),
        change=first.pointing(*first.urls),
        **first.dates,
    )
    carriers = {
        "first": first.carrier(host, "first.pem"),
        "second": second.carrier(host, "second.pem"),
        "stray": stray.carrier(host, "stray.pem"),
    }
    first.urls = second.urls = ()
    carriers |= {
        "first, no point": first.carrier(host, "bare1.pem"),
        "delegate's, no point": first.carrier(host, "bare2.pem", authority=delegate),
    }
    alter = after_trust(table(0, 0), table(1, 1))(configured(first, second))
    service = serve(alter=alter)
    with service.client() as client:
        answers = {name: judge(service, client, carrier) for name, carrier in carriers.items()}
        assert says(answers["first"]) == says(answers["second"]) == PASSED
        assert says(answers["first, no point"]) == PASSED
        assert says(answers["stray"]) == says(answers["delegate's, no point"]) == UNCOVERED
        assert "first lists" in answers["first"]["notes"][0]
        assert "second lists" in answers["second"]["notes"][0]
        assert "points to none" in answers["first, no point"]["notes"][0]
        text = client.get("/metrics").text
        assert metric(text, "zhenxian_revocation_unchecked_total") == 0


def test_a_list_put_there_by_hand_and_its_address_told(serve, host):
    """As an operator does who fetches lists elsewhere."""
    url = "https://lists.example/crl"
    realm = Realm("field", url)
    carrier = realm.carrier(host, "field.pem")
    alter = after_trust(table(0, 0, addresses=[url]))(configured(realm, lists=[realm.crl()]))
    service = serve(alter=alter)
    with service.client() as client:
        answer = judge(service, client, carrier)
        assert says(answer) == PASSED
        rests = [note for note in answer["notes"] if "rests on trust.crl_issuers" in note]
        assert len(rests) == 2


def test_addresses_that_do_not_answer_harm_nobody(serve, host):
    """They are learnt from a signed token only, two a certificate, and not for ever."""
    realm = Realm("field", f"{host.base}/good.crl")
    host.publish("good.crl", realm.crl(point=f"{host.base}/good.crl"))
    dead = free_port()
    silent = [f"http://127.0.0.1:{dead}/{number}.crl" for number in range(200)]
    absent = [f"{host.base}/absent{number}.crl" for number in range(200)]
    hostile = realm.carrier(host, "hostile.pem", *silent)
    noisy = realm.carrier(host, "noisy.pem", *absent)
    good = realm.carrier(host, "good.pem")
    alter = after_trust(table(0, 0))(configured(realm))
    service = serve(alter=alter)
    with service.client() as client:
        wrong = (noisy[0], good[1], None)
        assert says(judge(service, client, wrong)) == UNCOVERED
        assert host.asked == ["/noisy.pem"]  # its key signed nothing: nobody is asked
        assert says(judge(service, client, noisy)) == UNCOVERED
        asked = [path for path in host.asked if path.endswith(".crl")]
        # Two for the certificate, one for its CA, which is good.
        assert sorted(asked) == ["/absent0.crl", "/absent1.crl", "/good.crl"]
        assert says(judge(service, client, hostile)) == UNCOVERED
        assert says(judge(service, client, good)) == PASSED
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["problems"] == []
        until(lambda: "absent0.crl" in service.logged())
        assert any("absent0.crl" in text for text in client.get("/readyz").json()["remarks"])
        metrics = client.get("/metrics").text
        assert metric(metrics, "zhenxian_lists_total", outcome="failed") >= 4
        assert metric(metrics, "zhenxian_certificates_total", outcome="fetched") >= 3
        assert service.stop() == 0
    service.start()
    with service.client() as client:
        assert client.get("/readyz").status_code == 200
        time.sleep(1.5)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["problems"]) == (200, [])
        assert says(judge(service, client, good)) == PASSED


def test_a_chain_cached_unsigned_has_its_lists_fetched_once_it_signs(serve, host):
    realm = Realm("field", f"{host.base}/good.crl")
    host.publish("good.crl", realm.crl())
    x5u, key, leaf = realm.carrier(host, "good.pem")
    service = serve(alter=after_trust(table(0, 0))(configured(realm)))
    with service.client() as client:
        wrong = (x5u, ca.key_pem(new_key()), leaf)
        for _ in range(3):
            assert says(judge(service, client, wrong)) == UNCOVERED
        assert "/good.crl" not in host.asked
        assert says(judge(service, client, (x5u, key, leaf))) == PASSED


@pytest.mark.parametrize(("policy", "ready"), [("require", 503), ("prefer", 200)])
def test_a_configured_list_counts_for_readiness_where_it_is_required(serve, host, policy, ready):
    """It is the operator's, and without it what it covers cannot be verified."""
    realm = Realm("field", f"{host.base}/own.crl")
    service = serve(
        alter=after_trust(table(0, 0))(configured(realm)),
        trust__revocation=policy,
        trust__crl_urls=f'["{host.base}/own.crl"]',
    )
    with service.client() as client:
        answer = until(lambda: (a := client.get("/readyz")).json().get("remarks") and a)
        assert answer.status_code == ready
        told = answer.json()["problems"] or answer.json()["remarks"]
        assert any("own.crl" in text for text in told)
    service.stop()
    host.publish("own.crl", realm.crl())
    service.start()
    with service.client() as client:
        until(lambda: client.get("/readyz").json() == {"status": "ok", "problems": []})
        host.files.clear()
        host.stop()
        time.sleep(1.5)
        assert client.get("/readyz").status_code == 200
