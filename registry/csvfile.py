"""Holdings and accesses as CSV files: header line, one row each, errors with line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from passport.errors import ConfigError, ParseError, shown
from passport.ppt.shaken import parse_origid
from passport.tn import TN, TNRange
from registry.model import Access, Holding, Standing, Use, Verification

HOLDING_COLUMNS: Final = ("first", "last", "subject", "verification", "use", "spcs")
ACCESS_COLUMNS: Final = ("access", "origid", "subject", "standing")
MAX_ID_LENGTH: Final = 128  # characters of a subject or access id

_Choice = TypeVar("_Choice", bound=Enum)
_Row = TypeVar("_Row")


def choice(kind: type[_Choice], text: str, column: str) -> _Choice:
    """Read one of an enumeration's values. Raises ConfigError naming those that are allowed."""
    for member in kind:
        if member.value == text:
            return member
    allowed = ", ".join(member.value for member in kind)
    raise ConfigError(f"{column}: {shown(text)} is not one of {allowed}")


def identifier(text: str, column: str) -> str:
    """Read an opaque id: printable, bounded. Raises ConfigError."""
    if not text or len(text) > MAX_ID_LENGTH or not text.isprintable():
        raise ConfigError(f"{column}: 1 to {MAX_ID_LENGTH} printable characters expected")
    return text


def holding_of(row: dict[str, str]) -> Holding:
    """One holding from its columns; `last`, `verification`, `use` and `spcs` may be empty.

    Raises:
        ConfigError: names the column and what was expected.
    """
    try:
        first = TN.parse(row["first"], where="first")
        last = TN.parse(row["last"], where="last") if row.get("last") else first
        numbers = TNRange(first, last)
    except ParseError as error:
        raise ConfigError(str(error)) from None
    return Holding(
        numbers,
        identifier(row["subject"], "subject"),
        choice(Verification, row.get("verification") or "unverified", "verification"),
        choice(Use, row.get("use") or "direct", "use"),
        tuple(identifier(spc, "spcs") for spc in (row.get("spcs") or "").split()),
    )


def access_of(row: dict[str, str]) -> Access:
    """One access from its columns; `standing` may be empty.

    Raises:
        ConfigError: names the column and what was expected.
    """
    try:
        origid = parse_origid(row["origid"])
    except ParseError as error:
        raise ConfigError(str(error)) from None
    return Access(
        identifier(row["access"], "access"),
        origid,
        identifier(row["subject"], "subject"),
        choice(Standing, row.get("standing") or "good", "standing"),
    )


def holding_row(holding: Holding) -> dict[str, str]:
    """The columns of a holding; holding_of reads them back."""
    return {
        "first": holding.numbers.first,
        "last": holding.numbers.last,
        "subject": holding.subject,
        "verification": holding.verification.value,
        "use": holding.use.value,
        "spcs": " ".join(holding.spcs),
    }


def access_row(access: Access) -> dict[str, str]:
    """The columns of an access; access_of reads them back."""
    return {
        "access": access.id,
        "origid": access.origid,
        "subject": access.subject,
        "standing": access.standing.value,
    }


def _rows(
    lines: Iterable[str],
    columns: tuple[str, ...],
    name: str,
    read: Callable[[dict[str, str]], _Row],
) -> Iterator[_Row]:
    reader = csv.DictReader(lines, strict=True, restkey="", restval="")
    try:
        given = tuple(reader.fieldnames or ())
        missing = (
            set(columns[:3]) - set(given)
            if columns is ACCESS_COLUMNS
            else ({"first", "subject"} - set(given))
        )
        unknown = set(given) - set(columns)
        if missing or unknown:
            raise ConfigError(
                f"{name} line 1: columns {', '.join(columns)} expected, got {', '.join(given)}"
            )
        for row in reader:
            if "" in row:
                raise ConfigError(f"{name} line {reader.line_num}: more fields than columns")
            try:
                yield read({k: v.strip() for k, v in row.items()})
            except ConfigError as error:
                raise ConfigError(f"{name} line {reader.line_num}: {error}") from None
    except csv.Error as error:
        raise ConfigError(f"{name} line {reader.line_num}: {error}") from None


def read_holdings(path: Path) -> tuple[Holding, ...]:
    """All holdings of a CSV file. Raises ConfigError with file, line and column."""
    return _read(path, HOLDING_COLUMNS, holding_of)


def read_accesses(path: Path) -> tuple[Access, ...]:
    """All accesses of a CSV file. Raises ConfigError with file, line and column."""
    return _read(path, ACCESS_COLUMNS, access_of)


def _read(
    path: Path, columns: tuple[str, ...], read: Callable[[dict[str, str]], _Row]
) -> tuple[_Row, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return tuple(_rows(lines, columns, path.name, read))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
