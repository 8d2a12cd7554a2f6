"""API keys: shown once, stored hashed, roles, files that others could read."""

from __future__ import annotations

import base64
import hashlib
import os
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from zhenxian.api.auth import (
    LOCAL,
    Authenticator,
    Peer,
    Role,
    add_certificate,
    add_key,
    load_credentials,
    subject_name,
)
from zhenxian.api.calls.requests import Dialect
from zhenxian.certs import ca
from zhenxian.core.errors import ConfigError


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
        load_credentials(file)


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


# Client certificates ----------------------------------------------------------------------------


NAME = subject_name(
    x509.load_pem_x509_certificate(
        ca.pem(ca.Authority.create_root("east", not_before=0, not_after=1).certificate)
    ).public_bytes(Encoding.DER)
)


def _certificate(name):
    """PEM, and what a connection with it says."""
    now = int(time.time())
    made = ca.Authority.create_root(name, not_before=now, not_after=now + ca.DAY).certificate
    return ca.pem(made), Peer.of(made.public_bytes(Encoding.DER))


@pytest.fixture
def east():
    return _certificate("east")


def _who(auth, peer):
    found = auth.principal(None, None, peer)
    return (found.name, found.roles) if found is not None else None


def test_a_certificate_is_known_by_its_fingerprint(file, east):
    pem, peer = east
    mark = add_certificate(file, "sbc", [Role.REGISTRAR, Role.PROXY], certificate=pem)
    assert mark == peer.fingerprint.hex()
    auth = Authenticator(file, mtls=True)
    assert _who(auth, peer) == ("sbc", {Role.REGISTRAR, Role.PROXY})
    # another one of the same name is another one
    assert _who(auth, _certificate("east")[1]) is None
    assert _who(auth, None) is None
    # without TLS that checks certificates, none is taken
    assert _who(Authenticator(file), peer) is None
    # a connection counts as known by the same rule
    assert auth.certified(peer)
    assert not auth.certified(_certificate("east")[1])
    assert not Authenticator(file).certified(peer)
    assert Authenticator(None, mtls=True).certified(peer)


def test_a_certificate_is_known_by_its_subjects_name_through_renewals(file, east):
    name = NAME
    how = {"dialect": Dialect.ATIS, "subject": "courier"}
    assert add_certificate(file, "sbc", [Role.PLATFORM], distinguished_name=name, **how) == name
    auth = Authenticator(file, mtls=True)
    for _, peer in (east, _certificate("east")):
        found = auth.principal(None, None, peer)
        assert (found.name, found.dialect, found.subject) == ("sbc", Dialect.ATIS, "courier")
        assert found.id.startswith("cert-")
    for other in ("west", "east,O=x", "EAST", "east "):
        assert _who(auth, _certificate(other)[1]) is None
    pem, peer = east
    add_certificate(file, "itself", [Role.PROXY], certificate=pem)
    auth.refresh()
    assert _who(auth, peer) == ("itself", {Role.PROXY})


def test_what_no_entry_names_is_a_proxy_only_while_there_are_no_entries(file, east):
    key = add_key(file, "k", [Role.OPERATOR])
    auth = Authenticator(file, mtls=True)
    assert _who(auth, east[1]) == ("client certificate", {Role.PROXY})
    add_certificate(file, "other", [Role.PROXY], certificate=_certificate("west")[0])
    auth.refresh()
    assert _who(auth, east[1]) is None
    # a key that is presented counts, good or bad, whatever the certificate
    assert auth.principal(None, key.encode(), east[1]).name == "k"
    assert auth.principal(None, b"zx_x_y", east[1]) is None
    entries = file.read_text()
    for others, roles in (("[]", None), ('["operator"]', {Role.OPERATOR})):
        file.write_text(f"other_certificates = {others}\n{entries}")
        auth.refresh()
        assert auth.problem is None
        found = _who(auth, east[1])
        assert found == (("client certificate", roles) if roles else None)


