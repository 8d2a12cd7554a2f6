"""Answers of many rows, written a few at a time: calls are answered between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from fastapi import Response
from fastapi.responses import StreamingResponse

from zhenxian.api.schema import JSON
from zhenxian.registry.model import Record
from zhenxian.registry.store import Page

_FEW: Final = 12  # parts that are sent together
AT_ONCE: Final = 100  # rows read, or written, before calls have a turn

_encode: Final = msgspec.json.Encoder().encode


async def emptied(rows: list[Any]) -> None:
    """Let go of rows a few at a time: freeing many at once would hold up calls."""
    while rows:
        del rows[-AT_ONCE:]
        await asyncio.sleep(0)


async def listed_last(
    members: dict[str, Any],
    name: str,
    rows: list[Any],
    status: int = 200,
    media: str = JSON,
    *,
    written: Sequence[bytes] = (),
) -> Response:
    """An answer that ends with a list, which is empty afterwards; a long one comes in parts.

    Args:
        written: rows before these that are JSON already, some in each part with commas between.
    """
    parts = [_encode(members)[:-1] + b"," + _encode(name) + b":["]
    for part in written:
        parts += (b",", part) if len(parts) > 1 else (part,)
    for start in range(0, len(rows), AT_ONCE):
        comma = b"," if len(parts) > 1 else b""
        parts.append(comma + _encode(rows[start : start + AT_ONCE])[1:-1])
        await asyncio.sleep(0)
    await emptied(rows)
    parts.append(b"]}")
    if len(parts) <= _FEW:
        return Response(b"".join(parts), status, media_type=media)
    length = {"content-length": str(sum(map(len, parts)))}
    return StreamingResponse(_each(parts), status, length, media)


async def _each(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0)


async def rows_of(rows: Sequence[Any]) -> msgspec.Raw:
    """A list of rows as JSON."""
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        parts.append(_encode(rows[start : start + AT_ONCE])[1:-1])
        await asyncio.sleep(0)
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def page_of(members: dict[str, Any], status: int = 200, media: str = JSON) -> Response:
    """An answer whose members may be JSON already."""
    return Response(_encode(members), status, media_type=media)


async def pages(
    ask: Callable[[str, int], Awaitable[Page]], after: str, limit: int
) -> AsyncIterator[Page]:
    """Pages that are together one of that many records.

    Args:
        ask: reads so many records from where a page ended.
    """
    while True:
        page = await ask(after, min(limit, AT_ONCE))
        yield page
        limit -= len(page.rows)
        if page.following is None or limit <= 0:
            return
        after = page.following


async def listing(
    name: str,
    found: AsyncIterator[Page],
    row: Callable[[int, Record], dict[str, Any] | None],
) -> Response:
    """The answer to a question for a page.

    Args:
        name: of the member that has the rows.
        row: a record of some version as it is shown; None for one that is not.
    """
    parts, following = [], None
    async for page in found:
        rows = [row(version, record) for version, record in page.rows]
        parts.append(_encode([one for one in rows if one is not None])[1:-1])
        following = page.following
    listed = msgspec.Raw(b"[" + b",".join(filter(None, parts)) + b"]")
    return page_of({name: listed, "following": following})
