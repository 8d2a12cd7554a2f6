"""Who may ask the redirect service: addresses, rates, digest."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
from sips import Clock, invite
from typer.testing import CliRunner

from zhenxian.cli.commands import app
from zhenxian.core.errors import ConfigError
from zhenxian.simulation.demo import CALLEE
from zhenxian.sip.access import AccessRules, networks, within
from zhenxian.sip.admission import STRANGERS_PER_SECOND, Door, Rate
from zhenxian.sip.digest import NONCE_SECONDS, Algorithm, Digest, add_user, load_users, parameters

URI = f"sip:+{CALLEE}@b.example"


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.toml"
    add_user(path, "proxy", "zhenxian", "secret")
    add_user(path, "other", "zhenxian", "word")
    return path


@pytest.fixture
def guarded(line_of, users):
    clock = Clock()
    line = line_of(door=Door(AccessRules(), digest=Digest(load_users(users), b"k" * 32, clock)))
    line.time = clock
    return line


def _challenge(reply, algorithm):
    for value in reply.all("WWW-Authenticate"):
        found = parameters(value)
        if found["algorithm"] == algorithm:
            return found
    raise AssertionError(reply.fields)


def credentials(
    challenge,
    *,
    user="proxy",
    password="secret",
    uri=URI,
    count="00000001",
    method="INVITE",
    **more,
):
    """What RFC 7616 section 3.4 has a client answer, computed apart from our code."""
    name = {"SHA-256": "sha256", "MD5": "md5"}[challenge["algorithm"]]

    def hashed(text):
        return hashlib.new(name, text.encode()).hexdigest()

    secret = hashed(f"{user}:{challenge['realm']}:{password}")
    asked = hashed(f"{method}:{uri}")
    response = hashed(f"{secret}:{challenge['nonce']}:{count}:abc:auth:{asked}")
    given = {
        "username": f'"{user}"',
        "realm": f'"{challenge["realm"]}"',
        "nonce": f'"{challenge["nonce"]}"',
        "uri": f'"{uri}"',
        "response": f'"{response}"',
        "cnonce": '"abc"',
        "nc": count,
        "qop": "auth",
        "algorithm": challenge["algorithm"],
    } | more
    return "Authorization: Digest " + ", ".join(f"{k}={v}" for k, v in given.items() if v)


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_who_answers_the_challenge_is_taken(guarded, algorithm):
    first = guarded.ask()
    assert (first.code, first.phrase) == (401, "Unauthorized")
    assert [parameters(v)["algorithm"] for v in first.all("WWW-Authenticate")] == ["SHA-256", "MD5"]
    challenge = _challenge(first, algorithm)
    assert guarded.ask(credentials(challenge)).code == 302
    assert guarded.ask(credentials(challenge, count="00000002")).code == 302


@pytest.mark.parametrize(
    "change",
    [
        {"password": "wrong"},
        {"user": "nobody"},
        {"user": "other"},
        {"uri": "sip:+8613800138001@b.example"},
        {"method": "OPTIONS"},
        {"realm": '"else"'},
        {"nonce": '"1-2-3"'},
        {"qop": ""},
        {"qop": "auth-int"},
        {"algorithm": "SHA-512"},
        {"response": '""'},
        {"nc": "1"},
        {"username": '"proxy", username="proxy"'},
    ],
)
def test_who_does_not_is_asked_again(guarded, change):
    challenge = _challenge(guarded.ask(), "SHA-256")
    reply = guarded.ask(credentials(challenge, **change))
    assert reply.code == 401
    assert reply["Identity"] is None
    assert "stale" not in reply.all("WWW-Authenticate")[0]


def test_a_nonce_serves_once_for_each_count_and_for_a_while(guarded):
    challenge = _challenge(guarded.ask(), "SHA-256")
    assert guarded.ask(credentials(challenge)).code == 302
    again = guarded.ask(credentials(challenge))
    assert (again.code, "stale=true" in again.all("WWW-Authenticate")[0]) == (401, True)
    guarded.time.now += NONCE_SECONDS + 1
    late = guarded.ask(credentials(challenge, count="00000002"))
    assert (late.code, "stale=true" in late.all("WWW-Authenticate")[0]) == (401, True)


def test_a_call_for_help_needs_no_credentials_and_is_not_signed(guarded):
    reply = guarded.ask(uri="urn:service:sos")
    assert (reply.code, reply["Identity"]) == (302, None)


def test_what_is_sent_again_with_credentials_is_answered_alike(guarded):
    challenge = _challenge(guarded.ask(), "SHA-256")
    request = invite(credentials(challenge))
    assert guarded.send(request)[0].data == guarded.send(request)[0].data


def test_only_addresses_that_are_allowed_are_heard(line_of):
    clock = Clock()
    door = Door(AccessRules(), allowed=networks(("192.0.2.0/24", "2001:db8::/32")), timer=clock)
    line = line_of(door=door)
    assert line.ask().code == 302
    assert line.ask(host="2001:db8::7").code == 302
    assert line.ask(host="198.51.100.7").code == 403
    many = line.send(*(invite() for _ in range(200)), host="198.51.100.7")
    assert len(many) < STRANGERS_PER_SECOND
    clock.now += 10
    assert line.send(invite(method="OPTIONS"), host="198.51.100.7")[0].code == 403


def test_beyond_its_rate_an_address_gets_503_but_calls_for_help_go_on(line_of):
    clock = Clock()
    line = line_of(door=Door(AccessRules(), rate=3, timer=clock))
    assert [line.ask().code for _ in range(5)] == [302, 302, 302, 503, 503]
    assert line.ask()["Retry-After"] == "1"
    assert line.ask(uri="urn:service:sos").code == 302
    assert line.ask(host="192.0.2.2").code == 302
    clock.now += 1
    assert [line.ask().code for _ in range(4)] == [302, 302, 302, 503]


def test_a_rate_remembers_a_bounded_number_of_addresses():
    rate = Rate(1)
    for number in range(10_000):
        assert rate.allows(str(number), 0.0)
    assert len(rate._left) <= 4096


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("192.0.2.1", True),
        ("::ffff:192.0.2.1", True),
        ("192.0.3.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("x", False),
    ],
)
def test_networks(host, inside):
    assert within(host, networks(("192.0.2.0/24",))) is inside


def test_the_command_makes_a_user(tmp_path):
    path = tmp_path / "users.toml"
    told = CliRunner().invoke(app, ["key", "add-sip", str(path), "--name", "proxy", "--json"])
    assert told.exit_code == 0, told.output
    made = json.loads(told.stdout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made["password"] not in path.read_text()
    users = load_users(path)
    secret = f"proxy:zhenxian:{made['password']}"
    for algorithm in Algorithm:
        assert users.known["proxy"][algorithm] == algorithm.hash(secret)
    again = CliRunner().invoke(app, ["key", "add-sip", str(path), "--name", "proxy"])
    assert again.exit_code != 0
    shown = CliRunner().invoke(app, ["key", "add-sip", str(path), "--name", "second"])
    assert shown.stdout.strip()


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ('realm = "r"\n', 0o600),
        ("[[user]]\nname='a'\nmd5='x'\n", 0o600),
        ('realm = "r"\n[[user]]\nname = "a"\n', 0o600),
        ("no toml", 0o600),
        ('realm = "a\\"b"\n[[user]]\nname = "a"\nmd5 = "x"\n', 0o600),
        ('realm = "r"\n[[user]]\nname = "a"\nmd5 = "x"\n', 0o644),
    ],
)
def test_a_file_of_users_that_is_none(tmp_path, text, mode):
    path = tmp_path / "users.toml"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError):
        load_users(path)


def test_another_realm_and_odd_names_are_refused(users):
    for name, realm in (("a", "else"), ('a"', "zhenxian"), ("a:b", "zhenxian")):
        with pytest.raises(ConfigError):
            add_user(users, name, realm, "x")


@pytest.mark.parametrize("value", ["Basic abc", "Digest a", "Digest a=b c=d", 'Digest a="b', "x"])
def test_other_credentials_are_none(value):
    assert parameters(value) is None
