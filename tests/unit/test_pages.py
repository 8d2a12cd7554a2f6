"""What the pages of the documentation name is there: settings, commands, routes, metrics, files."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from test_house import PACKAGE, PAGES, ROOT

from zhenxian.cli.commands import app
from zhenxian.service.document import openapi_document
from zhenxian.service.reference import settings_rows

SETTINGS = {row.key for row in settings_rows()}
TABLES = {key.partition(".")[0] for key in SETTINGS}
FILES_OF_THAT_FORM = {"registry.db", "registry.sorted", "log.key", "trust.py"}
# Made by what the pages describe, or of another product.
ELSEWHERE = re.compile(r"build/|conf/dialplan/|crypto/ecdsa|\d")
OF_SECSIPIDX = {"/v1/sign-csv", "/v1/check"}


def _commands(command, path=()):
    below = getattr(command, "commands", {})
    if not below:
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        yield path, options | {"--help"}
    for name, one in below.items():
        yield from _commands(one, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))
SOURCES = [*(PACKAGE / "telemetry").rglob("*.py"), *(PACKAGE / "service").rglob("*.py")]
METRICS = set(re.findall(r'"(zhenxian_[a-z_]+)"', "".join(one.read_text() for one in SOURCES)))
METRICS |= {"zhenxian_build_info"}  # an info's suffix, as _total is a counter's
ROUTES = [
    (method.upper(), re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)))
    for path, methods in openapi_document()["paths"].items()
    for method in methods
]


def _quoted(page):
    return re.findall(r"`([^`\n]+)`", page.read_text())


def _settings(page):
    for text in _quoted(page):
        found = re.fullmatch(r"([a-z0-9]+)\.([a-z_0-9]+)( = .*)?", text)
        if found and found[1] in TABLES and text not in FILES_OF_THAT_FORM:
            name = f"{found[1]}.{found[2]}"
            yield name, name in SETTINGS


def _metrics(page):
    for text in _quoted(page):
        for name in re.findall(r"zhenxian_[a-z_]+[a-z]", text):
            yield name, name.removesuffix("_total") in METRICS


def _routes(page):
    for text in _quoted(page):
        found = re.match(r"(GET|PUT|POST|DELETE|PATCH) (/[^\s`?…]+)$", text.partition("?")[0])
        if found and found[2] not in OF_SECSIPIDX:
            there = (one for method, one in ROUTES if method == found[1])
            yield text, any(one.fullmatch(found[2]) for one in there)


def _files(page):
    for text in _quoted(page):
        if re.fullmatch(r"[a-z_0-9]+(/[a-z_0-9.]+)+/?", text) and not ELSEWHERE.match(text):
            yield text, any((at / text).exists() for at in (PACKAGE, ROOT, page.parent))


def _options(page):
    for line in re.findall(r"zhenxian ([a-z](?:[^`\n|]|\\\n)*)", page.read_text()):
        try:
            words = shlex.split(line.replace("\\\n", " "), comments=True)
        except ValueError:  # a text that begins with the name, and has an apostrophe
            words = line.split()
        path = next((words[:n] for n in (2, 1) if tuple(words[:n]) in COMMANDS), None)
        for word in words if path else ():
            name = word.strip(".,;:()").partition("=")[0]
            if name.startswith("--"):
                yield f"{' '.join(path)} {name}", name in COMMANDS[tuple(path)]


@pytest.mark.parametrize("named", [_settings, _metrics, _routes, _files, _options])
def test_what_pages_name_is_there(named):
    found = [(str(page.relative_to(ROOT)), *each) for page in PAGES for each in named(page)]
    assert len(found) > 10
    assert [(page, name) for page, name, there in found if not there] == []
