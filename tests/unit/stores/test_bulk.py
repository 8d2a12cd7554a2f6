"""Bulk import and export: the same refusals as row by row, nothing lost, nothing half done."""

from __future__ import annotations

import contextlib
import csv
import io
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.forms import record_of
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import Nested, RegistryConflictError, end, put
from zhenxian.registry.members import COLUMNS
from zhenxian.registry.model import (
    Access,
    Binding,
    BindingModel,
    Holding,
    Kind,
    Reseller,
    Subject,
    Use,
    Verification,
)
from zhenxian.stores.bulk import importer as bulk
from zhenxian.stores.bulk import staging
from zhenxian.stores.bulk.importer import Import, export_rows
from zhenxian.stores.sqlite.file import RegistryFile

HEADER = "first,last,subject,verification,use,spcs\n"


@pytest.fixture
def book(tmp_path):
    return fresh(tmp_path / "registry.db")


def fresh(path):
    book = RegistryFile(path, writer=True, synchronous="OFF")
    book.write([put(Subject(id="a")), put(Subject(id="b"))], author="a", reason="r", now=1)
    stopped = record_of(Kind.SUBJECT, {"id": "c", "state": "suspended"})
    book.write([put(stopped), put(Reseller(id="mvno"))], author="a", reason="r", now=1)
    return book


def run(book, text, kind=Kind.HOLDING, **more):
    work = Import(book, kind, author="me", reason="why", now=5, **more)
    return work.run(io.StringIO(text))


def held(book):
    return {record.key: record.subject for _, record in book.holdings()}


def test_each_refused_row_is_told_with_line_and_reason(book):
    text = HEADER + (
        "8610000,8610999,a,verified,direct,1001\n"
        "8610100,8610199,b,verified,direct,1001 1002\n"
        "8610950,8611049,b,verified,direct,\n"
        "861x,,a,verified,direct,\n"
        "8620000,,nobody,verified,direct,\n"
        "8620001,,c,verified,direct,\n"
        "8620002,,a,perhaps,direct,\n"
        "8620003,,a\n"
        "8610000,8610999,a,verified,direct,1001\n"
        "8620009,8620001,a,verified,direct,\n"
    )
    report = run(book, text, take_out=True)
    assert (report.rows, report.changed, report.unchanged, report.rejections) == (10, 2, 1, 7)
    assert report.taken_out == 1
    assert {row.line for row in report.rejected} == {4, 5, 6, 7, 8, 9, 11}
    reasons = {row.line: row.reason for row in report.rejected}
    assert "8610000-8610999 of a" in reasons[4]
    assert "861x" in reasons[5]
    assert "nobody" in reasons[6]
    assert "suspended" in reasons[7]
    assert "withdrawn" in reasons[8]
    assert "columns" in reasons[9]
    assert held(book) == {"8610000-8610999": "a", "8610100-8610199": "b"}


def test_all_or_nothing_and_dry_run_write_nothing(book):
    before = book.last()
    good, bad = "8610000,,a,,,\n", "8610001,,nobody,,,\n"
    for report in (
        run(book, HEADER + good + bad, mode=Mode.ALL_OR_NOTHING),
        run(book, HEADER + good, dry_run=True),
        run(book, HEADER + good, dry_run=True, mode=Mode.ALL_OR_NOTHING),
    ):
        assert (report.changed, report.written) == (1, False)
        assert (held(book), book.last()) == ({}, before)
    assert run(book, HEADER + good, mode=Mode.ALL_OR_NOTHING).written
    assert held(book) == {"8610000": "a"}


def test_the_same_import_again_changes_nothing(book):
    text = HEADER + "".join(f"86{n},,a,verified,direct,1\n" for n in range(10000, 10200))
    assert run(book, text).changed == 200
    seq = book.last()
    again = run(book, text)
    assert (again.changed, again.unchanged, again.rejections) == (0, 200, 0)
    assert book.last() == seq


