"""What is shipped, said in four places, is the same in all of them; peers are installed for all."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench.machine import PACKAGES

ROOT = Path(__file__).parent.parent
NOT_SHIPPED = {"bench", "examples", "scripts", "src", "tests"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def rooms():
    if not (ROOT / ".git").exists():
        pytest.skip("a source distribution has the rooms in src/ itself")
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    folders = {name.partition("/")[0] for name in listed.stdout.split() if "/" in name}
    return folders - NOT_SHIPPED


def _copied():
    """What the Dockerfile takes from the build's context."""
    found = []
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from="):
            found += words[1:-1]
    return found


def test_the_packages_are_the_rooms(project, rooms):
    tool = project["tool"]
    assert {path.name for path in (ROOT / "src/zhenxian").iterdir() if path.is_symlink()} == rooms
    assert set(tool["coverage"]["run"]["source"]) == rooms
    assert set(tool["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == rooms
    order = " | ".join(tool["importlinter"]["contracts"][0]["layers"])
    placed = {name.strip("()") for name in order.split(" | ")}
    assert rooms == placed


def test_the_image_gets_every_room_and_nothing_that_is_kept_from_it(rooms):
    copied = _copied()
    assert len(copied) == len(set(copied))
    assert {name for name in copied if (ROOT / name).is_dir()} == rooms | {"src"}
    first, *rules = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    admitted = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert admitted == set(copied)
    for name in copied:
        assert (ROOT / name).exists()


def test_both_stages_stand_on_one_base_that_is_pinned():
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    (base,) = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_data_files_are_in_the_package(project, rooms):
    """What a room reads from its own folder is shipped with it."""
    listed = subprocess.run(
        ["git", "ls-files", *rooms], cwd=ROOT, check=True, capture_output=True, text=True
    )
    data = {Path(name) for name in listed.stdout.split() if not name.endswith(".py")}
    shipped = project["tool"]["setuptools"]["package-data"]
    for path in data - {path for path in data if path.name in ("README.md", "AGENTS.md")}:
        room, rest = path.parts[0], Path(*path.parts[1:])
        assert any(rest.match(pattern) for pattern in shipped.get(f"zhenxian.{room}", [])), path


# What tests need besides Python -------------------------------------------------------------------


def _installs(what):
    """The packages that scripts/peers sees to."""
    text = (ROOT / "scripts" / "peers").read_text()
    functions = dict(re.findall(r"^(\w+)\(\) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
    (branch,) = re.findall(rf"^{what}\)(.*?);;$", text, re.MULTILINE | re.DOTALL)
    for name, body in functions.items():
        if re.search(rf"\b{name}\b", branch):
            branch += body
    return set(re.findall(r"\bneed ([a-z0-9.+-]+)", branch))


def test_what_benchmarks_and_tests_start_is_installed_for_both():
    wanted = set(PACKAGES.values()) - {"util-linux"}  # which every Debian has
    assert wanted <= _installs("bench")
    assert wanted <= _installs("test")
    assert {"libsecsipid1", "buildah", "mmdebstrap"} <= _installs("test")


def test_the_readme_names_what_its_commands_need():
    text = (ROOT / "README.md").read_text()
    (packages,) = re.findall(r"^sudo apt-get install (.*)$", text, re.MULTILINE)
    assert {"git", "make", "curl", "python3", "python3-venv"} <= set(packages.split())
    assert "`sudo scripts/peers test`" in text
