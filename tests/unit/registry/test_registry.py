"""Snapshot lookups, conflicts, and CSV files with errors that name line and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passport.errors import ConfigError
from passport.tn import TN, TNRange
from registry.csvfile import (
    access_of,
    access_row,
    holding_of,
    holding_row,
    read_accesses,
    read_holdings,
)
from registry.model import Access, Holding, Standing, Use, Verification
from registry.snapshot import RegistryConflictError, Snapshot


def held(first: str, last: str, subject: str = "s") -> Holding:
    return Holding(TNRange(TN(first), TN(last)), subject)


def test_lookup_finds_ends_and_middle_and_nothing_beside():
    row = held("8675588880000", "8675588889999")
    registry = Snapshot([row, held("10086", "10086", "carrier"), held("86400", "86499", "short")])
    for number in ("8675588880000", "8675588885555", "8675588889999"):
        assert registry.holding(TN(number)) is row
    for number in ("8675588879999", "8675588890000", "867558888000", "86755888800000"):
        assert registry.holding(TN(number)) is None
    assert registry.holding(TN("10086")).subject == "carrier"
    assert registry.holding(TN("*86")) is None
    assert Snapshot().holding(TN("1")) is None


@given(st.sets(st.integers(0, 999), min_size=1), st.integers(0, 999))
def test_lookup_agrees_with_a_plain_search(starts, probe):
    rows = [held(f"{s * 7:04d}", f"{s * 7 + 4:04d}", str(s)) for s in starts if s * 7 + 4 < 10_000]
    expected = [r for r in rows if r.numbers.first <= f"{probe:04d}" <= r.numbers.last]
    found = Snapshot(rows).holding(TN(f"{probe:04d}"))
    assert found == (expected[0] if expected else None)


@pytest.mark.parametrize(
    "second", [("100", "199"), ("150", "160"), ("050", "100"), ("199", "300"), ("000", "999")]
)
def test_overlap_is_refused_and_names_both(second):
    with pytest.raises(RegistryConflictError, match="100-199 of first") as caught:
        Snapshot([held("100", "199", "first"), held(*second, "second")])
    assert "second" in str(caught.value)


def test_two_accesses_of_one_id_or_origid_are_refused():
    with pytest.raises(RegistryConflictError, match="trunk"):
        Snapshot(accesses=[Access("trunk", "o1", "a"), Access("trunk", "o2", "b")])
    with pytest.raises(RegistryConflictError, match="o1"):
        Snapshot(accesses=[Access("t1", "o1", "a"), Access("t2", "o1", "b")])


def test_one_suspended_access_suspends_the_subject():
    registry = Snapshot(
        accesses=[Access("t1", "o1", "a"), Access("t2", "o2", "a", Standing.SUSPENDED)]
    )
    assert registry.suspended("a")
    assert not registry.suspended("b")


def test_rows_read_back_what_they_write():
    holding = Holding(
        TNRange(TN("100"), TN("199")), "s", Verification.VERIFIED, Use.DO_NOT_ORIGINATE, ("1", "2")
    )
    assert holding_of(holding_row(holding)) == holding
    access = Access("t", "o", "s", Standing.SUSPENDED)
    assert access_of(access_row(access)) == access


def test_files(tmp_path):
    path = tmp_path / "holdings.csv"
    path.write_text(
        "first,last,subject,verification,use,spcs\n"
        "+86 755 8888 0000,8675588889999,bank,verified,,1234 5678\n"
        "10086,,carrier,verified,do-not-originate,\n",
        encoding="utf-8",
    )
    bank, carrier = read_holdings(path)
    assert bank.numbers == TNRange(TN("8675588880000"), TN("8675588889999"))
    assert bank.spcs == ("1234", "5678")
    assert carrier.numbers.size == 1
    assert carrier.use is Use.DO_NOT_ORIGINATE
    accesses = tmp_path / "accesses.csv"
    accesses.write_text("access,origid,subject\ntrunk,o-1,bank\n", encoding="utf-8-sig")
    assert read_accesses(accesses) == (Access("trunk", "o-1", "bank"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: columns first"),
        ("number,subject\n1,a\n", "line 1: columns first"),
        ("first,subject,colour\n1,a,red\n", "line 1: columns first"),
        ("first,subject\n12345,\n", "line 2: subject"),
        ("first,subject\n12x45,a\n", "line 2: first"),
        ("first,last,subject\n200,100,a\n", "line 2: range"),
        ("first,last,subject\n99,100,a\n", "line 2: range"),
        ("first,subject,verification\n1,a,maybe\n", "line 2: verification: 'maybe' is not one of"),
        ("first,subject,use\n1,a,spam\n", "line 2: use"),
        ("first,subject\n1,a,b\n", "line 2: more fields"),
        ('first,subject\n1,"a\n', "line"),
        ("first,subject\n1,a\n2,b\x00\n", "line 3"),
    ],
)
def test_bad_files_name_line_and_column(tmp_path, text, message):
    path = tmp_path / "h.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_holdings(path)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv"):
        read_holdings(tmp_path / "none.csv")
    path = tmp_path / "b.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"b\.csv"):
        read_holdings(path)
