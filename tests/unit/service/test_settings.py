"""Settings: file, environment, and bad values that are named with what was expected."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from zhenxian.core.errors import ConfigError
from zhenxian.service.identity_key import identity_key_of
from zhenxian.service.settings import Settings, load_settings, loopback


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("ZHENXIAN_"):
            monkeypatch.delenv(name)


def test_defaults_listen_on_loopback_only():
    settings = load_settings()
    assert settings == Settings()
    assert loopback(settings.server.calls)
    assert settings.trust.revocation == "require"
    assert not settings.fetch.allow_http_loopback
    assert not settings.log.clear_numbers


def test_file_then_environment(tmp_path, monkeypatch):
    path = tmp_path / "z.toml"
    path.write_text(
        'data = "state"\n[server]\ncalls = "127.0.0.1:9000"\n[trust]\nroots = "/abs/roots"\n'
        "[verifier]\ndate_window = 30\niat_window = 20\n"
    )
    monkeypatch.setenv("ZHENXIAN_VERIFIER__DATE_WINDOW", "45")
    settings = load_settings(path)
    assert settings.server.calls == "127.0.0.1:9000"
    assert (settings.verifier.date_window, settings.verifier.iat_window) == (45, 20)
    assert settings.data == tmp_path / "state"
    assert str(settings.trust.roots) == "/abs/roots"


REDRESS = [
    ("status = 604\n", "redress.status"),
    ("status = true\n", "redress.status"),
    ('organisation = "x"\n', "a contact has a phone"),
    ('phone = "+86 10 6600 0000"\n', "a contact has an organisation"),
    ('organisation = ""\nemail = "a@b.example"\n', "redress.organisation"),
    ('organisation = "a\\nb"\nemail = "a@b.example"\n', "redress.organisation"),
    ('organisation = "x"\nphone = "66000000"\n', "with + and country code"),
    ('organisation = "x"\nphone = "+86;ext"\n', "with + and country code"),
    ('organisation = "x"\nemail = "nobody"\n', "redress.email"),
    ('organisation = "x"\nemail = "a b@c.example"\n', "redress.email"),
    ('organisation = "x"\nurl = "http://x.example"\n', "expected an https URL"),
    ('organisation = "x"\nurl = "https://u:p@x.example"\n', "expected an https URL"),
    ('organisation = "x"\nurl = "https://x.example/>;y"\n', "expected an https URL"),
    ('organisation = "x"\nurl = "javascript:alert(1)"\n', "expected an https URL"),
    ('organisation = "x"\naddress = "x"\nlanguage = "zh_CN"\n', "redress.language"),
    ('organisation = "x"\naddress = "%s"\n' % ("x" * 201), "redress.address"),
    ('organization = "x"\n', "redress.organization"),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[("[redress]\n" + text, message) for text, message in REDRESS],
        ("[server]\ncalls = 8080\n", "server.calls"),
        ('[server]\ncalls = "localhost:8080"\n', "expected an IP address"),
        ('[server]\ncalls = "127.0.0.1"\n', "address:port"),
        ("[server]\nport = 1\n", "server.port: unknown; set in"),
        (
            "[verifier]\ndate_window = 0\n",
            "verifier.date_window: a number of at least 1 expected (given: 0)",
        ),
        ('[trust]\nrevocation = "off"\n', "'require' or 'prefer'"),
        ('[verifier]\ncountry = "cn"\n', "verifier.country"),
        ('[numbers]\ncountry = "cn"\n', "numbers.country"),
        ('[numbers]\nhosts = ["sip:a@b"]\n', "numbers.hosts"),
        ("[server\n", "settings file"),
        ('colour = "red"\n', "colour"),
        ('[[verifier.unsigned]]\naction = "fail"\n', "expected either spc or country"),
        (
            '[[verifier.unsigned]]\nspc = "1"\ncountry = "CN"\naction = "fail"\n',
            "expected either spc or country",
        ),
        ('[[verifier.unsigned]]\nspc = "1"\n', "verifier.unsigned.0.action"),
        ('[[verifier.unsigned]]\nspc = "1"\naction = "drop"\n', "verifier.unsigned.0.action"),
        ('[[verifier.unsigned]]\nspc = "a b"\naction = "fail"\n', "verifier.unsigned.0.spc"),
        ('[[verifier.unsigned]]\ncountry = "XX"\naction = "fail"\n', "ISO 3166"),
        (
            '[[verifier.unsigned]]\nspc = "1"\naction = "fail"\n'
            '[[verifier.unsigned]]\nspc = "1"\naction = "none"\n',
            "named twice",
        ),
        ('[verifier]\nhealth_numbers = ["nobody"]\n', "verifier.health_numbers"),
    ],
)
def test_bad_values_are_named(tmp_path, text, message):
    path = tmp_path / "z.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_country_of_numbers_has_two_names_and_one_value(tmp_path, monkeypatch):
    path = tmp_path / "z.toml"
    for name in ("numbers", "verifier"):
        path.write_text(f'[{name}]\ncountry = "CN"\n')
        assert load_settings(path).country == "CN"
    monkeypatch.setenv("ZHENXIAN_NUMBERS__COUNTRY", "CN")
    assert load_settings(path).country == "CN"
    monkeypatch.setenv("ZHENXIAN_NUMBERS__COUNTRY", "US")
    with pytest.raises(ConfigError, match=r"numbers\.country is US, and verifier\.country"):
        load_settings(path)
    monkeypatch.delenv("ZHENXIAN_NUMBERS__COUNTRY")
    path.write_text('[numbers]\nhosts = ["IMS.Example.", "192.0.2.1"]\n')
    assert load_settings(path).numbers.hosts == ("ims.example", "192.0.2.1")
    path.write_text('[verifier]\nhealth_numbers = ["0755 88880001"]\n')
    assert load_settings(path).verifier.health_numbers == ("0755 88880001",)


def test_a_bad_variable_is_named(monkeypatch):
    monkeypatch.setenv("ZHENXIAN_SERVER__WORKERS", "many")
    with pytest.raises(ConfigError, match="ZHENXIAN_SERVER__WORKERS"):
        load_settings()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("listener", "local"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("[::]:1", False)],
)
def test_loopback(listener, local):
    assert loopback(listener) is local


# trust.crl_issuers: a path as ever, or tables ----------------------------------------------------

TABLE = {"certificates": "office.pem", "roots": "roots.pem", "addresses": ["https://a.example/c"]}


def test_a_path_is_a_list_issuer_of_no_roots(tmp_path, monkeypatch):
    file = tmp_path / "zhenxian.toml"
    file.write_text('[trust]\ncrl_issuers = "office.pem"\n')
    for value in (None, "office.pem"):
        if value is not None:
            monkeypatch.setenv("ZHENXIAN_TRUST__CRL_ISSUERS", value)
        (issuers,) = load_settings(file).trust.crl_issuers
        assert issuers.certificates == tmp_path / "office.pem"
        assert (issuers.roots, issuers.addresses) == (None, ())
    assert load_settings(None, trust={"crl_issuers": None}).trust.crl_issuers == ()


def test_tables_say_below_which_roots_lists_hold(tmp_path, monkeypatch):
    file = tmp_path / "zhenxian.toml"
    file.write_text(
        "[[trust.crl_issuers]]\n"
        'certificates = "office.pem"\nroots = "/etc/roots.pem"\naddresses = ["https://a.example/c"]\n'
        '[[trust.crl_issuers]]\ncertificates = "other.pem"\n'
    )
    one, other = load_settings(file).trust.crl_issuers
    assert one.certificates == tmp_path / "office.pem"
    assert one.roots == Path("/etc/roots.pem")
    assert one.addresses == ("https://a.example/c",)
    assert other.roots is None
    monkeypatch.setenv("ZHENXIAN_TRUST__CRL_ISSUERS", json.dumps([TABLE]))
    (one,) = load_settings(file).trust.crl_issuers
    assert one.roots == tmp_path / "roots.pem"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([TABLE | {"root": "x"}], "root"),
        ([{"roots": "x"}], "certificates"),
        ([TABLE | {"addresses": ["ldap://x"]}], "addresses"),
        ("[{", "JSON"),
    ],
)
def test_a_bad_table_is_told(value, told):
    with pytest.raises(ConfigError, match=told):
        load_settings(None, trust={"crl_issuers": value})


def test_an_identity_key_that_is_named_is_there(tmp_path):
    """A name that is mistyped makes no new key, by which no identity would be found again."""
    named = tmp_path / "identity.key"
    settings = Settings(data=tmp_path / "data", registry={"identity_key": named})
    for octets, says in ((None, "No such file"), (b"", "is empty"), (b"\n", "is empty")):
        if octets is not None:
            named.write_bytes(octets)
        with pytest.raises(ConfigError, match=says):
            identity_key_of(settings)
    named.write_bytes(b"k" * 32)
    assert identity_key_of(settings) == b"k" * 32


@pytest.mark.parametrize("file", [True, False])
def test_a_bad_option_is_not_looked_for_in_the_file(tmp_path, file):
    path = tmp_path / "z.toml"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load_settings(path if file else None, server={"workers": 0}, sip={"originating": ("x",)})
    first, second = str(caught.value).splitlines()
    assert first.endswith("at least 1 expected (given: 0); set on the command line")
    assert second.startswith("sip.originating.0: ")
    assert second.endswith("set on the command line")
