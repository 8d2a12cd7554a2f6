"""How a record's members are declared: what each means, by example, and what is checked of it.

The struct in registry.model is the one declaration. What rows, bodies, columns and commands have is
read from it (registry.members). The limits are checked where a record is written
(registry.forms), and not where it is read from a journal: one that an earlier release wrote stays
readable whatever the limits of today are.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from msgspec import Meta

MAX_ID: Final = 128  # characters of an id
MAX_TEXT: Final = 500  # characters of a name, evidence or reason
MAX_TIME: Final = 2**40  # seconds

FORM: Final = "form"  # of a Meta's extra: the Form, where the type alone does not tell it


class Form(str, Enum):
    """What a member's value is, as a row of text has it."""

    ID = "id"
    TEXT = "text"
    TARGET = "target"
    ORIGID = "origid"
    ORIGIDS = "origids"
    WORDS = "words"
    SPANS = "spans"
    CHOICE = "choice"
    CHOICES = "choices"
    NUMBER = "number"
    FIRST = "first"
    LAST = "last"
    TIME = "time"
    COUNT = "count"


LISTS: Final = frozenset({Form.WORDS, Form.SPANS, Form.CHOICES, Form.ORIGIDS})


def identifier(meaning: str, *examples: str) -> Meta:
    """An id, code or other short mark, of 1 to MAX_ID printable characters where it is needed."""
    return _meta(meaning, examples, Form.ID, maxLength=MAX_ID)


def text(meaning: str, *examples: str) -> Meta:
    """Free text of at most MAX_TEXT printable characters."""
    return _meta(meaning, examples, Form.TEXT, maxLength=MAX_TEXT)


def target(meaning: str, *examples: str) -> Meta:
    """Whose conduct is meant; its form depends on the member `kind`."""
    return _meta(meaning, examples, Form.TARGET, maxLength=MAX_TEXT)


def origid(meaning: str, *examples: str) -> Meta:
    """An opaque id of tokens (RFC 8588 section 5)."""
    return _meta(meaning, examples, Form.ORIGID, maxLength=MAX_ID)


def origids(meaning: str) -> Meta:
    """A list of these."""
    return _meta(meaning, (), Form.ORIGIDS)


def spans(meaning: str, *examples: str) -> Meta:
    """A list of numbers and ranges, each as "first-last" or a number alone."""
    return _meta(meaning, (list(examples),), Form.SPANS)


def instant(meaning: str, *examples: int) -> Meta:
    """Seconds since the epoch."""
    return _meta(
        f"{meaning} Seconds since the epoch.", examples, Form.TIME, minimum=0, maximum=MAX_TIME
    )


def numbers(first: str, last: str) -> Meta:
    """A range; in rows two members, `first` and `last`. The arguments are an example."""
    return Meta(examples=[first, last])


def member(meaning: str, *examples: Any) -> Meta:
    """Anything whose type alone says how it is written."""
    return Meta(description=meaning, examples=list(examples) or None)


def _meta(meaning: str, examples: tuple[Any, ...], form: Form, **limits: int) -> Meta:
    return Meta(
        description=meaning,
        examples=list(examples) or None,
        extra_json_schema=limits or None,
        extra={FORM: form},
    )
