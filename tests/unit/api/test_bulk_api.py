"""Bulk import and export over the management API, and the commands that use them."""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx
import pytest
import typer
from typer.testing import CliRunner

from zhenxian.api.auth import Role, add_key
from zhenxian.cli.client import DEFAULT_URL, Client
from zhenxian.cli.registry import app
from zhenxian.service.build import applications
from zhenxian.stores.bulk import importer as bulk

CSV = {"content-type": "text/csv"}
GOOD = "first,subject\n8675599990001,bank\n8675599990002,bank\n"
MIXED = "first,subject\n8675599990001,bank\n8675599990002,nobody\nx,bank\n"


def _send(desk, text, records="holdings", status=200, headers=None, **query):
    answer = desk.http(
        "POST",
        f"/v1/imports/{records}",
        content=text.encode() if isinstance(text, str) else text,
        params={"reason": "a test", **query},
        headers=CSV | (headers or {}),
    )
    assert answer.status_code == status, answer.text
    return answer.json()


def _held(desk, number):
    return desk.http("GET", f"/v1/holdings/{number}").status_code == 200


def test_rows_are_registered_and_what_is_refused_told_with_its_line(desk):
    told = _send(desk, MIXED)
    assert (told["rows"], told["changed"], told["rejections"], told["written"]) == (3, 1, 2, True)
    assert [row["line"] for row in told["rejected"]] == [3, 4]
    assert "nobody" in told["rejected"][0]["reason"]
    assert _held(desk, "8675599990001")
    (version,) = desk.http("GET", "/v1/holdings/8675599990001/history").json()["versions"]
    assert (version["reason"], version["author"]) == ("a test", "local (local)")
    again = _send(desk, MIXED)
    assert (again["changed"], again["unchanged"], again["rejections"]) == (0, 1, 2)
    some = _send(desk, MIXED, told=1)
    assert (len(some["rejected"]), some["rejections"]) == (1, 2)


def test_all_or_nothing_and_dry_runs_write_nothing(desk):
    told = _send(desk, MIXED, mode="all-or-nothing", status=422)
    assert told["title"] == "Nothing was imported"
    assert [row["line"] for row in told["rejected"]] == [3, 4]
    dry = _send(desk, GOOD, dry_run=True)
    assert (dry["changed"], dry["written"]) == (2, False)
    assert not _held(desk, "8675599990001")
    assert _send(desk, GOOD, mode="all-or-nothing")["written"]
    assert _held(desk, "8675599990001")


def test_an_import_that_was_cut_off_is_gone_on_with(desk, monkeypatch):
    monkeypatch.setattr("zhenxian.service.imports.LINES", 2)
    monkeypatch.setattr(bulk, "_PART", 2)
    rows = [f"86755999900{n:02},bank" for n in range(6)]
    text = "first,subject\n" + "\n".join(rows) + "\n"
    take = bulk.Import._take
    taken = 0

    def fails_at_the_third(self, *args):
        nonlocal taken
        taken += 1
        if taken == 3:
            raise RuntimeError("power cut")
        return take(self, *args)

    monkeypatch.setattr(bulk.Import, "_take", fails_at_the_third)
    _cut(desk, text)
    monkeypatch.setattr(bulk.Import, "_take", take)
    where = {"name": "may"}
    assert desk.http("GET", "/v1/imports/holdings", params=where).json() == {"line": 5}
    # Of another file under that name nothing is passed over.
    others = "first,subject\n" + "".join(f"86755999901{n:02},bank\n" for n in range(6))
    assert _send(desk, others, name="may")["changed"] == 6
    assert desk.http("GET", "/v1/imports/holdings", params=where).json() == {"line": 5}
    told = _send(desk, text, name="may")
    assert (told["rows"], told["changed"]) == (2, 2)
    assert desk.http("GET", "/v1/imports/holdings", params=where).json() == {"line": 0}
    assert all(_held(desk, row.split(",")[0]) for row in rows)


def _cut(desk, text):
    answer = desk.http(
        "POST",
        "/v1/imports/holdings",
        content=text.encode(),
        params={"reason": "x", "name": "may"},
        headers=CSV,
    )
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "power cut" not in answer.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("colour\nred\n", "line 1"),
        ('first,subject\n"1,bank\n', "line"),
        (b"first,subject\n1,\xff\n", "UTF-8"),
        ("first,subject\n1,bank\n1," + "x" * 20_000, "line 3"),
    ],
)
def test_files_that_are_none(desk, text, says):
    told = _send(desk, text, status=422)
    assert says in told["detail"]


def test_what_cannot_be_asked_for(desk):
    _send(desk, GOOD, status=415, headers={"content-type": "application/json"})
    for records in ("orders", "numbers"):
        _send(desk, GOOD, records=records, status=404)
        assert desk.http("GET", f"/v1/exports/{records}").status_code == 404
    for bad in ({"mode": "some"}, {"told": -1}, {"reason": ""}, {"name": "x" * 129}):
        _send(desk, GOOD, status=422, **bad)


