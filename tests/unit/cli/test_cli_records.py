"""`zhenxian registry`: the management API as commands; by the application, without a network."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from zhenxian.api.auth import Role, add_key
from zhenxian.cli.record_words import KINDS
from zhenxian.cli.registry import app
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, RIDER, SHOP

WHY = ("--reason", "a test")
NUMBER = "8675599990001"


@pytest.fixture
def zhenxian(service):
    """Runs `zhenxian registry …`; expects an exit status, gives what it printed."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == status, (result.output, result.exception)
        return result.stderr if status and "--json" not in arguments else result.stdout

    def read(*arguments, status=0):
        return json.loads(run(*arguments, "--json", status=status))

    run.json = read
    return run


def test_help_names_the_members_and_instants_may_be_dates(zhenxian):
    told = " ".join(zhenxian("put", "--help").split())
    kinds = "access|subject|signer|spc|agent|reseller"
    assert f"exemptions: kind* ({kinds}), target*, reason*, since*, until*," in told
    assert "document_number" in told
    dates = ("since=2026-01-02T03:04:05+08:00", "until=2099-01-01T00:00:00Z")
    made = zhenxian.json("put", "refusals", NUMBER, *dates, *WHY)
    assert (made["since"], made["until"]) == (1767294245, 4070908800)
    assert "2026-01-01 19:04:05 UTC" in zhenxian("list", "refusals")
    for bad in ("tomorrow", "2026-01-02T03:04:05"):  # an instant without offset is none
        refused = zhenxian("put", "refusals", NUMBER, f"since={bad}", *WHY, status=1)
        assert refused.startswith("422")
        assert "since" in refused


def test_a_batch_of_what_has_none_is_wrong_usage(zhenxian, tmp_path):
    rows = tmp_path / "subjects.csv"
    rows.write_text("id\nbakery\n")
    assert "no batches" in zhenxian("batch", "subjects", rows, *WHY, status=2)
    assert zhenxian("show", "subjects", "bakery", status=1).startswith("404 Not Found")
    unreachable = zhenxian("show", "subjects", "a/b", status=1)
    assert "there is nothing at this address; no id has a slash in it" in unreachable


def test_a_record_is_added_changed_shown_and_ended(zhenxian):
    document = ("document_kind=licence", "document_number=9144 0300")
    zhenxian("add", "subjects", "bakery", "name=Bakery", *document, *WHY)
    twice = zhenxian("add", "subjects", "bakery", *WHY, status=1)
    assert twice.startswith("412 Version conflict")
    same = zhenxian("add", "subjects", "other", *document, *WHY, status=1)
    assert "same real-name identity as subject bakery" in same
    made = zhenxian.json(
        "put", "holdings", NUMBER, "subject=bakery", "spcs=1 2", "verified_on=7", *WHY
    )
    assert (made["spcs"], made["verified_on"]) == (["1", "2"], 7)
    changed = zhenxian.json("change", "holdings", NUMBER, "verification=verified", *WHY)
    assert changed["spcs"] == ["1", "2"]
    assert changed["version"] > made["version"]
    assert zhenxian.json("show", "holdings", NUMBER) == changed
    assert "1970-01-01 00:00:07 UTC" in zhenxian("show", "holdings", NUMBER)
    late = zhenxian(
        "put", "holdings", NUMBER, "subject=bakery", "--if-match", made["version"], *WHY, status=1
    )
    assert late.startswith("412")
    assert zhenxian("end", "holdings", NUMBER, *WHY) == f"holdings {NUMBER}: ended\n"
    assert zhenxian("show", "holdings", NUMBER, status=1).startswith("404")
    told = zhenxian("history", "holdings", NUMBER)
    for text in ("made", "verification unverified > verified", "ended", "a test", "local"):
        assert text in told
    versions = zhenxian.json("history", "holdings", NUMBER)["versions"]
    assert [v["record"] is None for v in versions] == [False, False, True]


