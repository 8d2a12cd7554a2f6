"""API keys: shown once, stored hashed, roles, files that others could read."""

from __future__ import annotations

import base64

import pytest

from gateway.auth import LOCAL, Authenticator, Role, add_key, load_keys
from gateway.dialects.bodies import Dialect
from passport.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.toml"


def test_a_key_opens_by_every_header_and_is_not_stored(file):
    key = add_key(file, "sbc", [Role.PROXY], Dialect.THREEGPP)
    assert key not in file.read_text()
    assert key.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    auth = Authenticator(file)
    basic = base64.b64encode(f"sbc:{key}".encode())
    for authorization, api_key in (
        (b"Bearer " + key.encode(), None),
        (b"bearer  " + key.encode() + b" ", None),
        (b"Basic " + basic, None),
        (None, key.encode()),
    ):
        principal = auth.principal(authorization, api_key)
        assert principal.name == "sbc"
        assert principal.roles == {Role.PROXY}
        assert principal.dialect is Dialect.THREEGPP


def test_what_is_not_a_key_opens_nothing(file):
    key = add_key(file, "sbc", [Role.PROXY])
    auth = Authenticator(file)
    assert not auth.anonymous
    bad = [
        key[:-1],
        key[:-1] + ("A" if key[-1] != "A" else "B"),
        key + "x",
        "",
        "zx_",
        "zx_" + key.split("_")[1],
        "zx_000000000000_" + key.split("_", 2)[2],
        "\udcff",
    ]
    for text in bad:
        assert auth.principal(None, text.encode("utf-8", "surrogateescape")) is None
        assert auth.principal(b"Bearer " + text.encode("utf-8", "surrogateescape"), None) is None
    for authorization in (None, b"", b"Bearer", b"Basic ???", b"Digest x", b"Basic " + b"AA" * 9):
        assert auth.principal(authorization, None) is None


def test_without_a_file_everybody_is_local_and_with_mtls_a_proxy():
    assert Authenticator(None).principal(None, None) is LOCAL
    assert Authenticator(None, mtls=True).principal(None, None).roles == {Role.PROXY}


def test_a_changed_file_is_taken_over_and_a_bad_one_is_not(file):
    first = add_key(file, "one", [Role.PROXY])
    auth = Authenticator(file)
    second = add_key(file, "two", [Role.OPERATOR, Role.REGISTRAR])
    assert auth.principal(None, second.encode()) is None
    auth.refresh()
    assert auth.principal(None, second.encode()).roles == {Role.OPERATOR, Role.REGISTRAR}
    good = file.read_text()
    file.write_text("[[key]]\nid = 1\n")
    auth.refresh()
    assert "entry 1" in auth.problem
    assert auth.principal(None, first.encode()).name == "one"
    file.write_text(good.split("\n\n")[1])
    auth.refresh()
    assert auth.problem is None
    assert auth.principal(None, first.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '[[key]]\nid="a"\n',
        '[[key]]\nid="a"\nname="n"\nroles=["king"]\nsha256="00"\n',
        '[[key]]\nid="a"\nname="n"\nroles=[]\nsha256="' + "00" * 32 + '"\n',
        '[[key]]\nid="a"\nname="n"\nroles=["proxy"]\nsha256="00"\n',
    ],
)
def test_bad_files_are_refused(file, text):
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError):
        load_keys(file)


def test_a_file_that_others_can_read_is_refused(file):
    add_key(file, "one", [Role.PROXY])
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Authenticator(file)
    with pytest.raises(ConfigError, match="No such file"):
        Authenticator(file.with_name("none"))


def test_names_cannot_break_out_of_the_file(file):
    with pytest.raises(ConfigError):
        add_key(file, 'x"\nroles = ["operator"]', [Role.PROXY])
    assert not file.exists()
