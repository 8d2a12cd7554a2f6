"""The public library: its names, and the example that the documentation shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import zhenxian

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", zhenxian.__all__)
def test_each_public_name_is_there(name):
    assert getattr(zhenxian, name) is not None


def test_the_page_names_what_is_public_and_nothing_else():
    lines = (ROOT / "docs/library.md").read_text().splitlines()
    table = "".join(line for line in lines if line.startswith("|"))
    assert set(re.findall(r"`(\w+)`", table)) == set(zhenxian.__all__)


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="'zhenxian' has no attribute 'nonsense'"):
        zhenxian.nonsense  # noqa: B018


def test_the_package_alone_loads_no_room():
    code = "import sys, zhenxian; print([n for n in sys.modules if n.startswith('zhenxian.')])"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"


def test_the_example_runs():
    ended = subprocess.run(
        [sys.executable, ROOT / "examples/sign_and_verify.py"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout.splitlines() == [
        "the bank calls: A HELD_AND_VERIFIED",
        "verified: TN-Validation-Passed",
        "another display: TN-Validation-Failed ORIG_MISMATCH",
        "once more: TN-Validation-Failed REPLAYED",
        "an unknown access: C ACCESS_UNKNOWN",
    ]
