"""Cells of a sheet: what a spreadsheet would execute, and files that are no CSV of ours.

What begins as a formula is written with an apostrophe before it, by which spreadsheets know text,
and read without. What had an apostrophe there itself gets one more: all reads back as it was.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator
from typing import IO, Any, Final

from zhenxian.core.errors import ConfigError

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
_BOOKS: Final = {
    b"PK\x03\x04": "an Excel or LibreOffice workbook",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "compressed",
}
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE: Final = 'save it as "CSV UTF-8", or export it as CSV in UTF-8'
HEAD: Final = 65_536  # octets of a file that tell what it is
_BEGIN: Final = 64  # octets; of ASCII in UTF-16 half are zero, and of CSV none
MAX_LINE: Final = 16_384  # characters; a record has some hundred


def harmless(text: str) -> str:
    """A cell that no spreadsheet executes."""
    return f"'{text}" if _FORMULA.match(text) else text


def cell(value: Any) -> Any:
    """A value as an export writes it."""
    if isinstance(value, list):
        value = " ".join(value)
    return harmless(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """The cell that `harmless` wrote."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def foreign(head: bytes) -> str | None:
    """Why a file that begins so is no CSV in UTF-8, and what to do; None when it may be one."""
    for mark, what in _BOOKS.items():
        if head.startswith(mark):
            return f"the file is {what}, not CSV: {_SAVE}"
    begin = head[:_BEGIN]
    if head.startswith(_WIDE) or begin.count(0) * 4 > len(begin):  # its mark may be missing
        return f"the file is in UTF-16, not UTF-8: {_SAVE}"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return None


def not_utf8(error: UnicodeDecodeError) -> str:
    """What a file is whose octets are not UTF-8 from some place on, and what to do."""
    rest = error.object[error.start : error.start + HEAD]
    return f"the file is {_encoding(bytes(rest))}, not in UTF-8: {_SAVE}"


def _encoding(head: bytes) -> str:
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(head)
    except UnicodeDecodeError:
        return "in another encoding"
    chinese = sum("一" <= char <= "鿿" for char in text)
    return "in GBK (GB 18030)" if chinese else "in another encoding"


def lines_of(file: IO[bytes]) -> Generator[str, None, None]:
    """The lines of a file, which stays open: close this before it is closed.

    Raises:
        ConfigError: one is longer than a record can be, or it is not UTF-8.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    number = 0
    try:
        while line := text.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
                raise ConfigError(f"line {number}: at most {MAX_LINE} characters expected")
            yield line
    except UnicodeDecodeError as error:
        raise ConfigError(not_utf8(error)) from None
    finally:
        text.detach()