def test_a_change_does_not_undo_what_somebody_else_wrote(zhenxian, service):
    answer = service.answer

    def between(method, url, headers, content):
        if method == "PUT" and service.asked[-2][0] == "GET":
            answer("PUT", url, {"content-type": "application/json"}, b'{"name": "theirs"}')
        return answer(method, url, headers, content)

    service.answer = between
    refused = zhenxian("change", "resellers", "sample-mvno", "name=mine", *WHY, status=1)
    assert refused.startswith("412")
    assert zhenxian.json("show", "resellers", "sample-mvno")["name"] == "theirs"


def test_lists_come_in_pages_or_whole(zhenxian):
    whole = zhenxian.json("list", "holdings")
    first = zhenxian.json("list", "holdings", "--limit", 2)
    assert first["holdings"] == whole["holdings"][:2]
    second = zhenxian.json("list", "holdings", "--limit", 2, "--after", first["following"])
    assert second["holdings"] == whole["holdings"][2:4]
    assert zhenxian.json("list", "holdings", "--limit", 1, "--all") == whole
    mine = zhenxian.json("list", "holdings", "--subject", "bank")["holdings"]
    assert mine == [row for row in whole["holdings"] if row["subject"] == "bank"]
    assert "bank-trunk" in zhenxian("list", "accesses")
    assert "subject" in zhenxian("list", "subjects", "--subject", "bank", status=1)
    assert zhenxian("list", "bindings", "--after", "~~~") == "no bindings\n"
    for kind in KINDS:
        assert kind in zhenxian.json("list", kind)


def test_suspended_subjects_and_resellers_are_resumed(zhenxian):
    for which, key in (("subjects", "bank"), ("resellers", "sample-mvno")):
        before = zhenxian.json("show", which, key)
        assert zhenxian.json("suspend", which, key, *WHY)["state"] == "suspended"
        after = zhenxian.json("resume", which, key, *WHY)
        assert after == before | {"version": after["version"]}
        assert zhenxian.json("close", which, key, *WHY)["state"] == "closed"
    refused = zhenxian("put", "holdings", NUMBER, "subject=bank", *WHY, status=1)
    assert "bank is closed" in refused
    zhenxian("suspend", "holdings", BANK, *WHY, status=2)


def test_origids_are_rotated_and_traced(zhenxian):
    fresh = zhenxian.json("rotate", "bank-trunk", *WHY)["origid"]
    assert fresh != BANK_ORIGID
    assert zhenxian.json("trace", BANK_ORIGID)["current"] is False
    assert "bank-trunk" in zhenxian("trace", fresh)


def test_an_origid_of_a_call_is_traced_to_who_signed_when(zhenxian, service, desk_with):
    service.desk = desk_with(signer={"origid": "call"})
    origid = service.desk.service.origids.origids.give("bank-trunk", BANK_ORIGID, 1_795_500_000)
    told = zhenxian("trace", origid)
    for text in ("bank-trunk", "1795500000 (2026-11-24", service.desk.service.node.name):
        assert text in told
    assert "{" not in told
    assert zhenxian.json("trace", origid)["call"]["at"] == 1_795_500_000


def test_who_held_a_number_and_under_which_reseller_when_a_call_was_signed(zhenxian, desk):
    number = "8617100005678"
    now = int(time.time())
    told = zhenxian("who", f"+{number}")
    assert "held by workshop" in told
    assert "through carrier > sample-mvno > sample-agent" in told
    desk.clock = lambda: now + 100
    version = zhenxian.json("show", "holdings", number)["version"]
    zhenxian("put", "holdings", number, "subject=bank", "--if-match", version, *WHY)
    assert "held by bank" in zhenxian("who", number)
    then = zhenxian("who", number, "--at", now + 50)
    assert "held by workshop at" in then
    assert "sample-mvno > sample-agent" in then
    assert "held by nobody" in zhenxian("who", number, "--at", "1970-01-02T00:00:00Z")
    assert zhenxian("who", number, "--at", "yesterday", status=1).startswith("422")


def test_what_was_committed_is_listed(zhenxian):
    last = zhenxian.json("changes", "--limit", 1000)["changes"][-1]["seq"]
    zhenxian("add", "subjects", "bakery", *WHY)
    (row,) = zhenxian.json("changes", "--after", last)["changes"]
    assert row["changed"] == [{"kind": "subject", "key": "bakery"}]
    assert "subject bakery" in zhenxian("changes", "--after", last)
    assert "--after 1" in CliRunner().invoke(app, ["changes", "--limit", "1"]).stderr