def test_an_upload_is_bounded_and_read_after_the_credentials(desk_with, tmp_path):
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "registrar", [Role.REGISTRAR])
    desk = desk_with(auth={"keys": keys}, server={"max_import": 100_000})
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b"8" * 10_000

    for credentials, status, most in (({}, 401, 1), ({"x-api-key": key}, 413, 12)):
        sent = 0
        answer = desk.http(
            "POST",
            "/v1/imports/holdings",
            content=endless(),
            params={"reason": "x"},
            headers=CSV | credentials,
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert sent <= most
    data = desk.service.settings.data
    assert not [file for file in data.iterdir() if file.name.startswith("tmp")]


def test_an_upload_that_stalls_makes_way_for_another(desk, monkeypatch):
    monkeypatch.setattr("zhenxian.api.management.uploads.PATIENCE", 0.0)
    calls, _ = applications(desk.service)

    async def run():
        begun = asyncio.Queue()

        async def stalled(place):
            yield b"first,subject\n" * (place + 1)
            begun.put_nowait(place)
            await asyncio.Event().wait()

        transport = httpx.ASGITransport(app=calls)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            def send(content):
                params = {"reason": "x"}
                path = "/v1/imports/holdings"
                return client.post(path, content=content, params=params, headers=CSV)

            waiting = [asyncio.create_task(send(stalled(place))) for place in range(4)]
            async with asyncio.timeout(20):
                for _ in waiting:
                    await begun.get()
                for _ in range(2):
                    done = await send(GOOD.encode())
                    assert done.status_code == 200
                gone, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                assert {task.result().status_code for task in gone} == {408}
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())


def test_uploads_at_once_are_bounded(desk):
    calls, _ = applications(desk.service)

    async def run():
        release, begun = asyncio.Event(), asyncio.Queue()

        async def slow(place):
            yield b"first,subject\n"
            begun.put_nowait(place)
            await release.wait()
            yield f"867559999000{place},bank\n".encode()

        transport = httpx.ASGITransport(app=calls)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            def send(content):
                params = {"reason": "x"}
                path = "/v1/imports/holdings"
                return client.post(path, content=content, params=params, headers=CSV)

            waiting = [asyncio.create_task(send(slow(place))) for place in range(4)]
            async with asyncio.timeout(20):
                for _ in waiting:
                    await begun.get()
            refused = await send(b"first,subject\n")
            assert refused.status_code == 503
            release.set()
            done = await asyncio.gather(*waiting)
            assert [answer.json()["changed"] for answer in done] == [1, 1, 1, 1]
            assert (await send(b"first,subject\n")).status_code == 200

    asyncio.run(run())


def test_what_is_exported_is_imported(desk, monkeypatch):
    monkeypatch.setattr("zhenxian.api.management.bulk._FIRST", 2)
    document = {"document_kind": "id-card", "document_number": "11010119900101123X"}
    answer = desk.http("PUT", "/v1/subjects/one", json=document, params={"reason": "x"})
    assert answer.status_code == 200
    for records in ("subjects", "resellers", "holdings", "accesses", "bindings"):
        out = desk.http("GET", f"/v1/exports/{records}")
        assert out.headers["content-type"].startswith("text/csv")
        assert "11010119900101123X" not in out.text
        told = _send(desk, out.text, records=records)
        assert told["unchanged"] == told["rows"] == len(out.text.splitlines()) - 1
        if records != "bindings":
            assert told["rows"] > 1


def test_roles(desk_with, tmp_path):
    keys = tmp_path / "keys.toml"
    made = {role: add_key(keys, role.value, [role], None, "bank") for role in Role}
    desk = desk_with(auth={"keys": keys})
    for role, key in made.items():
        headers = {"x-api-key": key}
        allowed = 200 if role is Role.REGISTRAR else 403
        _send(desk, GOOD, status=allowed, headers=headers)
        reads = role in (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR)
        answer = desk.http("GET", "/v1/exports/subjects", headers=headers)
        assert answer.status_code == (200 if reads else 403)


# The commands -------------------------------------------------------------------------------------


@pytest.fixture
def zhenxian(service):
    def run(*arguments, status=0):
        given = [*map(str, arguments), "--url", DEFAULT_URL]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return run


