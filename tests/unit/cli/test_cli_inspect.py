"""`zhenxian inspect` on keys, requests and certificates, in PEM and DER."""

from __future__ import annotations

import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_cli import _run

from zhenxian.certs.ca import Authority
from zhenxian.certs.tnauthlist import OID, SPC, TNAuthList


def _material(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SHAKEN 1234")]))
        .add_extension(
            x509.UnrecognizedExtension(OID, TNAuthList((SPC("1234"),)).dumps()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public = key.public_key()
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    locked = (serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    files = {}
    for form, encoding in (
        ("PEM", serialization.Encoding.PEM),
        ("DER", serialization.Encoding.DER),
    ):
        files |= {
            f"private {form}": key.private_bytes(encoding, *private),
            f"locked {form}": key.private_bytes(encoding, *locked),
            f"public {form}": public.public_bytes(encoding, spki),
            f"request {form}": request.public_bytes(encoding),
        }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return key, files


def test_inspect_says_what_keys_and_requests_are(tmp_path):
    key, files = _material(tmp_path)
    kinds = {
        "private": ("private key", "nothing of the private half is shown", 0),
        "locked": ("private key", "under a password", 1),
        "public": ("public key", "fits ES256", 0),
        "request": ("certificate request", "its signature verifies", 0),
    }
    secret = f"{key.private_numbers().private_value:x}"
    for file in files:
        kind, text, code = kinds[file.split()[0]]
        result = _run("inspect", f"@{tmp_path / file}", "--json")
        assert result.exit_code == code
        (told,) = json.loads(result.stdout)["objects"]
        assert told["kind"] == kind
        assert text in told["text"]
        plain = _run("inspect", f"@{tmp_path / file}")
        assert text in plain.stdout
        for output in (result.output, plain.output):
            assert secret not in output.lower()
            assert "BEGIN" not in output
    told = json.loads(_run("inspect", f"@{tmp_path / 'request DER'}", "--json").stdout)
    assert told["objects"][0]["tnauthlist"] == "SPC 1234"
    both = tmp_path / "both"
    both.write_bytes(files["private PEM"] + files["public PEM"])
    told = json.loads(_run("inspect", f"@{both}", "--json").stdout)
    assert [entry["kind"] for entry in told["objects"]] == ["private key", "public key"]
    other = tmp_path / "p384"
    other.write_bytes(
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )  # fmt: skip
    assert "signs no calls" in _run("inspect", f"@{other}").stdout


def test_inspect_shows_nothing_of_a_key_that_it_cannot_read(tmp_path):
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    result = _run("inspect", f"@{file}")
    assert result.exit_code == 1
    assert "cannot be read" in result.stdout
    assert "c2VjcmV0" not in result.output
    file.write_bytes(bytes([0x30, 0x82, 0xFF]) + b"secret")
    result = _run("inspect", f"@{file}")
    assert result.exit_code == 2
    assert "secret" not in result.output


def test_inspect_takes_der_and_tells_critical_extensions_serial_and_points(installation, tmp_path):
    leaf = x509.load_pem_x509_certificates(installation.pki.carriers["1001"].chain.read_bytes())[0]
    file = tmp_path / "leaf.der"
    file.write_bytes(leaf.public_bytes(serialization.Encoding.DER))
    (told,) = json.loads(_run("inspect", f"@{file}", "--json").stdout)["certificates"]
    assert told["critical"] == ["basicConstraints (2.5.29.19)", "keyUsage (2.5.29.15)"]
    assert 0 < told["serial_octets"] <= 20
    assert told["key"] == "P-256"
    assert [len(point["addresses"]) for point in told["points"]] == [1]
    plain = _run("inspect", f"@{file}").stdout
    assert "critical extensions: basicConstraints" in plain
    assert "revocation list: http" in plain
    two = Authority.create_root(not_before=0, not_after=2**31).issue_shaken(
        "1", leaf.public_key(), not_before=0, not_after=2**31,
        change=lambda b: b.add_extension(
            x509.FreshestCRL(leaf.extensions.get_extension_for_class(
                x509.CRLDistributionPoints).value), critical=True
        ),
    )  # fmt: skip
    file.write_bytes(two.public_bytes(serialization.Encoding.DER))
    result = _run("inspect", f"@{file}")
    assert result.exit_code == 1
    assert "the critical extension 2.5.29.46 is not enforced here" in result.stdout