def test_an_import_goes_on_where_it_was_cut_off(book, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 10)
    lines = [f"86{n},,a,,,\n" for n in range(10000, 10040)]

    def cut():
        yield HEADER
        yield from lines[:25]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Import(book, Kind.HOLDING, author="me", reason="r", now=5, resume="x").run(cut())
    assert len(held(book)) == 20
    assert book.import_line("x") == 21
    report = run(book, HEADER + "".join(lines), resume="x")
    assert (report.changed, report.unchanged) == (20, 0)
    assert len(held(book)) == 40
    assert book.import_line("x") == 0
    assert run(book, HEADER + "".join(lines), resume="x").unchanged == 40


def _pages(book, subject, limit=7):
    keys, after = [], ""
    while after is not None:
        page = book.page(Kind.HOLDING, after=after, limit=limit, subject=subject)
        keys += [record.key for _, record in page.rows]
        after = page.following
    return keys


def test_what_a_subject_holds_is_found_in_every_run(book, monkeypatch):
    """Commits of an import are runs of the index; a page goes through all, in one order."""
    monkeypatch.setattr(bulk, "CHUNK", 10)
    monkeypatch.setattr(bulk, "_PART", 5)
    rows = []
    for n in range(10000, 10080, 2):
        last = "" if n % 3 else f"86{n + 1}"
        rows.append(f"86{n},{last},{'ab'[n // 2 % 2]},,,\n")
    rows[20:20] = [f"86{n},,b,,,\n" for n in range(20000, 20004)]
    run(book, HEADER + "".join(reversed(rows)))
    run(book, HEADER + "8630000,,b,,,\n")  # few: no run of its own
    assert len(book.connection.all("SELECT DISTINCT run FROM holdings")) == 5
    for subject in ("a", "b", "nobody"):
        expected = [
            record.key
            for _, record in book.page(Kind.HOLDING, limit=1000).rows
            if record.subject == subject
        ]
        assert _pages(book, subject) == expected
    book.write(
        [end(record) for _, record in book.page(Kind.HOLDING, limit=1000, subject="b").rows],
        author="me",
        reason="r",
        now=6,
    )
    assert _pages(book, "b") == []
    assert book.uses(Kind.SUBJECT, "b") is None
    assert book.uses(Kind.SUBJECT, "a") is not None


def test_a_chunk_is_one_commit_with_author_and_reason(book):
    run(book, HEADER + "8610000,,a,,,\n8610001,,a,,,\n")
    (version,) = book.history(Kind.HOLDING, "8610000")
    assert (version.author, version.reason, version.time) == ("me", "why", 5)
    assert book.history(Kind.HOLDING, "8610001")[0].version == version.version
    assert book.touched(version.version - 1) is None


@pytest.mark.parametrize(
    "header", ["", "last,subject\n", "first,subject,colour\n", "first,first\n"]
)
def test_the_first_line_names_the_columns(book, header):
    with pytest.raises(ConfigError, match="line 1"):
        run(book, header + "8610000,a\n")


def test_document_numbers_are_hashed_while_they_are_read(book):
    text = "id,document_kind,document_number\nx,id-card,123\ny,id-card,１２３\n"
    report = run(book, text, Kind.SUBJECT, identity_key=b"k" * 32)
    assert (report.changed, report.rejections) == (1, 1)
    assert "subject x" in report.rejected[0].reason
    subject = book.get(Kind.SUBJECT, "x")[1]
    assert len(subject.document) == 64
    with pytest.raises(ConfigError, match="columns"):
        run(book, text, Kind.SUBJECT)


def test_what_is_exported_is_imported(book, tmp_path):
    numbers = TNRange(TN("8617000000"), TN("8617000009"))
    book.write(
        [
            put(
                Holding(
                    numbers=numbers,
                    subject="a",
                    verification=Verification.VERIFIED,
                    use=Use.PRIVACY,
                    spcs=("1", "2"),
                    reseller="mvno",
                    evidence="ref, 1",
                    verified_on=7,
                )
            ),
            put(
                Access(
                    id="t",
                    origid="10000000-0000-4000-8000-000000000001",
                    subject="a",
                    sims=("1", "2"),
                )
            ),
        ],
        author="a",
        reason="r",
        now=1,
    )
    x, a, b = TN("8617000001"), TN("8613"), TN("8614")
    binding = Binding(
        id="b", platform="a", model=BindingModel.AXB, x=x, a=a, since=1, b=b, until=9_000
    )
    book.write([put(binding)], author="a", reason="r", now=1)
    other = RegistryFile(tmp_path / "other.db", writer=True)
    for kind in COLUMNS:
        out = io.StringIO()
        count = export_rows(book, kind, out)
        report = run(other, out.getvalue(), kind)
        assert (report.changed, report.rejections) == (count, 0), report.rejected
        again = io.StringIO()
        export_rows(other, kind, again)
        assert again.getvalue() == out.getvalue()


