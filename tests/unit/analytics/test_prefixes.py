"""The table of areas in little room says what the library's says."""

from __future__ import annotations

import subprocess
import sys

from msgspec import structs
from phonenumbers.geodata import GEOCODE_DATA

from zhenxian.analytics import prefixes as room
from zhenxian.analytics.areas import mobile_cells
from zhenxian.analytics.prefixes import Prefixes, of_library, prefixes, shipped, written


def test_all_beginnings_have_the_names_that_the_library_gives_them():
    table = prefixes()
    assert {digits: table.get(digits) for digits in GEOCODE_DATA} == GEOCODE_DATA
    for digits in ("1", "86", "999", "999999999", "0", "861999999"):
        assert table.get(digits) == GEOCODE_DATA.get(digits)


def test_what_is_shipped_is_of_the_library_that_is_installed():
    """After another release of it: python -m scripts.reference."""
    assert shipped() == of_library()


def test_another_release_of_the_library_is_read_itself(monkeypatch):
    other = structs.replace(shipped(), release="0", areas="en\x1fNowhere")
    monkeypatch.setattr(room, "shipped", lambda: other)
    table = prefixes.__wrapped__()
    assert table.get("8610") == GEOCODE_DATA["8610"]
    assert isinstance(table, Prefixes)
    assert len(written(other)) < len(written(shipped()))


def test_a_process_that_counts_does_without_the_library_s_table():
    program = (
        "import sys\n"
        "from zhenxian.analytics.areas import area, mobile_cells\n"
        "from zhenxian.core.tn import TN\n"
        "assert len(mobile_cells()) == 1_000_000\n"
        "assert area(TN('442079460000')) == 'London'\n"
        "assert 'phonenumbers.geodata' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert len(mobile_cells()) == 1_000_000
