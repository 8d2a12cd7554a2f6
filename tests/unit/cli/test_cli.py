"""The command line: what it does, its exit status, and that its help teaches."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from random import Random

import pytest
import typer
from pools import unanswered
from pydantic import BaseModel
from streams import calls, pool
from typer.testing import CliRunner

from zhenxian.analytics import Key, KeyKind
from zhenxian.cli.commands import app
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.es256 import Choice
from zhenxian.registry.journal import Nested, put
from zhenxian.registry.model import Holding
from zhenxian.service.build import build
from zhenxian.service.reference import settings_rows
from zhenxian.service.settings import Settings, load_settings
from zhenxian.simulation.demo import BANK, CALLEE, HOTLINE
from zhenxian.stores.sqlite.file import RegistryFile

RUNNER = CliRunner()
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _sockets(socket_enabled):
    """Commands ask a service on loopback that is not there."""


def _run(*arguments, stdin=None):
    """In process: for commands that end with an answer (exit status 0 or 1) or wrong usage."""
    result = RUNNER.invoke(app, [str(each) for each in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _process(*arguments, folder=None, stdin=""):
    return subprocess.run(
        [sys.executable, "-m", "zhenxian", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=folder,
        timeout=60,
        check=False,
    )


# Signing and verifying --------------------------------------------------------------------------


def _signed(config, *more):
    return _run("sign", BANK, CALLEE, "--access", "bank-trunk", "-c", config, *more)


def test_sign_prints_the_header_and_why(installation):
    result = _signed(installation.config)
    assert result.exit_code == 0
    assert ";ppt=" in result.stdout
    assert result.stdout.count("\n") == 1
    assert "attestation A" in result.stderr
    told = json.loads(_signed(installation.config, "--json").stdout)
    assert told["signingResponse"]["decision"] == "HELD_AND_VERIFIED"


def test_sign_says_who_stands_behind_a_privacy_number_and_why_he_calls(installation):
    told = _signed(installation.config, "--caller", "12a")
    assert told.exit_code == 1
    assert "caller.tn" in told.stderr
    told = _signed(installation.config, "--extension", "x")
    assert "extension" in told.stderr
    told = _signed(installation.config, "--purpose", "a\nb")
    assert "purpose" in told.stderr
    signed = _signed(installation.config, "--caller", BANK, "--purpose", "marketing")
    assert signed.exit_code == 0
    verify = ("verify", signed.stdout.strip(), "--orig", BANK, "--dest", CALLEE)
    told = _run(*verify, "--purpose", "", "-c", installation.config)
    assert told.exit_code == 1
    assert "purpose" in told.stderr


def test_sign_refused_is_status_1_and_says_why(installation):
    result = _run("sign", HOTLINE, CALLEE, "-c", installation.config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "DO_NOT_ORIGINATE" in result.stderr
    result = _run("sign", "12a", CALLEE, "-c", installation.config, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["requestError"]


def test_sign_knows_what_the_service_knows_of_conduct_and_keeps_it(installation):
    service = build(load_settings(installation.config))
    now = int(time.time())
    keys = (Key(KeyKind.ACCESS, "bank-trunk"), Key(KeyKind.SUBJECT, "bank"))
    unanswered(service.keeper.conduct, calls(keys, pool(Random(3), 150), start=now - 150, every=1))
    asyncio.run(service.close())
    result = _signed(installation.config)
    assert result.exit_code == 1
    assert "POOLED_DISPLAY" in result.stderr
    service = build(load_settings(installation.config))
    service.keeper.restore()
    assert service.keeper.conduct.picture(keys[0], now).calls == 151
    asyncio.run(service.close())


def test_verify_tells_each_check_and_the_first_that_failed(installation, tmp_path):
    """Nobody serves the chain here: the call is not verified, and that is said."""
    identity = _signed(installation.config).stdout
    file = tmp_path / "identity.txt"
    file.write_text(identity)
    common = ("--orig", BANK, "--dest", CALLEE, "-c", installation.config)
    for argument, stdin in ((f"@{file}", None), ("-", identity), (identity.strip(), None)):
        result = _run("verify", argument, *common, stdin=stdin)
        assert result.exit_code == 1
        assert "No-TN-Validation" in result.stdout
        assert "436 Bad Identity Info" in result.stdout
    result = _run("verify", f"@{file}", *common, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verificationResponse"]["reason"] == "CERT_UNREACHABLE"


@pytest.mark.parametrize("mark", ["[/red]", "[bold]", "[link=http://x]y[/link]"])
def test_what_others_wrote_is_printed_as_it_is(installation, mark):
    """None of it is markup: no traceback, nothing left out."""
    config = ("-c", installation.config)
    shown = _run("verify", f"a.{mark}.b;info=<x>", "--orig", BANK, "--dest", CALLEE, *config)
    assert shown.exit_code == 1
    assert mark in shown.stdout
    assert mark in _run("inspect", f"a.{mark}.b;info=<x>").stdout
    assert mark in _run("verify", "x", "--orig", mark, "--dest", CALLEE, *config).stderr
    assert mark in _run("sign", BANK, mark, *config).stderr
    for wrong in (("key", "list", f"/{mark}"), ("registry", "list", mark)):
        assert _process(*wrong).returncode in (2, 3)


# Explaining -------------------------------------------------------------------------------------


def test_inspect_explains_a_header(installation):
    identity = _signed(installation.config).stdout.strip()
    # Its x5u is on loopback over http, which no policy but a development one takes.
    result = _run("inspect", identity)
    assert BANK in result.stdout
    assert result.exit_code == 1
    steps = json.loads(_run("inspect", identity, "--json").stdout)["headers"][0]
    bad = [step for step in steps if step["state"] == "bad"]
    assert len(bad) == 1
    assert "x5u" in json.dumps(bad[0]) or "http" in bad[0]["text"]
    stale = _run("inspect", identity, "--window", "1")
    assert stale.exit_code == 1


@pytest.mark.parametrize("text", ["nonsense", "a.b.c;info=<x>;alg=none;ppt=shaken", ";;;"])
def test_inspect_names_what_is_wrong(text):
    result = _run("inspect", text)
    assert result.exit_code == 1
    assert json.loads(_run("inspect", text, "--json").stdout)["headers"]


def test_inspect_explains_a_chain_and_a_bare_token_is_wrong_usage(installation):
    chain = installation.pki.carriers["1001"].chain
    result = _run("inspect", f"@{chain}")
    assert result.exit_code == 0
    assert "1001" in result.stdout
    told = json.loads(_run("inspect", f"@{chain}", "--json").stdout)
    assert len(told["certificates"]) == 2
    result = _run("inspect", "a.b.c")
    assert result.exit_code == 2
    assert "info" in result.stderr
    assert _run("inspect", "@/does/not/exist").exit_code == 2


# PKI and keys -----------------------------------------------------------------------------------


def test_pki_is_created_once_and_shown(tmp_path):
    made = ("pki", "create", tmp_path / "pki", "--carrier", "1234=North Telecom")
    result = _run(*made, "--json")
    assert result.exit_code == 0
    files = json.loads(result.stdout)["carriers"]["1234"]
    content = Path(files["key"]).read_text()
    assert "trust.roots" in _run(*made).stdout
    assert Path(files["key"]).read_text() == content
    assert (tmp_path / "pki").stat().st_mode & 0o077 == 0
    shown = _run("pki", "show", files["chain"])
    assert shown.exit_code == 0
    assert "1234" in shown.stdout
    assert json.loads(_run("pki", "show", files["chain"], "--json").stdout)["certificates"]


def test_pki_wrong_usage(tmp_path):
    for bad in ("1234", "=x", "12 4=x", "1234="):
        assert _run("pki", "create", tmp_path / "p", "--carrier", bad).exit_code == 2
    arguments = ("pki", "create", tmp_path / "p", "--carrier", "1=x", "--revoke", "2")
    assert _run(*arguments).exit_code == 2
    assert not (tmp_path / "p").exists()


def test_keys_are_shown_once(tmp_path):
    file = tmp_path / "keys.toml"
    add = ("key", "add", file, "--name", "sbc-1", "--role", "proxy", "--role", "operator")
    result = _run(*add, "--dialect", "3gpp", "--json")
    assert result.exit_code == 0
    key = json.loads(result.stdout)["key"]
    assert key.startswith("zx_")
    assert key not in file.read_text()
    listed = _run("key", "list", file)
    assert "sbc-1" in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout
    (row,) = json.loads(_run("key", "list", file, "--json").stdout)["keys"]
    assert (row["roles"], row["dialect"]) == (["operator", "proxy"], "3gpp")
    assert _run("key", "add", file, "--name", "x", "--role", "king").exit_code == 2
    assert _run("key", "add", file, "--name", "x", "--role", "platform").exit_code == 2
    platform = ("--name", "x", "--role", "platform", "--subject", "courier")
    assert _run("key", "add", file, *platform).exit_code == 0


def test_client_certificates_are_added_and_listed(tmp_path, installation):
    file = tmp_path / "keys.toml"
    chain = installation.pki.root
    add = ("key", "add", file, "--role", "proxy", "--name")
    told = _run(*add, "east", "--certificate", installation.pki.root, "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["certificate"] in file.read_text()
    assert "CN=west" in _run(*add, "west", "--distinguished-name", "CN=west").stdout
    rows = json.loads(_run("key", "list", file, "--json").stdout)["keys"]
    assert [row["name"] for row in rows] == ["east", "west"]
    assert all(row["id"].startswith("cert-") for row in rows)
    both = _run(*add, "x", "--distinguished-name", "CN=x", "--certificate", chain)
    assert both.exit_code == 2


# Doctor -----------------------------------------------------------------------------------------


def _findings(config):
    result = _run("doctor", "-c", config, "--json")
    return result.exit_code, json.loads(result.stdout)["findings"]


def test_doctor_finds_nothing_wrong_with_a_good_installation(installation):
    status, findings = _findings(installation.config)
    assert status == 0
    assert not [finding for finding in findings if finding["state"] == "problem"]
    subjects = {finding["subject"] for finding in findings}
    assert subjects >= {
        "settings",
        "exposure",
        "certificate",
        "own chain",
        "trust list",
        "registry",
    }
    text = _run("doctor", "-c", installation.config)
    assert text.exit_code == 0
    assert "zhenxian serve" in text.stdout  # it does not answer yet
    assert _run("doctor", "--alive", "-c", installation.config).exit_code == 1


def test_doctor_says_what_keeps_the_registry(installation, monkeypatch):
    def engine():
        return next(
            f["text"] for f in _findings(installation.config)[1] if f["subject"] == "engine"
        )

    assert engine().startswith("embedded, in ")
    monkeypatch.setenv("ZHENXIAN_FLEET__URL", "redis://user:secret@127.0.0.1:6379/0")
    monkeypatch.setenv("ZHENXIAN_FLEET__NAME", "north")
    assert engine().startswith("fleet north on Redis, this node's copy in ")
    assert "secret" not in engine()


def test_doctor_says_what_is_not_known_without_a_country(installation):
    (told,) = [f for f in _findings(installation.config)[1] if f["subject"] == "numbers"]
    assert (told["state"], "CN" in told["text"]) == ("ok", True)
    config = installation.config
    config.write_text(config.read_text().replace('country = "CN"', ""))
    status, findings = _findings(config)
    (told,) = [finding for finding in findings if finding["subject"] == "numbers"]
    assert (status, told["state"], told["advice"]) == (0, "warning", "set numbers.country")
    assert "urn:service:sos" in told["text"]
    assert "hosts" not in {finding["subject"] for finding in findings}


def test_doctor_says_what_is_not_known_without_own_hosts(installation):
    (told,) = [f for f in _findings(installation.config)[1] if f["subject"] == "hosts"]
    assert (told["state"], told["advice"]) == ("warning", "set numbers.hosts")
    config = installation.config
    text = config.read_text().replace("[numbers]", '[numbers]\nhosts = ["ims.north.example"]')
    config.write_text(text)
    assert "hosts" not in {finding["subject"] for finding in _findings(config)[1]}


@pytest.mark.parametrize(("choice", "told"), [("auto", "AWS-LC"), ("openssl", "OpenSSL")])
def test_doctor_says_what_makes_signatures(installation, monkeypatch, choice, told):
    monkeypatch.setattr("zhenxian.passport.es256._chosen", Choice.AUTO)  # and back to it
    monkeypatch.setenv("ZHENXIAN_SERVER__ES256", choice)
    (found,) = [f for f in _findings(installation.config)[1] if f["subject"] == "signatures"]
    assert (found["state"], found["advice"]) == ("ok", "")
    assert found["text"].startswith(f"ES256 by {told}")


def test_doctor_says_what_would_make_signatures_quicker(installation, monkeypatch):
    monkeypatch.setattr("zhenxian.passport.es256._chosen", Choice.AUTO)
    monkeypatch.setattr("zhenxian.passport.es256._aws_lc", lambda: None)
    status, findings = _findings(installation.config)
    (found,) = [f for f in findings if f["subject"] == "signatures"]
    assert (status, found["state"]) == (0, "ok")
    assert found["text"].startswith("ES256 by OpenSSL")
    assert "zhenxian[aws-lc]" in found["advice"]
    monkeypatch.setenv("ZHENXIAN_SERVER__ES256", "aws-lc")
    status, findings = _findings(installation.config)
    assert status == 1
    assert "zhenxian[aws-lc]" in json.dumps(findings)


def test_doctor_tells_what_an_earlier_release_took_with_an_area_code(installation):
    """Calls are read as 95588, so such a holding has no effect."""
    coded = ("8675595588", "861095588", "8695533", "8675510000-8675510999", "86755110")
    others = ("95533", "8675512345678", "8675595588000", "861095588123")
    registered(installation, *coded, *others)
    found = _findings(installation.config)[1]
    texts = [f["text"] for f in found if "no effect" in f["text"]]
    assert sorted(text.split(" ")[1] for text in texts) == sorted(coded)
    (told,) = [f for f in found if "holding 8675595588 of bank " in f["text"]]
    assert (told["state"], told["subject"]) == ("warning", "registry")
    assert "read as 95588" in told["text"]
    assert "register again as 95588" in told["advice"]
    (told,) = [text for text in texts if "8675510000-8675510999" in text]
    assert "on some of its numbers" in told
    assert "read as 10000 and the like" in told


def test_doctor_tells_no_more_of_them_than_anybody_reads(installation):
    registered(installation, *(f"867559{number}" for number in range(5500, 5600)))
    told = [f for f in _findings(installation.config)[1] if "no effect" in f["text"]]
    assert len(told) == 20


def registered(installation, *numbers):
    book = RegistryFile(installation.config.parent / "state" / "registry.db", writer=True)
    changes = [put(Holding(numbers=ranged(number), subject="bank")) for number in numbers]
    book.write(changes, author="t", reason="t", now=int(time.time()), nested=Nested.TAKEN)
    book.close()


def ranged(text):
    first, _, last = text.partition("-")
    return TNRange(TN(first), TN(last or first))


BROKEN = {
    "a setting": ('data = "state"', 'data = "state"\ncolour = "red"', "colour", "settings.md"),
    "exposure": ("127.0.0.1:9", "0.0.0.0:9", "0.0.0.0:9", "zhenxian key add"),
    "no roots": ("roots = ", "crl_urls = []\n#", "empty", "trust.roots"),
    "a missing file": ("issuers.toml", "none.toml", "none.toml", "does not start"),
    "another key": ("1001.key.pem", "2002.key.pem", "not the key", "the key that"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_doctor_says_what_is_wrong_and_what_to_do(installation, name):
    before, after, says, advice = BROKEN[name]
    text = installation.config.read_text()
    assert before in text
    installation.config.write_text(text.replace(before, after))
    status, findings = _findings(installation.config)
    assert status == 1
    problems = " ".join(
        f"{finding['text']} {finding['advice']}"
        for finding in findings
        if finding["state"] == "problem"
    )
    assert says in problems
    assert advice in problems


def test_doctor_finds_a_readable_key_and_a_revoked_or_untrusted_chain(installation):
    key = installation.pki.carriers["1001"].key
    key.chmod(0o644)
    status, findings = _findings(installation.config)
    assert status == 1
    assert f"chmod 600 {key}" in json.dumps(findings)
    key.chmod(0o600)
    text = installation.config.read_text()
    installation.config.write_text(text.replace("1001.", "6666."))
    status, findings = _findings(installation.config)
    assert status == 1
    assert "CERT_REVOKED" in json.dumps(findings)


# Exit status and help ---------------------------------------------------------------------------


def test_what_cannot_be_done_is_one_sentence_and_status_3(tmp_path):
    for arguments in (
        ("serve", "-c", "none.toml"),
        ("sign", BANK, CALLEE, "-c", "none.toml"),
        ("pki", "show", "none.pem"),
        ("key", "list", "none.toml"),
    ):
        result = _process(*arguments, folder=tmp_path)
        assert (result.returncode, result.stdout) == (3, ""), arguments
        assert result.stderr.startswith("zhenxian: ")
        assert "none." in result.stderr
        assert "Traceback" not in result.stderr
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"\x00garbage")
    result = _process("pki", "show", garbage)
    assert result.returncode == 3
    assert "Traceback" not in result.stderr


def test_wrong_usage_is_status_2():
    for arguments in (["nothing"], ["sign"], ["verify", "x"], ["serve", "--workers", "x"]):
        assert _run(*arguments).exit_code == 2


def _commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_every_command_teaches(path):
    result = _run(*path, "--help")
    assert result.exit_code == 0
    text = COMMANDS[path].help
    assert len(text) > 60
    for parameter in COMMANDS[path].params:
        assert parameter.name == "help" or parameter.help, parameter.name
        assert parameter.name != "key_file"  # --api-key-file, everywhere
    for part in text.split("\n\n"):  # wrapped where it is shown, not where the code's lines end
        assert part.startswith(" ") or "\n" not in part
    if path not in (("serve",), ("registry", "export"), ("openapi",)):
        assert any("--json" in parameter.opts for parameter in COMMANDS[path].params)
    if path not in (("serve",), ("key", "add"), ("key", "list")):
        assert "Example:" in text or "Exit status" in text


def test_help_of_serve_lists_every_setting():
    text = _process("serve", "--help").stdout
    flat = "".join(text.split()).replace("│", "")
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for member in kind.model_fields:
                assert f"{name}.{member}=" in flat, f"{name}.{member}"
        else:
            assert f"{name}=" in flat


def test_help_of_serve_says_all_that_is_said_of_a_setting():
    flat = " ".join(_process("serve", "--help").stdout.split())
    for row in settings_rows():
        assert f"{row.key} = {row.default} {' '.join(row.text.split())}" in flat


def test_the_demonstration_ends_as_expected(tmp_path):
    result = _process("demo", "--json", "--folder", tmp_path / "demo", "--listen", "127.0.0.1:0")
    assert result.returncode == 0, result.stderr
    calls = json.loads(result.stdout)["calls"]
    assert len(calls) == 26
    assert all(call["good"] for call in calls)
    assert {call["verstat"] for call in calls} >= {"TN-Validation-Passed", "TN-Validation-Failed"}
    columns = ("call", "display", "attest", "verstat", "reason")
    told = [[call[name] for name in columns] for call in calls]
    readme = (ROOT / "README.md").read_text()
    rows = [[cell.strip() for cell in row[1:-1].split("│")] for row in re.findall("│.*│", readme)]
    assert [_at_any_call(row) for row in rows] == [_at_any_call(row) for row in told]


def _at_any_call(row):
    """How many calls a pool makes until it is found, and so which number it shows, may change."""
    call = re.sub(r"call \d+$", "call N", row[0])
    return row if call == row[0] else [call, *row[2:]]


def test_the_version_is_that_of_the_distribution():
    ended = _process("--version")
    assert (ended.returncode, ended.stdout) == (0, f"zhenxian {version('zhenxian')}\n")