ROWS = st.tuples(
    st.integers(100, 140),
    st.sampled_from([None, 0, 1, 4, 9, 20]),
    st.sampled_from(["a", "a", "b", "b", "c", "nobody"]),
    st.sampled_from(["verified", "verified", "", "perhaps"]),
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(ROWS, max_size=12),
    before=st.lists(ROWS, max_size=4),
    chunk=st.integers(1, 6),
    take_out=st.booleans(),
)
def test_chunks_take_and_refuse_what_single_writes_do(
    tmp_path_factory, rows, before, chunk, take_out
):
    folder = tmp_path_factory.mktemp("bulk")
    many, single = fresh(folder / "many.db"), fresh(folder / "single.db")

    def plain(row):
        first, size, subject, verification = row
        return {
            "first": str(first),
            "last": str(first + size) if size is not None else "",
            "subject": subject,
            "verification": verification,
        }

    def write(book, row, nested=Nested.TAKEN):
        record = record_of(Kind.HOLDING, plain(row))
        commit = book.write([put(record)], author="a", reason="r", now=5, nested=nested)
        return commit.taken_out

    for row in before:
        for book in (many, single):
            with contextlib.suppress(ConfigError, RegistryConflictError):
                write(book, row)
    refused, taken_out = {}, 0
    for line, row in enumerate(rows, 2):
        try:
            taken_out += write(single, row, Nested.COUNTED if take_out else Nested.REFUSED)
        except (ConfigError, RegistryConflictError) as error:
            refused[line] = str(error)
    text = "first,last,subject,verification\n" + "".join(
        ",".join(plain(row).values()) + "\n" for row in rows
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "CHUNK", chunk)
        report = run(many, text, take_out=take_out)
    # A row that another of its chunk replaced is refused there, and a change row by row.
    repeated = {row.line for row in report.rejected if "in this import" in row.reason}
    assert {row.line: row.reason for row in report.rejected if row.line not in repeated} == {
        line: reason for line, reason in refused.items() if line not in repeated
    }
    if not repeated:
        assert report.taken_out == taken_out
        assert sorted(repr(h) for _, h in many.holdings()) == sorted(
            repr(h) for _, h in single.holdings()
        )
    many.close()
    single.close()


def by_rules(self, columns):
    return [], sorted([*columns.good, *columns.other])


NUMBERS = st.one_of(
    st.integers(100, 160).map(str),
    st.sampled_from(["+120", "1 30", "0100", "10000", "99", "", "x", "1" * 16, "١٢٣"]),
)
CELLS = {
    "first": NUMBERS,
    "last": st.one_of(st.just(""), NUMBERS),
    "subject": st.sampled_from(["a", "a", "b", "b", "c", "nobody", ""]),
    "verification": st.sampled_from(["verified", "verified", "", "perhaps"]),
    "spcs": st.sampled_from(["1", "1 2", ""]),
    "reseller": st.sampled_from(["", "mvno", "other"]),
    "evidence": st.sampled_from(["", "e", "e,f", 'say "e"', "two\nlines", "x\x00y", "e" * 501]),
    "verified_on": st.sampled_from(["", "0", "7", "-1", "1" * 14, " 7"]),
}


@st.composite
def files(draw):
    names = draw(st.permutations(["verification", "spcs", "reseller", "evidence", "verified_on"]))
    header = draw(st.permutations(["first", "last", "subject", *names[: draw(st.integers(0, 5))]]))
    cells = st.tuples(*(CELLS[name] for name in header))
    out = io.StringIO()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerow(header)
    for row in draw(st.lists(cells, max_size=14)):
        writer.writerow(row[: draw(st.sampled_from([len(row)] * 9 + [1]))])
    text = out.getvalue()
    return text.removesuffix(end) if draw(st.booleans()) else text