def test_bindings_come_in_batches(zhenxian, tmp_path):
    file = tmp_path / "rides.csv"
    header = "id,platform,model,x,a,b,since,until"
    row = f"r{{}},platform,axb,{{}},{RIDER[:-4]}{{:04}},{CALLEE[:-4]}{{:04}},1,4000000000"
    rows = [row.format(n, "700100020000002", n, n) for n in range(5)]
    rows[3] = row.format(3, SHOP, 3, 3)  # not the platform's
    file.write_text("\n".join([header, *rows]) + "\n")
    whole = zhenxian("batch", "bindings", file, *WHY, status=1)
    assert whole.startswith("409")
    file.write_text("\n".join([header, *rows[:2], rows[2].replace("axb", "axc")]) + "\n")
    whole = zhenxian("batch", "bindings", file, *WHY, status=1)
    assert whole.startswith("422")
    assert "line 4: model" in whole
    file.write_text("\n".join([header, *rows]) + "\n")
    done = zhenxian.json(
        "batch", "bindings", file, *WHY, "--mode", "best-effort", "--size", 2, status=1
    )
    assert done["accepted"] == 4
    assert [each["line"] for each in done["rejected"]] == [5]
    assert SHOP in done["rejected"][0]["reason"]
    assert len(zhenxian.json("list", "bindings", "--all")["bindings"]) >= 4
    file.write_text(f"{header}\nr9,platform\n")
    result = CliRunner().invoke(app, ["batch", "bindings", str(file), *WHY])
    assert "line 2" in str(result.exception)


def test_kinds_that_came_later_are_commands_like_the_others(zhenxian):
    """Nothing in the commands names them."""
    until = int(time.time()) + 86_400
    made = zhenxian.json(
        "add", "exemptions", "e1", "kind=subject", "target=bank", "reason=recalls", "since=1",
        f"until={until}", "measures=rate", "reference=17", *WHY,
    )  # fmt: skip
    assert (made["measures"], made["until"]) == (["rate"], until)
    assert "bank" in zhenxian("list", "exemptions", "--subject", "bank")
    refused = zhenxian.json("add", "refusals", CALLEE, "since=1", "scopes=marketing", *WHY)
    assert refused["first"] == CALLEE
    changed = zhenxian.json("change", "refusals", CALLEE, f"until={until}", *WHY)
    assert changed["scopes"] == ["marketing"]
    zhenxian("end", "refusals", CALLEE, *WHY)
    assert "ended" in zhenxian("history", "refusals", CALLEE)


def test_idempotency_keys_reach_the_service(zhenxian):
    once = ("--idempotency-key", "k")
    first = zhenxian.json("rotate", "bank-trunk", *WHY, *once)
    assert zhenxian.json("rotate", "bank-trunk", *WHY, *once) == first
    zhenxian("add", "subjects", "bakery", *WHY)
    zhenxian("end", "subjects", "bakery", *WHY, "--idempotency-key", "e")
    zhenxian("end", "subjects", "bakery", *WHY, "--idempotency-key", "e")


def test_the_services_refusals_are_told(zhenxian, desk_with, service, tmp_path):
    assert "colour" in zhenxian(
        "put", "holdings", NUMBER, "subject=bank", "colour=1", *WHY, status=1
    )
    for wrong in (
        ("put", "holdings", NUMBER, "subject", *WHY),
        ("put", "holdings", NUMBER, "first=1", *WHY),
        ("put", "numbers", NUMBER, "subject=bank", *WHY),
        ("put", "holdings", NUMBER, "subject=bank"),
        ("change", "holdings", BANK, *WHY),
    ):
        zhenxian(*wrong, status=2)
    keys = tmp_path / "keys.toml"
    add_key(keys, "reader", [Role.AUDITOR])
    locked = desk_with(auth={"keys": keys})
    service.desk = locked
    assert zhenxian("list", "subjects", status=1).startswith("401")
