"""Tables of measurements: what a row says, and how the page gets it."""

from __future__ import annotations

import argparse

import pytest
from rich.console import Console

from bench import exchange, many, openloop, start, table
from bench.machine import BenchError
from bench.table import Line, Measurement

BEGIN = "<!-- table: python -m bench.some --update-docs -->"
END = "<!-- end of table of bench.some -->"


def line(*found, **more):
    return Line(figure="some", found=found, **more)


def test_a_row_tells_the_median_what_it_lay_between_and_whether_that_is_enough():
    assert line(3.0, 1.0, 2.0).cells() == ("some", "2.00 (1.00 3.00)", "", "", "")
    assert line(0.65, goal=0.65, least=True).cells()[1:4] == ("0.65", "≥ 0.65", "reached")
    assert line(0.649, goal=0.65, least=True).cells()[3] == "short"
    assert line(12.0, goal=12.0).cells()[1:4] == ("12.0", "≤ 12.0", "reached")
    assert line(9.0, 1_234.0, 12.04, goal=12.0).cells()[1:4] == (
        "12.0 (9.00 1,234)", "≤ 12.0", "short"
    )  # fmt: skip


@pytest.fixture
def some(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "PAGE", tmp_path / "docs" / "performance.md")
    return Measurement(
        name="some",
        title="Some",
        each=("what each side does",),
        measure=lambda given: ([line(1.0, goal=2.0, beside="more")], f"{given.rounds} rounds", []),
    )


def test_what_was_measured_stands_in_the_page_between_its_marks(some):
    page = table.PAGE
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    with pytest.raises(BenchError, match="measure first"):
        some.update_docs()
    console = Console(record=True, width=200)
    some.show(console, some.made(argparse.Namespace(rounds=3)))
    assert "reached" in console.export_text()
    for _ in range(2):  # the second time finds the first's
        some.update_docs()
        text = page.read_text("utf-8")
        assert text.startswith(f"before\n{BEGIN}\n| figure ")
        assert text.endswith(f"\n- what each side does\n{END}\nafter\n")
        assert "| some | 1.00 | ≤ 2.00 | reached | more |" in text
        assert "3 rounds" in text
        assert "old" not in text
    page.write_text("no marks\n", "utf-8")
    with pytest.raises(BenchError, match="marks"):
        some.update_docs()


@pytest.mark.parametrize("module", [many, openloop, start, exchange])
def test_the_page_has_the_marks_of_each_table(module):
    name = module.MEASUREMENT.name
    text = table.PAGE.read_text("utf-8")
    assert text.count(f"<!-- table: python -m bench.{name} --update-docs -->") == 1
    assert text.count(f"<!-- end of table of bench.{name} -->") == 1


def test_of_workers_the_cost_of_a_call_is_told_and_of_others_how_many_are_answered():
    workers = many.Ratio("sign", many.WORKERS, 9_000, (0.8, 1.0, 0.5)).line()
    assert workers.cells()[1:4] == ("1.25 (1.00 2.00)", "≤ 1.10", "short")
    node = many.Ratio("verify", many.FLEET, 5_000, (0.7,)).line()
    assert node.cells()[1:] == ("0.70", "≥ 0.65", "reached", "5,000 calls/s by the clock")
    assert many.Ratio("sign", many.ALONE, 9_000, (1.0,)).line().reached is None


def waits(p999):
    return openloop.Waits(
        calls=100, p50=1.0, p99=4.0, p999=p999, afterwards=p999 / 2, worst=99.0, late=0.2, wrong=0,
        kept=9.0, longest=7.25, others=8.0, busy=0.5,
    )  # fmt: skip


def test_each_kind_of_call_has_its_goals_and_a_nations_its_own():
    found = [
        openloop.Measured(kind=kind, keys=keys, rate=4_000, waits=waits(p999))
        for kind, keys, p999 in (
            ("sign", 0, 11.0), ("sign", 0, 13.0), ("sign", 0, 14.0), ("verify", 0, 19.0),
            ("sign", 100_000, 24.0),
        )
    ]  # fmt: skip
    rows = {one.figure: one for one in openloop.lines(found)}
    assert [rows[f"sign: {name}, ms"].reached for name in ("p50", "p99", "p999")] == [
        None, True, False
    ]  # fmt: skip
    assert rows["sign: p999, ms"].found == (11.0, 13.0, 14.0)
    assert rows["verify: p999, ms"].reached is True
    assert [rows[f"sign: {name}, ms"].beside for name in ("p99", "p999")] == [
        "others had the core 8 ms a second; ready without it 9 ms a second, at most 7.2 at once",
        "after the first second 6.5",
    ]
    nation = [one for figure, one in rows.items() if "100,000 keys" in figure]
    assert [one.reached for one in nation] == [None, None, True]


def test_the_processes_that_were_started_are_told_apart():
    found = [
        start.Started(processes=1, first=1.4, cpu=1.1, parent=108.0, workers=()),
        start.Started(processes=2, first=1.6, cpu=2.4, parent=20.0, workers=(99.0, 161.0)),
    ]
    rows = start.lines(found)
    assert [one.reached for one in rows] == [True, True, False, False, True]
    assert rows[3].found == (161.0,)


def test_what_many_nodes_cost_one_is_held_against_few():
    def figures(nodes, micros, way=exchange.PARTED):
        return exchange.Figures(way, nodes, 10_000, micros, 100.0, 5_000, 0)

    found = [
        ("simulated", figures(10, 60.0)),
        ("simulated", figures(4, 72.0)),
        ("simulated", figures(100, 63.0)),
        ("simulated", figures(100, 1_762.0, exchange.ALL)),
        ("on Redis", figures(4, 1.0)),
    ]
    (row,) = exchange.growth(found)
    assert row.cells()[:4] == (
        "exchange, 100 nodes / 4 nodes: processor time of a call", "0.88", "≤ 1.00", "reached"
    )  # fmt: skip
    assert list(exchange.growth(found[:1])) == []
