"""Import and export through a running service, by the commands, over real connections."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import closing

from running import alive, environment, until

from zhenxian.api.auth import Role, add_key
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.numbers import number_key
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

ROWS = 400_000


def zhenxian(service, *words, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "zhenxian", "registry", *map(str, words), "--url", service.base],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process, status):
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    return out


def numbers(folder, rows):
    file = folder / "numbers.csv"
    with file.open("w") as out:
        out.write("first,subject,verification\n")
        out.writelines(row + "\n" for row in rows)
    return file


def rows_of(service):
    path = service.world.config.parent / "state" / REGISTRY_FILE
    with closing(RegistryFile(path)) as book:
        begin, end = (number_key(f"86158{digit * 8}") for digit in "09")
        ((found,),) = book.connection.all(
            "SELECT count(*) FROM holdings WHERE class = 0 AND lo BETWEEN ? AND ?", begin, end
        )
        return found


def test_a_file_goes_through_a_service_and_back(serve, tmp_path):
    keys, secret = tmp_path / "keys.toml", tmp_path / "key"
    secret.write_text(add_key(keys, "registrar", [Role.REGISTRAR]))
    secret.chmod(0o600)
    service = serve(auth__keys=keys, server__workers=2)
    good = [f"{8615800000000 + 7 * n},bank,verified" for n in range(3_000)]
    good[700] = "8615800xx,bank,verified"
    good[1900] = "8615899999999,nobody,verified"
    file = numbers(tmp_path, good)
    why = ("--reason", "test", "--api-key-file", secret, "--json")
    dry = json.loads(finished(zhenxian(service, "import", "holdings", file, *why, "--dry-run"), 1))
    assert (dry["changed"], dry["written"]) == (2_998, False)
    whole = ("--mode", "all-or-nothing")
    refused = json.loads(finished(zhenxian(service, "import", "holdings", file, *why, *whole), 1))
    assert [row["line"] for row in refused["rejected"]] == [702, 1902]
    assert rows_of(service) == 0
    done = json.loads(finished(zhenxian(service, "import", "holdings", file, *why), 1))
    assert (done["changed"], done["rejections"]) == (2_998, 2)
    out = tmp_path / "out.csv"
    finished(zhenxian(service, "export", "holdings", out, "--api-key-file", secret), 0)
    with out.open(newline="") as lines:
        firsts = {row["first"] for row in csv.DictReader(lines)}
    assert {row.split(",")[0] for row in good if ",bank" in row} - firsts == {"8615800xx"}
    stranger = zhenxian(service, "import", "holdings", file, "--reason", "test")
    assert "401" in stranger.communicate(timeout=60)[1]
    assert stranger.returncode == 1


def test_a_service_killed_while_it_imports_goes_on_where_it_was(serve, tmp_path):
    service = serve()
    file = numbers(tmp_path, (f"{8615800000000 + 7 * n},bank,verified" for n in range(ROWS)))
    words = ("import", "holdings", file, "--reason", "test", "--json")
    sending = zhenxian(service, *words)
    until(lambda: rows_of(service) > 0, 60)
    writers = service.workers()
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    until(lambda: not any(map(alive, writers)))  # they end with their orders, a commit later
    assert "is the service running there?" in sending.communicate(timeout=60)[1]
    assert sending.returncode == 3
    kept = rows_of(service)
    assert 0 < kept < ROWS
    service.start()
    again = zhenxian(service, *words)
    assert "--resume goes on from there" in again.communicate(timeout=60)[1]
    rest = json.loads(finished(zhenxian(service, *words, "--resume"), 0))
    assert (rest["changed"], rest["unchanged"]) == (ROWS - kept, 0)
    assert rows_of(service) == ROWS
