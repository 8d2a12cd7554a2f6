"""Files of deploy/ as they are shipped: what reads them accepts them; two lines are to change."""

from __future__ import annotations

import re
import subprocess

import pytest

from bench.sip.proxies import DEPLOY, ROOT, changed, module_path

FILES = sorted(path.name for path in DEPLOY.glob("*.cfg") if path.name != "ended.cfg")
FOLDERS = sorted(path.name for path in (ROOT / "deploy").iterdir() if path.is_dir())
ANSWERED = ("ime-out", "ailure", "TLS", "1,716", "displays/ended", "ealth", "wo lines")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "ended"])
def test_kamailio_reads_them(tmp_path, name, beside):
    (tmp_path / name).write_text((DEPLOY / name).read_text("utf-8"), "utf-8")
    if beside:
        (tmp_path / "ended.cfg").write_text((DEPLOY / "ended.cfg").read_text("utf-8"), "utf-8")
    read = subprocess.run(
        ["kamailio", "-c", "-f", tmp_path / name, "-L", module_path(), "-l", "udp:127.0.0.1:5060"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr[-1500:]


def test_stock_debian_needs_no_module_that_its_kamailio_package_lacks():
    """redirect.cfg loads what the package kamailio holds, and nothing of its other packages."""
    held = subprocess.run(
        ["dpkg-query", "-L", "kamailio"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    text = (DEPLOY / "redirect.cfg").read_text("utf-8")
    for module in re.findall(r'^loadmodule "(.+)"$', text, re.MULTILINE):
        assert f"/kamailio/modules/{module}\n" in held, module


@pytest.mark.parametrize("name", FILES)
def test_definitions_are_no_part_of_each_other(name):
    """A definition is put in wherever its name stands, in a longer one as well."""
    text = (DEPLOY / name).read_text("utf-8") + (DEPLOY / "ended.cfg").read_text("utf-8")
    defined = set(re.findall(r'^#!substdef "!([A-Z_]+)!', text, re.MULTILINE))
    used = set(re.findall(r"ZX_[A-Z_]+", text))
    assert {(d, u) for d in defined for u in used if d in u and d != u} == set()


@pytest.mark.parametrize("name", FILES)
def test_two_lines_come_first(name):
    text = (DEPLOY / name).read_text("utf-8")
    first = re.findall(r'^#!substdef "!([A-Z_]+)!', text, re.MULTILINE)[:2]
    assert first == ["ZX_INSIDE", "ZX_OUTSIDE"]
    assert changed(text, {"ZX_INSIDE": "sip:10.0.0.1:5060", "ZX_OUTSIDE": "sip:10.0.0.2"}) != text


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_has_a_page_that_answers_the_same_questions(folder):
    page = (ROOT / "deploy" / folder / "README.md").read_text("utf-8")
    assert [word for word in ANSWERED if word not in page] == []
