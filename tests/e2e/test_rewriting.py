"""Files caught while they are being written: what was read before stays, and /readyz says so."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import time

import pytest
from running import OwnPki, replace, signed, signing, tls_context, tls_files, until, verdict

from zhenxian.api.auth import Role, add_certificate, add_key
from zhenxian.api.calls.messages import SIGNING
from zhenxian.service.watch import WATCH_EVERY
from zhenxian.simulation.demo import BANK


def _problems(client):
    return " ".join(client.get("/readyz").json()["problems"])


def test_keys_stay_while_their_file_is_being_written(serve, tmp_path):
    keys = tmp_path / "keys.toml"
    first = add_key(keys, "first", [Role.PROXY])
    second = add_key(keys, "second", [Role.PROXY])
    whole = keys.read_bytes()
    entry = whole.index(b"[[key]]", 1)
    service = serve(auth__keys=keys)
    with service.client() as client:

        def opens(key):
            headers = {"x-api-key": key}
            return client.post(SIGNING, json=signing(BANK), headers=headers).status_code == 200

        def stays(says):
            until(lambda: says in _problems(client))
            assert opens(first)
            assert opens(second)

        # In place, as an editor or a shell does.
        keys.write_bytes(b"")
        stays("nothing is in it")
        keys.write_bytes(b"# who may call\n")
        stays("nothing is in it")
        keys.write_bytes(whole[: entry + 30])
        stays("still in force")
        keys.write_bytes(whole)
        until(lambda: not _problems(client))

        # A part that reads as a whole, for less than a second: what stands longer is taken over.
        def opens_meanwhile():
            begun = time.monotonic()
            keys.write_bytes(whole[:entry])
            time.sleep(0.3)
            opened = opens(second)
            keys.write_bytes(whole)
            quick = time.monotonic() - begun < WATCH_EVERY
            time.sleep(0.3)
            assert opened or not quick
            return quick and opens(second)

        for _ in range(5):
            until(opens_meanwhile)
        until(lambda: not _problems(client))
        # Nor does what is no file stop anything.
        keys.unlink()
        os.mkfifo(keys, 0o600)
        stays("not a regular file")
        keys.unlink()
        stays("No such file")
        # What stands is taken over.
        replace(keys, whole[:entry])
        until(lambda: not opens(second))
        assert opens(first)
        replace(keys, b"key = []\n")
        until(lambda: not opens(first))
        assert not _problems(client)


def test_nobody_becomes_a_proxy_by_a_certificate_while_the_file_is_written(serve, tmp_path):
    keys = tmp_path / "keys.toml"

    def alter(world):
        folder = world.config.parent
        tls_files(folder)
        add_key(keys, "desk", [Role.OPERATOR])
        add_certificate(keys, "sbc", [Role.PROXY], certificate=(folder / "client.pem").read_bytes())

    service = serve(
        alter=alter,
        tls=True,
        auth__keys=keys,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        server__tls_client_ca="tls-ca.pem",
    )
    whole = keys.read_bytes()
    with (
        service.client(verify=tls_context(service, "client")) as client,
        service.client(verify=tls_context(service, "stranger")) as stranger,
    ):

        def calls(who):
            return who.post(SIGNING, json=signing(BANK)).status_code

        assert (calls(client), calls(stranger)) == (200, 401)
        parts = (b"", whole[: whole.index(b"[[certificate]]")], whole[:-20], b"key = []\n")
        for part in parts:
            keys.write_bytes(part)
            until(lambda: "API keys" in _problems(client))
            assert (calls(client), calls(stranger)) == (200, 401)
            keys.write_bytes(whole)
            until(lambda: not _problems(client))
        # Who means it says it.
        replace(keys, b'other_certificates = ["proxy"]\n')
        until(lambda: calls(stranger) == 200)
        replace(keys, b"other_certificates = []\n")
        until(lambda: calls(stranger) == 401)
        assert calls(client) == 401


@pytest.mark.parametrize("kind", ["bundle", "folder"])
def test_roots_stay_while_their_file_is_being_written(serve, kind):
    made = []

    def alter(world):
        made.append(OwnPki(world))
        if kind == "folder":
            (world.config.parent / "roots").mkdir()
            shutil.copy(world.pki.root, world.config.parent / "roots" / "root.pem")

    settings = {"trust__roots": "roots"} if kind == "folder" else {}
    service = serve(alter=alter, **settings)
    path = service.folder / "roots" / "root.pem" if kind == "folder" else service.world.pki.root
    whole = path.read_bytes()
    with service.client() as client:

        def passes():
            token = signed(client, BANK)["identity"]
            return verdict(client, BANK, token)["verstat"] == "TN-Validation-Passed"

        def stays(says):
            until(lambda: says in _problems(client))
            assert passes()

        assert passes()
        for part in (b"", b"# none\n", whole[:200]):
            path.write_bytes(part)
            stays("root")
        path.unlink()
        stays("root")
        os.mkfifo(path, 0o600)
        stays("not a regular file")
        path.unlink()
        path.write_bytes(whole)
        until(lambda: not _problems(client))
        assert passes()


def test_the_listeners_certificate_is_replaced_without_a_restart(serve):
    service = serve(
        alter=lambda world: tls_files(world.config.parent),
        tls=True,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
    )
    folder = service.folder
    trusting = ssl.create_default_context(cafile=folder / "tls-ca.pem")

    def shown():
        with (
            socket.create_connection(("127.0.0.1", service.port), 10) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            return hashlib.sha256(secure.getpeercert(binary_form=True)).hexdigest()

    before = shown()
    with service.client(verify=trusting) as client:
        assert client.get("/healthz").status_code == 200
        for name in ("server.pem", "server.key"):
            whole = (folder / name).read_bytes()
            for part in (
                b"",
                whole[:100],
                (folder / name.replace("server", "client")).read_bytes(),
            ):
                (folder / name).write_bytes(part)
                until(lambda: "TLS certificate" in _problems(client))
                assert shown() == before
            (folder / name).unlink()
            os.mkfifo(folder / name, 0o600)
            until(lambda: "not a regular file" in _problems(client))
            assert shown() == before
            (folder / name).unlink()
            replace(folder / name, whole)
            until(lambda: not _problems(client))
        replace(folder / "server.key", (folder / "client.key").read_bytes())
        replace(folder / "server.pem", (folder / "client.pem").read_bytes(), 0o644)
        until(lambda: shown() != before)
        # The connection that stood stands.
        assert client.get("/readyz").json()["problems"] == []