@pytest.mark.parametrize(
    "text",
    [
        'other_certificates = ["king"]',
        "other_certificates = 3",
        '[[certificate]]\nname="n"\nroles=["proxy"]\n',
        '[[certificate]]\nname="n"\nroles=["proxy"]\nfingerprint="00"\n',
        '[[certificate]]\nname="n"\nroles=[]\ndistinguished_name="CN=x"\n',
        '[[certificate]]\nname="n"\nroles=["proxy"]\ndistinguished_name=""\n',
        '[[certificate]]\nname="n"\nroles=["proxy"]\ndistinguished_name="x"\n',
        '[[certificate]]\nroles=["proxy"]\ndistinguished_name="CN=x"\n',
        '[[certificate]]\nname="n"\nroles=["proxy"]\ndistinguished_name="CN=x"\nfingerprint="00"\n',
    ],
)
def test_bad_entries_of_certificates_are_refused(file, text):
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError):
        load_credentials(file)


def test_fingerprints_may_be_written_as_openssl_does(file, east):
    _, peer = east
    text = peer.fingerprint.hex(":").upper()
    file.write_text(f'[[certificate]]\nname="n"\nroles=["proxy"]\nfingerprint="{text}"\n')
    file.chmod(0o600)
    assert _who(Authenticator(file, mtls=True), peer) == ("n", {Role.PROXY})
    assert peer.name == hashlib.sha256(NAME.encode()).digest()


def test_no_certificate_is_no_entry(file):
    for wrong in ({"certificate": b"x"}, {"distinguished_name": "east"}, {}):
        with pytest.raises(ConfigError):
            add_certificate(file, "n", [Role.PROXY], **wrong)
    assert not file.exists()


# Files that are being written -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n", "# no keys yet\n"])
def test_a_file_with_nothing_is_refused(file, text):
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="say key = \\[\\]"):
        Authenticator(file, mtls=True)


@pytest.mark.parametrize("text", ["key = 3", "certificate = {}", "[key]\n", "[[key]]\n"])
def test_tables_are_lists_of_entries(file, text):
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError):
        load_credentials(file)


def test_no_keys_and_no_certificates_are_said(file, east):
    key = add_key(file, "k", [Role.PROXY])
    auth = Authenticator(file, mtls=True)
    file.write_text("key = []\n")
    auth.refresh()
    assert auth.problem is None
    assert auth.principal(None, key.encode()) is None
    assert _who(auth, east[1]) == ("client certificate", {Role.PROXY})
    file.write_text("certificate = []\n")
    auth.refresh()
    assert _who(auth, east[1]) is None


@pytest.mark.parametrize("told", ["entry", "other_certificates = []", "certificate = []"])
def test_who_certificates_are_is_not_forgotten_by_leaving_it_out(file, east, told):
    key = add_key(file, "k", [Role.PROXY])
    keys = file.read_text()
    if told == "entry":
        add_certificate(file, "sbc", [Role.PROXY], certificate=_certificate("west")[0])
    else:
        file.write_text(f"{told}\n{keys}")
    auth = Authenticator(file, mtls=True)
    assert _who(auth, east[1]) is None
    for text in (keys, "key = []", ""):
        file.write_text(text)
        auth.refresh()
        assert auth.problem
        assert _who(auth, east[1]) is None
        assert auth.principal(None, key.encode()).name == "k"
    file.write_text(f'other_certificates = ["proxy"]\n{keys}')
    auth.refresh()
    assert auth.problem is None
    assert _who(auth, east[1]) == ("client certificate", {Role.PROXY})


def test_what_is_no_file_leaves_the_keys_in_force(file):
    key = add_key(file, "k", [Role.PROXY])
    auth = Authenticator(file)
    file.unlink()
    for make in (lambda: None, lambda: os.mkfifo(file, 0o600), lambda: file.mkdir(0o700)):
        make()
        auth.refresh()
        assert str(file) in auth.problem
        assert auth.principal(None, key.encode()).name == "k"
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
    assert add_key(file, "new", [Role.PROXY])
    auth.refresh()
    assert auth.problem is None
    assert auth.principal(None, key.encode()) is None