def test_a_file_is_sent_to_a_service_and_fetched_from_it(zhenxian, tmp_path, desk):
    file, refused, out = (tmp_path / name for name in ("numbers.csv", "refused.csv", "out.csv"))
    file.write_text(MIXED)
    why = ("--reason", "t", "--rejected", refused)
    dry = zhenxian("import", "holdings", file, *why, "--dry-run", "--json", status=1)
    assert json.loads(dry.stdout)["written"] is False
    whole = zhenxian("import", "holdings", file, *why, "--mode", "all-or-nothing", status=1)
    assert "nothing was written" in whole.stdout
    assert "line 3" in whole.stderr
    done = zhenxian("import", "holdings", file, *why, status=1)
    assert "1 registered, 0 unchanged, 2 refused" in done.stdout
    lines = refused.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["line", "3", "4"]
    zhenxian("export", "holdings", out)
    assert "8675599990001,8675599990001,bank" in out.read_text()
    assert zhenxian("export", "holdings").stdout == out.read_text()
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_an_export_that_is_refused_is_one_sentence(service, capsys):
    taken: list[bytes] = []
    with Client(DEFAULT_URL) as client, pytest.raises(typer.Exit):
        client.download("/v1/exports/nothing", taken.append)
    assert capsys.readouterr().err.startswith("404 Not Found")
    assert taken == []


