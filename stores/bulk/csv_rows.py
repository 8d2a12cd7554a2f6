"""CSV read a chunk at a time for an import.

Knows nothing of where the rows go: every engine's import reads with it and fills a
registry.imports.Report.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.registry.cells import plain
from zhenxian.registry.forms import AS_WRITTEN, record_of
from zhenxian.registry.identity import document_hash
from zhenxian.registry.members import COLUMNS
from zhenxian.registry.model import Kind, Record

# What quotes kept apart, in a text without them; neither character is printable, so no value of
# such a text has one of its own.
_STAND_IN: Final = str.maketrans(',"', "\x00\x01")
_STANDS_FOR: Final = str.maketrans("\x00\x01", ',"')
_NO_CSV: Final = "not CSV: quotes stand around a whole value, and come in pairs"
_QUOTED: Final = '"'  # the text of a row that only its values tell


class Chunk(Struct, frozen=True):
    """Some rows, in the order of the file.

    Attributes:
        lines: each row's line, the last of those it takes.
        texts: each row without quotes; a comma parts two values.
        quoted: the values of rows with quotes, or with a character that stands for something else
            here, by their place in the chunk.
    """

    lines: Sequence[int]
    texts: Sequence[str]
    quoted: dict[int, list[str]]

    def values(self, place: int) -> list[str]:
        """What a row says, as far as its text tells."""
        return self.quoted.get(place) or self.texts[place].rstrip("\r\n").split(",")


class Rows:
    """The rows of one CSV file, from the first on.

    Attributes:
        header: the names of the columns, in the order of the file.
    """

    def __init__(
        self,
        lines: Iterable[str],
        kind: Kind,
        identity_key: bytes = b"",
        reading: Reading = AS_WRITTEN,
    ) -> None:
        """Read the header.

        Args:
            identity_key: with it, a subject may have a column document_number, which is hashed.
            reading: how numbers are read that have no country code.

        Raises:
            ConfigError: the first line does not name the columns.
        """
        self._lines = iter(lines)
        self._kind = kind
        self._identity_key = identity_key
        self._reading = reading
        reader = csv.reader(self._lines, strict=True)
        try:
            self.header = tuple(next(reader, []))
        except csv.Error:
            raise ConfigError(f"line 1: {_NO_CSV}") from None
        self._line = reader.line_num  # how many lines were read
        numbers = kind is Kind.SUBJECT and identity_key
        allowed = {*COLUMNS[kind], *(["document_number"] if numbers else [])}
        if (
            set(self.header) - allowed
            or len(set(self.header)) != len(self.header)
            or COLUMNS[kind][0] not in self.header
        ):
            raise ConfigError(
                f"line 1: columns of {', '.join(COLUMNS[kind])} expected, got"
                f" {', '.join(self.header)}"
            )

    def skip(self, line: int) -> None:
        """Go on after a line that ends a row."""
        while self._line < line and next(self._lines, None) is not None:
            self._line += 1

    def chunk(self, size: int) -> Chunk:
        """The next rows, of `size` lines and what the last row takes more; none at the end.

        Raises:
            ConfigError: quotes do not come in pairs, so that nobody knows where rows end.
        """
        texts = list(itertools.islice(self._lines, size))
        if not _special("".join(texts)):
            before, self._line = self._line, self._line + len(texts)
            return Chunk(range(before + 1, self._line + 1), texts, {})
        lines: list[int] = []
        plain: list[str] = []
        quoted: dict[int, list[str]] = {}
        left = iter(texts)
        for text in left:
            if _special(text):
                values = quoted[len(plain)] = self._quoted(itertools.chain([text], left))
                plain.append(_without_quotes(values))
            else:
                self._line += 1
                plain.append(text)
            lines.append(self._line)
        return Chunk(lines, plain, quoted)

    def _quoted(self, lines: Iterator[str]) -> list[str]:
        reader = csv.reader(itertools.chain(lines, self._lines), strict=True)
        try:
            return next(reader)
        except csv.Error:
            raise ConfigError(f"line {self._line + reader.line_num}: {_NO_CSV}") from None
        finally:
            self._line += reader.line_num

    def record(self, chunk: Chunk, place: int) -> Record:
        """Read a row.

        Raises:
            ConfigError: why it is refused.
        """
        values = chunk.quoted.get(place)
        if values is None:
            try:
                values = next(csv.reader([chunk.texts[place]], strict=True), [])
            except csv.Error:
                raise ConfigError(_NO_CSV) from None
        if len(values) != len(self.header):
            raise ConfigError(f"{len(self.header)} columns expected")
        if tuple(values) == self.header:  # files that were put together
            raise ConfigError("the names of the columns once more, and no record")
        row: dict[str, Any] = dict(zip(self.header, map(plain, values), strict=True))
        number = row.pop("document_number", "")
        if number:
            row["document"] = document_hash(
                self._identity_key, row.get("document_kind", ""), number
            )
        return record_of(self._kind, row, self._reading)


def value_of(text: str) -> str:
    """One value of a chunk's text as it was in the file."""
    return text.translate(_STANDS_FOR)


def _special(text: str) -> bool:
    return '"' in text or "\x00" in text or "\x01" in text


def _without_quotes(values: list[str]) -> str:
    if not all(map(str.isprintable, values)):
        return _QUOTED
    return ",".join([value.translate(_STAND_IN) for value in values])