@settings(max_examples=150, deadline=None)
@given(before=files(), text=files(), part=st.integers(1, 8), run_of=st.integers(1, 4))
def test_rows_taken_together_are_taken_as_by_the_rules(
    tmp_path_factory, before, text, part, run_of
):
    folder = tmp_path_factory.mktemp("bulk")
    outcomes = []
    for way in ("together", "rules"):
        book = fresh(folder / way)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "_PART", part)
            patch.setattr(staging, "_ASKED", run_of)
            patch.setattr(staging, "_FEW", 2)
            if way == "rules":
                patch.setattr(Import, "_read", by_rules)
            reports = [
                Import(book, Kind.HOLDING, author="me", reason="why", now=5).run(
                    io.StringIO(each, newline="")
                )
                for each in (before, text)
            ]
        history = [
            (version, record, book.history(Kind.HOLDING, record.key))
            for version, record in book.holdings()
        ]
        outcomes.append((reports, history, book.last()))
        book.close()
    assert outcomes[0] == outcomes[1]


def test_one_bad_row_does_not_send_the_others_through_the_rules(book, monkeypatch):
    seen = []
    monkeypatch.setattr(bulk, "check", lambda change, *more: seen.append(change.key) or change)
    rows = [f"86100{n:02},,a,verified,direct,1\n" for n in range(50)]
    rows[7] = "8610007,,nobody,verified,direct,1\n"
    report = run(book, HEADER + "".join(rows) + "8620000,8620099,a,,,\n8620050,8620199,a,,,\n")
    assert seen == ["8610007", "8620000-8620099", "8620050-8620199"]
    assert report.changed == 52


def test_a_subject_stopped_meanwhile_gets_no_more_numbers(book, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 2)
    other = RegistryFile(book.path, writer=True)
    committed = Event()  # lines are read ahead, in a thread of its own

    def lines():
        yield HEADER
        yield from ["8610000,,a,,,\n", "8610001,,a,,,\n", "8610002,,b,,,\n"]
        assert committed.wait(60)
        stopped = record_of(Kind.SUBJECT, {"id": "a", "state": "suspended"})
        other.write([put(stopped)], author="a", reason="r", now=2)
        yield "8610003,,a,,,\n"

    importer = Import(book, Kind.HOLDING, author="me", reason="r", now=5)
    report = importer.run(lines(), lambda _rows: committed.set())
    other.close()
    assert report.changed == 3
    assert [row.line for row in report.rejected] == [5]
    assert "suspended" in report.rejected[0].reason


@pytest.mark.parametrize("owner", [1, 2**40])
def test_numbers_far_apart_and_of_all_lengths(book, owner):
    book.connection.run("INSERT INTO owners VALUES (?, 'far')", owner + 100)
    book.write([put(Subject(id="far"))], author="a", reason="r", now=1)
    numbers = [
        str(step + 10 ** (length - 1)) for length in range(3, 16) for step in range(0, 90, 2)
    ]
    wide = ["100000000000000,999999999999999", "2000000,2999999", "20000,29999"]
    rows = [f"{number},,far\n" for number in numbers] + [f"{span},far\n" for span in wide]
    report = run(book, "first,last,subject\n" + "".join(rows))
    assert (report.changed, report.rejections) == (len(numbers) + 3, 0)
    assert set(held(book)) == {*numbers, *(span.replace(",", "-") for span in wide)}
    for number in (*numbers, "999999999999998", "2345678"):
        assert book.covering(TN(number)).subject == "far"


@pytest.mark.parametrize("evidence", ["x\x00y", "x\x01y", '"x\x00y"', '"x\ny"'])
def test_what_cannot_be_printed_is_refused(book, evidence):
    report = run(book, f"first,subject,evidence\n8610000,a,{evidence}\n")
    assert (report.changed, report.rejections) == (0, 1)


def test_quotes_that_do_not_pair_end_the_import(book):
    with pytest.raises(ConfigError, match="line 4"):
        run(book, 'first,subject\n8610000,a\n"8610001,a\n8610002,a\n')
    assert held(book) == {}