def test_an_import_begun_before_is_not_begun_again_unawares(zhenxian, tmp_path, desk, service):
    file = tmp_path / "numbers.csv"
    file.write_text(GOOD)
    zhenxian("import", "holdings", file, "--reason", "t")
    name = next(url for _, url, *_ in service.asked if "/v1/imports/" in url).partition("name=")[2]
    stored = f"api local holding {name}\n{hashlib.sha256(GOOD.encode()).hexdigest()}"
    desk.service.registry._writer.set_import_line(stored, 2)
    result = CliRunner().invoke(
        app, ["import", "holdings", str(file), "--reason", "t", "--url", DEFAULT_URL]
    )
    assert "--resume goes on from there" in str(result.exception)
    told = zhenxian("import", "holdings", file, "--reason", "t", "--resume", "--json")
    assert json.loads(told.stdout)["rows"] == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "workbook"),
        ("first,subject,evidence\n8675599990001,bank,合同\n".encode("gbk"), "GBK"),
        ("first,subject\n8675599990001,bank\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_told_what_to_do(desk, body, says):
    told = _send(desk, body, status=422)
    assert says in told["detail"]
    assert 'save it as "CSV UTF-8"' in told["detail"]


def test_refusals_are_grouped_and_what_stands_twice_is_refused(desk, monkeypatch):
    monkeypatch.setattr("zhenxian.service.imports.LINES", 2)
    monkeypatch.setattr(bulk, "_PART", 2)
    text = (
        "first,subject,verified_on\n8675599990001,bank,2026-05-01\n8675599990002,nobody1,\n"
        "8675599990003,bank,2026/5/1\n8675599990004,nobody2,\n8675599990001,bank,\n"
        "8675599990005,bank,1/5/2026\n"
    )
    dry = _send(desk, text, dry_run=True)
    told = _send(desk, text)
    assert {**told, "written": False} == dry
    assert [row["line"] for row in told["rejected"]] == [3, 5, 6, 7]
    assert [(each["count"], each["line"]) for each in told["reasons"]] == [(2, 3), (1, 6), (1, 7)]
    assert "appears twice in this import" in told["reasons"][1]["reason"]


def test_an_export_holds_nothing_that_a_spreadsheet_executes(desk):
    desk.http("PUT", "/v1/subjects/x", json={"name": "=1+1"}, params={"reason": "a test"})
    exported = desk.http("GET", "/v1/exports/subjects").text
    assert "'=1+1" in exported
    assert _send(desk, exported, records="subjects")["changed"] == 0
    assert desk.http("GET", "/v1/subjects/x").json()["name"] == "=1+1"


def test_an_id_that_no_route_leads_to_is_refused(desk):
    told = _send(desk, "id,name\na/b,x\n..,x\nfine,x\n", records="subjects")
    assert (told["changed"], [row["line"] for row in told["rejected"]]) == (1, [2, 3])


RANGE = "first,last,subject\n8675599990000,8675599990999,bank\n"
OUT = "first,last,subject\n8675599990007,,courier\n8675599990010,8675599990019,courier\n"


def test_numbers_are_taken_out_of_anothers_range_only_where_that_is_asked_for(desk):
    _send(desk, RANGE)
    for more in ({"dry_run": True}, {}, {"mode": "best-effort"}):
        told = _send(desk, OUT, **more)
        assert (told["changed"], told["rejections"], told["taken_out"]) == (0, 2, 0)
        assert "lies in 8675599990000-8675599990999 of bank" in told["rejected"][0]["reason"]
        assert [(each["count"], each["line"]) for each in told["reasons"]] == [(2, 2)]
    assert _send(desk, OUT, mode="all-or-nothing", status=422)["rejections"] == 2
    assert not _held(desk, "8675599990007")
    dry = _send(desk, OUT, dry_run=True, take_out=True)
    told = _send(desk, OUT, take_out=True)
    assert {**told, "written": False} == dry
    assert (told["changed"], told["rejections"], told["taken_out"]) == (2, 0, 2)
    again = _send(desk, OUT)  # what is registered so already takes nothing
    assert (again["unchanged"], again["rejections"]) == (2, 0)
    own = "first,last,subject\n8675599990012,,courier\n8675599990013,,bank\n"
    told = _send(desk, own)
    assert (told["changed"], [row["line"] for row in told["rejected"]]) == (1, [3])


@pytest.mark.parametrize("padding", [0, 8000])
def test_so_are_those_out_of_a_range_of_the_same_file(desk, padding):
    """As far as lines before say; a large file goes to a process of its own."""
    rest = "".join(f"86756{n:08},,bank\n" for n in range(padding))
    text = RANGE + OUT.partition("\n")[2] + rest
    dry = _send(desk, text, dry_run=True)
    told = _send(desk, text)
    assert {**told, "written": False} == dry
    assert (told["changed"], [row["line"] for row in told["rejected"]]) == (1 + padding, [3, 4])


def test_a_batch_takes_numbers_out_and_repeats_rows_as_an_import_does(desk):
    _send(desk, RANGE)
    taken = {"first": "8675599990007", "subject": "courier"}
    free = {"first": "8675577770001", "subject": "courier"}

    def batch(rows, status=200, **more):
        answer = desk.http(
            "POST", "/v1/holdings/batch", json=rows, params={"reason": "a test"} | more
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    assert "of bank" in batch([taken, free], 409)["detail"]
    told = batch([taken, free], mode="best-effort")
    assert (told["accepted"], told["rejected"][0]["row"]) == (1, 0)
    told = batch([taken], take_out=True)
    assert (told["accepted"], told["taken_out"]) == (1, 1)
    other = free | {"first": "8675577770002"}
    twice = [other, other, other | {"subject": "bank"}]
    assert [row["row"] for row in batch(twice, 422)["rejected"]] == [2]
    told = batch(twice, mode="best-effort")
    assert (told["accepted"], [row["row"] for row in told["rejected"]]) == (2, [2])
    assert "twice" in told["rejected"][0]["detail"]
    held = desk.http("GET", "/v1/holdings/8675577770002").json()
    assert held["subject"] == "courier"
    refused_first = [{"first": "8675577770003", "subject": s} for s in ("nobody", "bank")]
    told = batch(refused_first, mode="best-effort")
    assert (told["accepted"], [row["row"] for row in told["rejected"]]) == (1, [0])


@pytest.mark.parametrize("mode", ["best-effort", "all-or-nothing"])
def test_the_history_of_an_import_names_its_file(desk, mode):
    _send(desk, GOOD, file="numbers of May.csv", mode=mode)
    digest = f"sha-256:{hashlib.sha256(GOOD.encode()).hexdigest()}"
    made = {"kind": "holding", "count": 2, "file": "numbers of May.csv", "digest": digest}
    (version,) = desk.http("GET", "/v1/holdings/8675599990002/history").json()["versions"]
    assert (version["reason"], version["imported"]) == ("a test", made)
    change = desk.http("GET", "/v1/changes").json()["changes"][-1]
    assert (change["reason"], change["imported"]) == ("a test", made)
    forged = f"a test\x1e{json.dumps(made)}"
    desk.http("PUT", "/v1/subjects/x", json={"name": "x"}, params={"reason": forged})
    (version,) = desk.http("GET", "/v1/subjects/x/history").json()["versions"]
    assert "imported" not in version


def test_a_command_tells_the_files_name_and_takes_out_when_told_to(zhenxian, tmp_path, desk):
    file = tmp_path / "numbers.csv"
    file.write_text(RANGE)
    zhenxian("import", "holdings", file, "--reason", "t")
    (version,) = desk.http("GET", "/v1/holdings/8675599990000-8675599990999/history").json()[
        "versions"
    ]
    assert version["imported"]["file"] == "numbers.csv"
    file.write_text(OUT)
    refused = zhenxian("import", "holdings", file, "--reason", "t", "--json", status=1)
    assert json.loads(refused.stdout)["rejections"] == 2
    told = zhenxian("import", "holdings", file, "--reason", "t", "--take-out", "--json")
    assert json.loads(told.stdout)["taken_out"] == 2


@pytest.mark.parametrize("rows", [10, 20_000])
def test_an_encoding_that_shows_late_is_told_all_the_same(desk, rows):
    text = "id,name\n" + "".join(f"s{n},S\n" for n in range(rows)) + "late,中国银行\n"
    told = _send(desk, text.encode("gbk"), records="subjects", status=422)
    assert "GBK" in told["detail"]
    assert 'save it as "CSV UTF-8"' in told["detail"]
