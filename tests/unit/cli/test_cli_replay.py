"""`zhenxian replay`: who would be found, from call records."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from random import Random

import pytest
from streams import CODES, NOON, number, numbers, somebody
from typer.testing import CliRunner

from zhenxian.analytics import Detector, Key, KeyKind, Policy
from zhenxian.analytics.codec import write_counts
from zhenxian.analytics.counted import Contact
from zhenxian.calls import records
from zhenxian.calls.records import Replay, Row
from zhenxian.cli import replay as command
from zhenxian.cli.commands import app
from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN
from zhenxian.registry.journal import put
from zhenxian.registry.model import Access, Subject, SubjectKind
from zhenxian.simulation.demo import POOL_ORIGID, prepare
from zhenxian.stores.sqlite.registry import REGISTRY_FILE, EmbeddedRegistry

HEADER = ("at", "orig", "dest", "access", "answered", "seconds")


def run(*arguments, status=0):
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def lines(*arguments):
    return {one["key"]: one for one in map(json.loads, run(*arguments, "--json").splitlines())}


def written(path, header, rows):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        out.writerows(rows)
    return path


def pool(seed=1, count=300, size=1_500):
    random, held = Random(seed), numbers(Random(seed), size)
    for turn in range(count):
        code, display = random.choice(held)
        answered = random.random() < 0.4
        seconds = round(random.expovariate(1 / 20)) if answered else 0
        yield NOON + 20 * turn + 0.5, display, somebody(random, code), int(answered), seconds


def bank(seed=1, count=300, size=1_500):
    random, held = Random(seed), numbers(Random(seed), size)
    for turn in range(count):
        code, display = random.choice(held)
        answered = random.random() < 0.65
        seconds = round(random.expovariate(1 / 80)) if answered else 0
        yield NOON + 20 * turn, display, somebody(random, code), int(answered), seconds


@pytest.fixture
def calls(tmp_path):
    both = [(at, orig, dest, "pool", *end) for at, orig, dest, *end in pool()]
    both += [(at, orig, dest, "bank", *end) for at, orig, dest, *end in bank()]
    return written(tmp_path / "calls.csv", HEADER, sorted(both))


def test_a_pool_is_told_from_a_bank_with_as_many_numbers(calls):
    told = lines(calls)
    assert set(told) == {"access:pool", "access:bank"}
    found, left = told["access:pool"], told["access:bank"]
    assert set(found) == {
        "key", "side", "calls", "first_labelled", "first_lowered", "first_refused", "refused",
        "measures", "sentence",
    }  # fmt: skip
    assert (found["side"], found["calls"]) == ("signing", 300)
    assert found["first_labelled"] == found["first_lowered"] < found["first_refused"] <= 250
    assert found["refused"] == 300 - found["first_refused"] + 1
    assert "local-presence" in found["measures"]
    assert "callee's own city" in found["sentence"]
    assert (left["first_labelled"], left["first_lowered"], left["first_refused"]) == (None,) * 3
    assert (left["refused"], left["measures"]) == (0, [])
    assert "would tell" in left["sentence"]


def test_numbers_may_be_uris_and_records_may_come_by_standard_input(calls):
    with calls.open(newline="") as file:
        header, *rows = csv.reader(file)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    for turn, (at, orig, dest, *rest) in enumerate(rows):
        uri = (f"sip:+{orig}@pbx.example;user=phone", f"tel:+{orig}", orig)[turn % 3]
        writer.writerow((at, uri, f"<sip:+{dest}@proxy.example:5060>", *rest))
    result = CliRunner().invoke(app, ["replay", "-", "--json"], input=out.getvalue().encode())
    assert (result.exit_code, result.stderr.strip()) == (0, "")
    assert result.stdout == run(calls, "--json")


def test_calls_of_no_number_are_left_out_and_told(calls, tmp_path):
    with calls.open(newline="") as file:
        header, *rows = csv.reader(file)
    at, _, dest, *rest = rows[0]
    more = [
        (at, withheld, dest, *rest)
        for withheld in (
            "anonymous",
            "",
            "未知",
            "sip:alice@example.com",
            "<sip:anonymous@x.example>",
        )
    ]
    path = written(tmp_path / "more.csv", header, [*rows[:1], *more, *rows[1:]])
    result = CliRunner().invoke(app, ["replay", str(path), "--json"])
    assert result.stdout == run(calls, "--json")
    told = " ".join(result.stderr.split())
    assert told == "5 rows were left out, whose orig is no telephone number: line 3 is the first"


def test_a_withheld_caller_behind_a_privacy_number_is_not_taken_for_none(tmp_path):
    header = ("at", "orig", "dest", "access", "caller")
    rows = [
        (NOON + turn, "8613800100000", "8613900100000", "platform", caller)
        for turn, caller in enumerate(("8613700100000", "anonymous"))
    ]
    path = written(tmp_path / "calls.csv", header, rows)
    result = CliRunner().invoke(app, ["replay", str(path), "--json"])
    assert " ".join(result.stderr.split()).startswith("1 rows were left out, whose caller is no")
    assert {one["calls"] for one in map(json.loads, result.stdout.splitlines())} == {1}


@pytest.mark.parametrize("number", ["12x4", "tel:12x4", "sip:+86101234567%zz@x"])
def test_what_is_no_number_for_a_fault_is_told_with_its_line(number, tmp_path):
    path = written(tmp_path / "calls.csv", HEADER, [(NOON, number, "861012345678", "a", 1, 9)])
    result = CliRunner().invoke(app, ["replay", str(path)])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("line 2: number: ")


def test_columns_in_any_order_and_rows_that_were_verified(tmp_path):
    rows = [(end[1], dest, "7001", at, "o-1", orig, end[0]) for at, orig, dest, *end in pool()]
    header = ("seconds", "dest", "spc", "at", "origid", "orig", "answered")
    told = lines(written(tmp_path / "calls.csv", header, rows))
    assert set(told) == {"signer:7001/o-1", "spc:7001"}
    assert told["signer:7001/o-1"]["first_refused"] <= 250
    assert told["spc:7001"]["first_refused"] is None  # a carrier is only labelled
    assert {one["side"] for one in told.values()} == {"verifying"}


def test_customers_of_one_access_are_judged_each_by_itself(tmp_path):
    rows = [(at, orig, dest, "trunk", "bad", *end) for at, orig, dest, *end in pool()]
    rows += [(at, orig, dest, "trunk", "good", *end) for at, orig, dest, *end in bank()]
    header = ("at", "orig", "dest", "access", "customer", "answered", "seconds")
    told = lines(written(tmp_path / "calls.csv", header, sorted(rows)))
    assert told["access:trunk/bad"]["first_refused"]
    assert told["access:trunk/good"]["first_labelled"] is None


def test_calls_of_no_known_access_are_counted(tmp_path):
    rows = [(at, orig, dest, "", *end) for at, orig, dest, *end in pool()]
    told = lines(written(tmp_path / "calls.csv", HEADER, rows))
    assert told["access:unknown"]["first_refused"] <= 250


def test_the_registry_tells_whose_an_access_is(tmp_path):
    data = prepare(tmp_path / "demo", "127.0.0.1:9", NOON).config.parent / "state"
    rows = [(at, orig, dest, "pool-trunk", *end) for at, orig, dest, *end in pool()]
    path = written(tmp_path / "calls.csv", HEADER, rows)
    told = lines(path, "--data", data)
    assert set(told) == {"access:pool-trunk", "subject:pool-company"}
    assert told["subject:pool-company"]["first_refused"] <= 250
    assert POOL_ORIGID not in told
    run(path, "--data", tmp_path / "nothing", status=1)


def test_the_registry_tells_whose_mobile_numbers_are_one_persons(tmp_path):
    (tmp_path / "data").mkdir()
    registry = EmbeddedRegistry(tmp_path / "data" / REGISTRY_FILE)
    made = [
        put(record)
        for name, kind in (("person", SubjectKind.PERSON), ("firm", SubjectKind.ENTERPRISE))
        for record in (
            Subject(id=name, kind=kind),
            Access(id=f"{name}-phones", subject=name, origid=f"o-{name}"),
        )
    ]
    asyncio.run(registry.write(made, author="test", reason="test", now=NOON))
    registry.close()
    random = Random(4)
    rows = [
        (NOON + 60 * turn, TN(f"861370571{random.randrange(5):04d}"), somebody(random, "571"), name)
        for turn in range(500)
        for name in ("person-phones", "firm-phones")
    ]
    path = written(tmp_path / "calls.csv", ("at", "orig", "dest", "access"), rows)
    told = lines(path, "--data", tmp_path / "data")
    assert 280 < told["subject:person"]["first_lowered"] <= 400
    assert told["subject:person"]["measures"] == ["strangers"]
    assert told["subject:firm"]["first_labelled"] is None


def test_calls_behind_privacy_numbers_count_for_who_makes_them(tmp_path):
    random, agent = Random(3), number("21", 7)
    rows = [
        (NOON + 30 * turn, number(random.choice(CODES), turn), somebody(random), "trunk", agent)
        for turn in range(200)
    ]
    header = ("at", "orig", "dest", "access", "caller")
    told = lines(written(tmp_path / "calls.csv", header, rows))
    assert told[f"agent:trunk/{agent}"]["measures"] == ["bindings"]


def test_the_table_tells_who_is_found_and_how_many_are_not(calls):
    told = run(calls, "--table")
    assert "access:pool" in told
    assert "access:bank" not in told
    assert "2 keys: 1 would be labelled" in told
    assert run(calls) == told


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (("at", "orig"), (1, 2), "lacks the column dest"),
        (("at", "orig", "dest", "colour"), (1, 2, 3, 4), "no column 'colour'"),
        (("at", "orig", "dest", "at"), (1, 2, 3, 4), "there twice"),
        (("at", "orig", "dest"), ("noon", "8613800100000", "8613900100000"), "line 2"),
        (("at", "orig", "dest"), (1, "nobody", "8613900100000"), "line 2"),
        (("at", "orig", "dest", "answered"), (1, "861", "862", "yes"), "1 or 0 expected"),
        (("at", "orig", "dest", "seconds"), (1, "861", "862", "-4"), "from 0 on"),
        (("at", "orig", "dest"), (1, "8613800100000"), "line 2"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path, header, row, said):
    result = CliRunner().invoke(
        app, ["replay", str(written(tmp_path / "calls.csv", header, [row]))]
    )
    assert result.exit_code != 0
    assert said in f"{result.output}{result.exception}"


@pytest.mark.parametrize(
    "text", ["", "noon", "2026-11-30T12:00:00Z", "nan", "inf", "-1", "1e400", "1700000000000"]
)
@pytest.mark.parametrize("column", ["at", "seconds"])
def test_seconds_that_are_none_are_told_in_a_sentence(tmp_path, column, text):
    cells = {"at": "1700000000", "seconds": "1"} | {column: text}
    row = (cells["at"], "8613800100000", "8613900100000", cells["seconds"])
    path = written(tmp_path / "calls.csv", ("at", "orig", "dest", "seconds"), [row])
    result = CliRunner().invoke(app, ["replay", str(path)])
    if column == "seconds" and text in ("", "1700000000000"):  # not told; long
        assert result.exit_code == 0
    else:
        assert result.exit_code == 3 or isinstance(result.exception, ConfigError)
        assert f"line 2: {column}: " in f"{result.output}{result.exception}"


def test_keys_are_bounded(monkeypatch):
    monkeypatch.setattr(records, "MAX_KEYS", 5)
    told = Replay(Detector())
    for index in range(9):
        told.add(Row(NOON + index, number("28", 1), number("28", 2), access=f"a-{index}"))
    told.finish()
    assert len(list(told.lines())) == 5
    assert told.beyond == 4


def test_rows_out_of_order_are_told():
    told = Replay(Detector())
    for at in (NOON, NOON - 10, NOON + 1):
        told.add(Row(at, number("28", 1), number("28", 2), access="a"))
    assert told.late == 1
    assert told.tallies[Key(KeyKind.ACCESS, "a")].calls == 3


def test_memory_is_bounded_whatever_the_rows_say(monkeypatch):
    monkeypatch.setattr(records, "MAX_KEYS", 500)
    monkeypatch.setattr(records, "MAX_IN_PROGRESS", 300)
    detector = Detector(Policy(max_keys=400))
    told = Replay(detector)
    for turn in range(6_000):
        # Each row another access, origid and display; no call of them ever ends.
        name = f"a-{turn}"
        told.add(
            Row(
                NOON + turn / 10, number(CODES[turn % 20], turn), number("21", turn + 1),
                access="" if turn % 2 else name, spc=str(turn) if turn % 2 else "", origid=name,
                answered=True, seconds=10**9,
            )
        )  # fmt: skip
    assert len(told.tallies) == 500
    assert told.beyond > 8_000  # two keys for each row that was verified
    assert told._ends.count == 300
    assert len(detector) <= 400
    told.finish()
    assert not told._ends.count


def test_the_keys_of_a_row_take_no_more_memory_the_longer_the_records_are():
    told, held = Replay(Detector()), numbers(Random(4), 5_000)
    sizes = []
    for turn in range(24_000):
        code, display = held[turn * 7 % 5_000]
        end = turn % 3 == 0
        told.add(
            Row(NOON + 4 * turn, display, somebody(Random(turn), code), access="one",
                answered=end, seconds=40 if end else 0)
        )  # fmt: skip
        if turn % 8_000 == 7_999:
            key = Key(KeyKind.ACCESS, "one")
            counts = told._detector._counting.table.get(key)
            sizes.append(len(write_counts(1, 1, key, counts)))
    assert sizes[2] < 1.2 * sizes[0]


def test_calls_end_in_the_order_of_seconds_and_in_one_second_in_that_of_rows():
    random, ends, expected, taken = Random(3), records._Ends(), [], []
    for turn in range(3_000):
        at, end = random.randrange(200), Contact(turn, False)
        ends.add(at, end, ())
        expected.append((at, turn))
        if random.random() < 0.3:
            expected.sort()
            least = expected.pop(0)
            assert (ends.first, ends.take_one()[1].pair) == least
    while ends.count:
        taken += [(at, contact.pair) for at, contact, _ in ends.take()]
    assert taken == sorted(expected)
    assert ends.first > 10**30


def test_memory_of_long_records_goes_into_huge_pages_as_it_grows(monkeypatch, tmp_path):
    gathered = []
    monkeypatch.setattr(command, "_STEP", 10)
    monkeypatch.setattr(command, "_GATHERED_FIRST", 50)
    monkeypatch.setattr(command, "_GATHERED_AGAIN", 100)
    monkeypatch.setattr(command, "into_huge_pages", lambda **how: gathered.append(how["rest"]))
    rows = [(at, orig, dest, "pool") for at, orig, dest, *_ in pool(count=430)]
    run(written(tmp_path / "calls.csv", ("at", "orig", "dest", "access"), rows))
    assert gathered == [0, 0, 0, 0, 0]  # after 50, 100, 200, 300 and 400 rows
