"""Records as words of a command line and as rows of CSV, by their declaration."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

import typer

from zhenxian.core.errors import ConfigError
from zhenxian.registry.members import MEMBERS, Member, given
from zhenxian.registry.meta import Form
from zhenxian.registry.model import NAMES, Kind

KINDS: Final = {name: kind for kind, name in NAMES.items()}
WHICH: Final = ", ".join(KINDS)
_ONE_LINE: Final = 60  # characters of a list that a line of help surely holds
IN_PATH: Final = frozenset(
    member.name for kind in NAMES for member in MEMBERS[kind] if member.in_path
)


def kind_of(which: str) -> Kind:
    """The kind that a plural names. Raises typer.BadParameter."""
    try:
        return KINDS[which]
    except KeyError:
        raise typer.BadParameter(f"one of {WHICH} expected") from None


def members_help() -> str:
    """What each kind of record is made of; a star marks what has no default."""
    lines = ["Members (* has no default, and must be given):"]
    for kind, name in NAMES.items():
        told = ", ".join(_told(member) for member in given(kind) if not member.in_path)
        lines.append(f"{name}: {told}")
    return "\n\n".join([*lines, "What each means: /docs of the service."])


def _told(member: Member) -> str:
    # A long list is broken between its words, where help would break it within one.
    between = "| " if sum(map(len, member.allowed)) > _ONE_LINE else "|"
    allowed = f" ({between.join(member.allowed)})" if member.allowed else ""
    return f"{member.name}{'*' if member.required else ''}{allowed}"


def row_of(kind: Kind, members: Iterable[str] | None) -> dict[str, Any]:
    """The members of words MEMBER=VALUE. Raises typer.BadParameter."""
    row: dict[str, Any] = {}
    for word in members or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word}: MEMBER=VALUE expected")
        if name in IN_PATH:
            raise typer.BadParameter(f"{name} is named before the members")
        row[name] = _typed(kind, name, value)
    return row


def _typed(kind: Kind, name: str, text: str) -> Any:
    """A member as the API has it; what is not understood is left for the service to refuse."""
    member = _BY_NAME[kind].get(name)
    if member is None:
        return text
    if not text and member.nullable:
        return None
    if member.is_list:
        return text.split()
    return _number(text) if member.form is Form.TIME else text


_BY_NAME: Final = {kind: {member.name: member for member in given(kind)} for kind in NAMES}


def _number(text: str) -> int | str:
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
        return int(moment.timestamp()) if moment.tzinfo is not None else text
    except (ValueError, OverflowError):
        return text


@contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """A file of text, or the input for "-". Raises ConfigError."""
    if str(file) == "-":
        yield sys.stdin
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield lines
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None


def csv_rows(kind: Kind, lines: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with its line. Empty cells are members that are not given."""
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(
                    f"line {reader.line_num}: {len(reader.fieldnames or ())} columns expected"
                )
            yield (
                reader.line_num,
                {name: _typed(kind, name, value) for name, value in row.items() if value},
            )
    except csv.Error as error:
        raise ConfigError(f"line {reader.line_num}: {error}") from None
