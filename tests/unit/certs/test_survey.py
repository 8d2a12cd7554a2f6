"""A folder of certificates: what is read, trusted, refused, and covered by which list."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from test_profile import without
from typer.testing import CliRunner

from scripts import collection
from zhenxian.certs.ca import DAY, Authority, name, new_key, pem
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.survey import addresses, read_folder, stand_ins, survey
from zhenxian.cli.commands import app
from zhenxian.core.reasons import Reason

AT = 1_755_475_200  # 2025-08-18
DATES = {"not_before": AT - DAY, "not_after": AT + DAY}
KEY = new_key().public_key()
MAIN, OTHER = "https://a.example/crl", "http://b.example/crl"


def points(*urls, issuer=None):
    named = [x509.DirectoryName(issuer)] if issuer is not None else None
    value = x509.CRLDistributionPoints(
        [
            x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, named)
            for url in urls
        ]
    )
    return lambda b: without(b, x509.CRLDistributionPoints).add_extension(value, critical=False)


PA = name("STI-PA")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Leaves and CAs in files of their own, as the public collection has them."""
    made = tmp_path_factory.mktemp("collection")
    root = Authority.create_root("root", **DATES)
    ca = root.create_intermediate("ca", **DATES, change=points(MAIN, issuer=PA))
    late = {"not_before": AT - 9 * DAY, "not_after": AT - DAY}
    stranger = Authority.create_root("stranger", **DATES)
    files = {
        "root": [root.certificate],
        "other root": [Authority.create_root("other root", **DATES).certificate],
        "ca": [ca.certificate],
        "named": [ca.issue_shaken("1", KEY, **DATES, change=points(MAIN, issuer=PA))],
        "unnamed": [ca.issue_shaken("2", KEY, **DATES, change=points(MAIN))],
        "elsewhere": [ca.issue_shaken("3", KEY, **DATES, change=points(OTHER))],
        "nowhere": [
            ca.issue_shaken(
                "4", KEY, **DATES, change=lambda b: without(b, x509.CRLDistributionPoints)
            )
        ],
        "expired": [ca.issue_shaken("5", KEY, **late)],
        "no usage": [
            ca.issue_shaken("6", KEY, **DATES, change=lambda b: without(b, x509.KeyUsage))
        ],
        "stranger": [stranger.create_intermediate("lost", **DATES).issue_shaken("7", KEY, **DATES)],
        "again": [ca.issue_shaken("8", KEY, **DATES, change=points(MAIN)), ca.certificate],
    }
    (made / "below").mkdir()
    for file, certificates in files.items():
        (made / "below" / f"{file}.pem").write_bytes(pem(*certificates))
    (made / "named.der").write_bytes(files["named"][0].public_bytes(Encoding.DER))
    (made / "garbage.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    return made


def surveyed(folder, urls, **how):
    found = read_folder(folder)
    trust = found.anchors()
    view, problems = stand_ins(found, urls, at=AT, trust=trust, **how)
    assert not problems
    cases = survey(found, at=AT, trust=trust, revocation=view, profile=ProfilePolicy())
    return {case.file.split("/")[-1]: case for case in cases}


def test_a_folder_is_read_once_each(folder):
    found = read_folder(folder)
    assert (found.files, found.certificates, len(found.leaves)) == (13, 11, 8)
    assert list(found.unreadable) == ["garbage.pem"]
    assert "DER" in found.unreadable["garbage.pem"]
    assert addresses(found).most_common(1)[0][0] == MAIN
    assert len(found.anchors().roots) == 2


def test_each_case_has_its_reason_and_its_list(folder):
    cases = surveyed(folder, (MAIN, OTHER))
    assert {file: case.reason for file, case in cases.items()} == {
        "named.pem": None,
        "unnamed.pem": None,
        "elsewhere.pem": None,
        "nowhere.pem": None,
        "again.pem": None,
        "expired.pem": Reason.CERT_EXPIRED,
        "no usage.pem": Reason.CERT_PROFILE,
        "stranger.pem": Reason.CERT_UNTRUSTED,
    }
    assert {file for file, case in cases.items() if not case.live} == {
        "expired.pem",
        "stranger.pem",
    }
    grounds = {file: case.covered[0].split(":")[0] for file, case in cases.items() if case.covered}
    assert grounds == {
        "named.pem": "named",
        "unnamed.pem": "address",
        "elsewhere.pem": "address",
        "nowhere.pem": "assigned",
        "again.pem": "address",
    }
    assert "leaf CRLDP" in cases["unnamed.pem"].departures


def test_the_main_list_alone_and_by_the_letter(folder):
    assigned = surveyed(folder, (MAIN,))
    assert assigned["elsewhere.pem"].reason is Reason.CRL_UNAVAILABLE
    assert assigned["unnamed.pem"].reason is None
    letter = surveyed(folder, (MAIN,), assigned=False)
    trusted = {file for file, case in letter.items() if case.reason is None}
    assert trusted == {"named.pem"}


def test_the_command_prints_the_table(folder):
    def run(*arguments):
        result = CliRunner().invoke(
            app, ["pki", "survey", str(folder), "--at", "2025-08-18", *arguments]
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    told = json.loads(run("--json", "--cases"))
    assert (told["files"], told["live"], told["trusted"]) == (13, 6, 5)
    assert told["trusted_percent"] == 83.33
    assert told["refused"] == {"CERT_PROFILE": 1}
    assert told["not_live"] == {"CERT_EXPIRED": 1, "CERT_UNTRUSTED": 1}
    assert len(told["cases"]) == 8
    assert sum(told["covered_by"].values()) == 10
    plain = run("--lists", "main")
    assert "CRL_UNAVAILABLE" in plain
    assert "of them trusted" in plain
    assert json.loads(run("--json", "--lists", "none"))["covered_by"] == {"none": 10}
    assert json.loads(run("--json", "--lists", "given"))["trusted"] == 0


def test_certificates_are_taken_out_of_the_collection(tmp_path, folder):
    leaf = x509.load_der_x509_certificate((folder / "named.der").read_bytes())
    der = leaf.public_bytes(Encoding.DER)
    link = urllib.parse.quote(b64encode(der).decode(), safe="")
    repository = tmp_path / "collection"
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@a.example"]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "page.md").write_text(f"[View](https://x509.io/?cert={link})\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "page"], check=True)
    out = tmp_path / "out"
    assert collection.main(repository, out) == 1
    (file,) = out.iterdir()
    assert x509.load_pem_x509_certificate(file.read_bytes()) == leaf
