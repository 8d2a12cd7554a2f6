"""What the routes of records take beside a body: key, reason, page, preconditions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Header, HTTPException, Path, Query

from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TNRange
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import EXISTING
from zhenxian.registry.model import Kind, span

SPANS: Final = (Kind.HOLDING, Kind.REFUSAL)  # whose key is a number or range

Reason = Annotated[
    str, Query(min_length=1, max_length=500, description="Why; kept in the history.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str, Query(max_length=200, description="`following` of the page before.")]
OfSubject = Annotated[
    str | None, Query(description="Only this subject's; of holdings, accesses and exemptions.")
]
Key = Annotated[
    str,
    Path(
        min_length=1,
        max_length=128,
        description="The id; of holdings and refusals NUMBER or FIRST-LAST.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="if-match",
        description='The ETag that was seen, such as "7"; `*`: any.',
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="if-none-match", description="`*`: create, never change.")
]
At = Annotated[
    str | None,
    Query(description="An instant, RFC 3339 or seconds since the epoch; now when left out."),
]
TakeOut = Annotated[
    bool,
    Query(
        description="Of holdings: take numbers out of ranges that other subjects hold. Without it"
        " such rows are refused; with it `taken_out` counts them."
    ),
]
ModeOf = Annotated[
    str,
    Query(
        pattern=f"^({'|'.join(mode.value for mode in Mode)})$",
        description="all-or-nothing: with one refused row nothing is written.",
        json_schema_extra={"enum": [mode.value for mode in Mode]},
    ),
]


def expected(if_match: str | None, if_none_match: str | None) -> int | None:
    """The version that a change must meet (see Change.expected), by the headers."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise HTTPException(422, "If-None-Match: only * is understood, and not with If-Match")
        return 0
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return EXISTING
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise HTTPException(422, 'If-Match: an ETag of ours expected, such as "7"')
    return int(text)


def keyed(kind: Kind, key: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with what the path names."""
    if kind in SPANS:
        first, _, last = key.partition("-")
        return {"first": first, "last": last, **row}
    return {"id": key, **row}


def span_key(key: str, reading: Reading) -> str:
    """A path's number or range in canonical form."""
    first, _, last = key.partition("-")
    begin = reading.filed(first, "key")
    return span(TNRange(begin, reading.filed(last, "key") if last else begin))


def instant(text: str) -> int:
    """Seconds since the epoch of an instant. Raises ConfigError."""
    try:
        if text.isascii() and text.isdecimal() and len(text) < 13:
            return int(text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return int(moment.timestamp())
    except (ValueError, OverflowError):
        pass
    raise ConfigError("at: RFC 3339 with its offset, or seconds since the epoch expected")
