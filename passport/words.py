"""What decoders find wrong with what they are given, in words of JSON.

Nothing that a client or an operator reads is a library's sentence or names a type of Python: all
such texts are turned here into what was expected of which member (those of the framework of the
administration in api.words).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_GIVEN: Final = _TYPES | {"int": "a number", "float": "a number with fraction or exponent"}
_FORMS: Final = {r"^[0-9*#]{1,16}$": "1 to 16 digits, * or #"}

_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`\Z")
_TYPE = re.compile(r"Expected `(?P<types>[a-z |]+)`(?:, got `(?P<given>[a-z]+)`)?\Z")
_LENGTH = re.compile(r"Expected `(?:str|array)` of length (?P<sign>[<>]=) (?P<size>\d+)\Z")
_SIZE = re.compile(r"Expected `(?:int|float)` (?P<sign>[<>]=?) (?P<size>\S+)\Z")
_PATTERN = re.compile(r"Expected `str` matching regex (?P<form>.*)\Z", re.DOTALL)
_ENUM = re.compile(r"Invalid enum value (?P<given>.*)\Z", re.DOTALL)
_CHOICE = re.compile(r"\^\((?P<words>[\w|\-]+)\)\$")
_OCTET = re.compile(r"\(byte (?P<place>\d+)\)\Z")


class Fault(NamedTuple):
    """What is wrong with one member.

    Attributes:
        member: its path, e.g. "orig.tn[1]"; empty for the text as a whole.
        expected: in a sentence, e.g. "text expected, not a number".
        missing, unknown: the member is not there, or not one of those that may be.
    """

    member: str
    expected: str
    missing: bool = False
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.member}: {self.expected}" if self.member else self.expected


def fault(error: msgspec.ValidationError) -> Fault:
    """What msgspec found: JSON of another shape than expected."""
    text = str(error)
    place = _PLACE.search(text)
    path, what = (place["path"], text[: place.start()]) if place else ("", text)
    if found := _MISSING.match(what):
        return Fault(_joined(path, found["name"]), "missing", missing=True)
    if found := _UNKNOWN.match(what):
        return Fault(_joined(path, found["name"]), "unknown", unknown=True)
    return Fault(path, _expected(what))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _expected(what: str) -> str:
    if found := _TYPE.match(what):
        types = [_TYPES[name] for name in found["types"].split(" | ") if name in _TYPES]
        wanted = [name for name in types if name != "null"] or types
        given = _GIVEN.get(found["given"])
        return f"{' or '.join(wanted)} expected" + (f", not {given}" if given else "")
    if found := _LENGTH.match(what):
        bound = "at least" if found["sign"] == ">=" else "at most"
        return f"{bound} {counted(found['size'], 'character')} expected"
    if found := _SIZE.match(what):
        return f"a number {_bound(found['sign'])} {found['size']} expected"
    if found := _PATTERN.match(what):
        return form(found["form"].strip("'\""))
    if found := _ENUM.match(what):
        return f"{found['given'][:80]} is not one of those that may be"
    if "out of range" in what:
        return "a number out of range"
    return "a value of another kind expected"


def counted(count: int | str, noun: str) -> str:
    """A count with its noun: "1 character", "2 characters"."""
    return f"{count} {noun}" if str(count) == "1" else f"{count} {noun}s"


def _bound(sign: str) -> str:
    return {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}[sign]


def form(pattern: str) -> str:
    """What text was expected, from the pattern that it had to match."""
    if found := _CHOICE.fullmatch(pattern):
        return f"one of {', '.join(found['words'].split('|'))} expected"
    known = _FORMS.get(pattern)
    return f"{known} expected" if known else "text of another form expected"


def said(error: Exception) -> str:
    """The message of an error about a file, without Python's decoration."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    return str(error)


def unreadable(error: Exception) -> str:
    """Why a text is no JSON, as msgspec found it."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deep"
    text = str(error)
    if "truncated" in text:
        return "it ends before its end"
    place = _OCTET.search(text)
    return f"no JSON at octet {int(place['place']) + 1}" if place else "not JSON"
