"""Answers to requests that no route sees: the connection's protocol refuses them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from zhenxian.api.calls import responses as answers
from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.requests import Dialect, filled
from zhenxian.api.management.common import PROBLEM_JSON, problem
from zhenxian.core.reasons import Reason

CALLS_PREFIX: Final = "stir"
_RETRY: Final = {HTTPStatus.SERVICE_UNAVAILABLE: "retry-after: 1\r\n"}


def of_calls(path: str) -> bool:
    """True for a path that is, or was meant to be, one of the calls': below /stir."""
    first = path.lstrip("/").partition("/")[0].partition("?")[0]
    return first.lower() == CALLS_PREFIX


def spoken(configured: str) -> Dialect:
    """The dialect of answers to what has no body to tell it by; `configured` may be auto."""
    return Dialect.ATIS if configured == "auto" else Dialect(configured)


def refusal(
    reason: Reason,
    variables: tuple[str, ...],
    url: bytes,
    method: bytes,
    dialect: Dialect,
) -> bytes:
    """A whole response, after which the connection is closed.

    Args:
        url: the request target as far as it is known: calls are answered in `dialect`.
    """
    status = HTTPStatus(SPOKEN[reason].status)
    if of_calls(url[:100].decode("latin-1")):
        body, media = answers.refused(reason, variables, dialect), "application/json"
    else:
        detail = filled(reason, variables).removeprefix("Error: ")
        body, media = bytes(problem(status.value, status.phrase, detail).body), PROBLEM_JSON
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {media}\r\n"
        f"content-length: {len(body)}\r\n{_RETRY.get(status, '')}connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else body)