def test_exemptions_are_exported_and_imported(book, tmp_path):
    text = (
        "id,kind,target,reason,since,until,measures,reference\n"
        "e1,subject,a,ambulance dispatch,1,900,,file 7\n"
        "e2,signer,9/x,branches,1,900,spread rotation,\n"
    )
    more = "e3,subject,a,again,1,900,,\ne4,spc,9,,1,900,,\ne5,spc,9,why,1,900,speed,\n"
    report = run(book, text + more, Kind.EXEMPTION)
    assert (report.changed, report.rejections) == (2, 3)
    told = {row.line: row.reason for row in report.rejected}
    assert "e1" in told[4]
    assert "reason" in told[5]
    assert "local-presence" in told[6]
    out = io.StringIO()
    assert export_rows(book, Kind.EXEMPTION, out) == 2
    assert out.getvalue() == text
    other = fresh(tmp_path / "other.db")
    assert run(other, out.getvalue(), Kind.EXEMPTION).changed == 2
    assert other.exempted("signer", "9/x") == book.exempted("signer", "9/x")


def test_refusals_are_exported_and_imported(book, tmp_path):
    text = (
        "first,last,since,until,scopes,source\n"
        '8613800138000,8613800138000,1,,marketing,"callee, hotline"\n'
        "8613900000000,8613900009999,1,900,marketing,company\n"
    )
    more = "8613800138001,,,,,\n8613800138002,,1,3,,\n8613800138003,,1,,surveys,\n12*,,1,,,\n"
    report = run(book, text + more, Kind.REFUSAL)
    assert (report.changed, report.rejections) == (2, 4)
    told = {row.line: row.reason for row in report.rejected}
    for line, word in ((4, "since"), (5, "ended"), (6, "marketing"), (7, "range")):
        assert word in told[line]
    out = io.StringIO()
    assert export_rows(book, Kind.REFUSAL, out) == 2
    assert out.getvalue() == text
    other = fresh(tmp_path / "other.db")
    assert run(other, out.getvalue(), Kind.REFUSAL).changed == 2
    assert run(other, out.getvalue(), Kind.REFUSAL).unchanged == 2
    (found,) = other.refusals(TN("8613900005555"))
    assert found.until == 900


def test_refusals_come_in_pages(book):
    rows = [f"86138001{n},,1,,,\n" for n in range(10000, 10010)] + ["8613900,8613999,1,,,\n"]
    assert (
        run(book, "first,last,since,until,scopes,source\n" + "".join(rows), Kind.REFUSAL).changed
        == 11
    )
    found, after = [], ""
    while after is not None:
        page = book.page(Kind.REFUSAL, after=after, limit=4)
        found += [record.key for _, record in page.rows]
        after = page.following
    assert found == [*(f"86138001{n}" for n in range(10000, 10010)), "8613900-8613999"]
    for bad in ("x", "1.2", f"1.2.{2**70}"):
        with pytest.raises(ConfigError, match="page"):
            book.page(Kind.REFUSAL, after=bad)


REFUSALS = st.tuples(
    st.integers(100, 106),
    st.sampled_from([0, 0, 3]),
    st.sampled_from(["1", "1", "2", "", "x"]),
    st.sampled_from(["", "", "3", "900"]),
    st.sampled_from(["", "hotline"]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(REFUSALS, max_size=12), min_size=1, max_size=3))
def test_refusals_taken_together_are_taken_as_one_by_one(tmp_path_factory, files):
    outcomes = []
    for slow in (False, True):
        book = fresh(tmp_path_factory.mktemp("refusals") / "registry.db")
        reports = []
        for rows in files:
            text = "first,last,since,until,source\n" + "".join(
                f"{first},{first + size},{since},{until},{source}\n"
                for first, size, since, until, source in rows
            )
            with pytest.MonkeyPatch.context() as patch:
                if slow:
                    patch.setattr(Import, "_take_refusals", lambda _, records, __: records)
                reports.append(run(book, text, Kind.REFUSAL))
        page = book.page(Kind.REFUSAL, limit=100)
        past = [book.history(Kind.REFUSAL, record.key) for _, record in page.rows]
        found = [book.refusals(TN(str(n))) for n in range(99, 112)]
        told = [(r.changed, r.unchanged, r.rejected, r.written) for r in reports]
        outcomes.append((told, page, past, [sorted(f, key=str) for f in found], book.last()))
        book.close()
    assert outcomes[0] == outcomes[1]
