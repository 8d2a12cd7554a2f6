"""Cells that a spreadsheet would execute, files of other kinds, and what imports tell of both."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.core.errors import ConfigError
from zhenxian.registry.cells import foreign, harmless, plain
from zhenxian.registry.forms import record_of, seconds_of
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import put
from zhenxian.registry.model import Kind, Reseller, Subject
from zhenxian.stores.bulk import importer as bulk
from zhenxian.stores.bulk.importer import Import, export_rows
from zhenxian.stores.sqlite.file import RegistryFile

BEGINS = ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"]


@pytest.fixture
def book(tmp_path):
    book = RegistryFile(tmp_path / "registry.db", writer=True, synchronous="OFF")
    some = [put(Subject(id=name)) for name in ("a", "b")] + [put(Reseller(id="mvno"))]
    book.write(some, author="a", reason="r", now=1)
    return book


def run(book, text, kind=Kind.HOLDING, **more):
    work = Import(book, kind, author="me", reason="why", now=5, **more)
    return work.run(io.StringIO(text))


def test_a_header_in_the_middle_is_no_record(book):
    """Of two files put together: for a subject its name would be one, id."""
    text = "id,name\nx,X\nid,name\ny,Y\n" + '"id","name"\n'
    report = run(book, text, Kind.SUBJECT)
    assert (report.changed, report.rejections) == (2, 2)
    assert [(row.line, row.reason) for row in report.rejected] == [
        (line, "the names of the columns once more, and no record") for line in (3, 5)
    ]
    assert run(book, "name,id\nid,name\n", Kind.SUBJECT).changed == 1  # in this order it is one


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le"])
def test_a_file_in_utf_16_is_told_with_its_mark_or_without(name):
    for text in ("id,name\na,b\n", "id,name\na,银行\n"):
        assert "is in UTF-16" in foreign(text.encode(name))
    assert foreign(b"id,na\0me\nx,y\n") is None


@given(st.text(st.sampled_from([*BEGINS, "'", "a", "1", ",", '"']), max_size=6))
def test_every_cell_reads_back_and_none_begins_as_a_formula(text):
    written = harmless(text)
    assert plain(written) == text
    assert written[:1] not in BEGINS
    if text[:1] not in [*BEGINS, "'"]:
        assert written == text


def test_an_export_executes_nothing_and_reads_back(book):
    names = ["=1+1", "+86", "-x", "@SUM(A1)", "'=x", "''+x", "'quoted'", "plain", "＝1"]
    some = [put(Subject(id=f"s{n}", name=name)) for n, name in enumerate(names)]
    holding = record_of(
        Kind.HOLDING,
        {"first": "8675588880001", "subject": "a", "evidence": "=cmd|' /C calc'!A0"},
    )
    book.write([*some, put(holding)], author="a", reason="r", now=1)
    for kind in (Kind.SUBJECT, Kind.HOLDING):
        out = io.StringIO()
        export_rows(book, kind, out)
        for row in csv.reader(io.StringIO(out.getvalue())):
            assert all(cell[:1] not in BEGINS for cell in row)
        again = run(book, out.getvalue(), kind)
        assert (again.changed, again.rejections) == (0, 0)


@pytest.mark.parametrize("evidence", ["'=x", "=x", "''=x"])
def test_an_apostrophe_before_a_formula_is_taken_off(book, evidence):
    assert run(book, f"first,subject,evidence\n8675588880001,a,{evidence}\n").changed == 1
    found = book.get(Kind.HOLDING, "8675588880001-8675588880001") or book.get(
        Kind.HOLDING, "8675588880001"
    )
    assert found[1].evidence == plain(evidence)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"PK\x03\x04\x14\x00", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
        (b"%PDF-1.7", "PDF"),
        (b"\x1f\x8b\x08", "compressed"),
        ("first,subject\n".encode("utf-16"), "UTF-16"),
        ("first,subject,evidence\n1,a,合同\n".encode("gbk"), "GBK"),
        ("first,subject,evidence\n1,a,é\n".encode("latin-1"), "another encoding"),
        ("first,subject,evidence\n1,a,合同\n".encode("utf-8-sig"), None),
        (b"first,subject\n" + "合".encode()[:2], None),  # cut off within a character
        (b"", None),
    ],
)
def test_files_of_other_kinds_are_named(head, says):
    why = foreign(head)
    assert (why is None) if says is None else (says in why and "CSV" in why)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1777593600", 1_777_593_600),
        ("2026-05-01", 1_777_593_600),
        ("2026/5/1", 1_777_593_600),
        ("2026/05/01", 1_777_593_600),
        ("2026-05-01T08:00:00+08:00", 1_777_593_600),
        ("2026-05-01T00:00:00Z", 1_777_593_600),
        ("2026-05-01 00:00:00+00:00", 1_777_593_600),
    ],
)
def test_times_as_people_write_them(book, text, seconds):
    assert seconds_of(text) == seconds
    assert run(book, f"first,subject,verified_on\n8675588880001,a,{text}\n").changed == 1
    ((_, held),) = book.holdings()
    assert held.verified_on == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1/5/2026", "which the month"),
        ("05-01-2026", "which the month"),
        ("31/12/26", "which the month"),
        ("2026-05-01T08:00:00", "with its offset"),
        ("2026/13/1", "expected"),
        ("2026-02-30", "expected"),
        ("20260501120000", "expected"),
        ("１７７７５９３６００", "expected"),
        ("２０２６-05-01", "expected"),
        ("-1", "expected"),
        ("1.5", "expected"),
        ("tomorrow", "expected"),
        (" 1", "expected"),
    ],
)
def test_times_that_could_be_others_are_refused(book, text, says):
    with pytest.raises(ConfigError, match=says):
        seconds_of(text)
    report = run(book, f"first,subject,verified_on\n8675588880001,a,{text}\n")
    assert (report.changed, report.rejections) == (0, 1)
    assert says in report.rejected[0].reason


@pytest.mark.parametrize("name", ["a/b", "/", ".", "..", "../x", "a/"])
def test_an_id_that_no_address_leads_to_is_refused(name):
    for kind in (Kind.SUBJECT, Kind.RESELLER):
        with pytest.raises(ConfigError, match="id: "):
            record_of(kind, {"id": name})
    assert record_of(Kind.SUBJECT, {"id": "a.b ..c"}).id == "a.b ..c"


@pytest.mark.parametrize("lines", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", [Kind.HOLDING, Kind.SUBJECT, Kind.REFUSAL])
def test_what_stands_twice_is_refused_wherever_commits_end(tmp_path, monkeypatch, lines, kind):
    text = {
        Kind.HOLDING: "first,subject\n8675588880001,a\n8675588880002,b\n8675588880001,b\n"
        "8675588880001,a\n8675588880002,b\n",
        Kind.SUBJECT: "id,name\nx,A\ny,B\nx,C\nx,A\ny,B\n",
        Kind.REFUSAL: "first,since,source\n8613800138000,1,a\n8613800138001,1,b\n"
        "8613800138000,1,c\n8613800138000,1,a\n8613800138001,1,b\n",
    }[kind]
    monkeypatch.setattr(bulk, "CHUNK", lines)
    told = []
    for number, how in enumerate(
        ({"dry_run": True}, {}, {"mode": Mode.ALL_OR_NOTHING}, {"resume": "x"})
    ):
        book = RegistryFile(tmp_path / f"{number}.db", writer=True, synchronous="OFF")
        some = [put(Subject(id="a")), put(Subject(id="b"))]
        book.write(some, author="a", reason="r", now=1)
        report = run(book, text, kind, **how)
        told.append((report.changed, report.unchanged, [row.line for row in report.rejected]))
    assert told == [(2, 2, [4])] * 4


def test_refusals_are_grouped_by_reason(book):
    rows = [f"86755888{n:05},nobody{n}" for n in range(50)] + [f"x{n},a" for n in range(7)]
    report = run(book, "first,subject\n" + "\n".join(rows) + "\n")
    assert report.rejections == 57
    assert sorted(report.reasons.values()) == [[7, 52], [50, 2]]
    assert all("nobody" not in reason and "8675" not in reason for reason in report.reasons)


def test_reasons_are_bounded(book):
    rows = [f"8675588880001,{'b' * n}" for n in range(2, 200)]
    report = run(book, "first,subject\n" + "\n".join(rows) + "\n")
    assert len(report.reasons) <= 101
    assert sum(count for count, _ in report.reasons.values()) == report.rejections
