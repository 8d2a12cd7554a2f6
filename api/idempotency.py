"""Idempotency-Key: the same request twice is done once, and another one is never taken for it.

Read as draft-ietf-httpapi-idempotency-key-header-07 has it: what a key stands for is the whole
request, and a key that comes with another request is refused (409).
"""

# Annotations are looked up at run time: they are not postponed here.
import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from msgspec import Struct

from zhenxian.api.auth import Principal

_PRECONDITIONS: Final = ("if-match", "if-none-match")

Idempotency = Annotated[
    str | None,
    Header(alias="idempotency-key", min_length=1, max_length=128,
           description="Repeat a request under the same key, and it is done once. Another request"
           " under that key (method, path, query, preconditions, body) is answered 409."),
]  # fmt: skip


class Once(Struct, frozen=True):
    """A request with an Idempotency-Key.

    Attributes:
        key: as given; of a row of a batch with the row's number.
        head: method, path, query and preconditions.
    """

    key: str
    head: tuple[object, ...]

    def row(self, number: int) -> "Once":
        """A row that is written by itself; no key that a client can send is like its own."""
        return Once(f"{self.key}\n{number}", self.head)

    def request(self, principal: Principal) -> bytes:
        """What the key is remembered by: each principal has keys of their own."""
        return _digest(f"{principal.id}\n{self.key}")

    def fingerprint(
        self,
        principal: Principal,
        asked: object,
        pace: Callable[[Iterable[object]], Iterable[object]] = iter,
    ) -> bytes:
        """What the request is told from others by.

        Args:
            asked: its body as it was read.
            pace: what the rows of a list come through.
        """
        if not isinstance(asked, list):
            return _digest(repr((principal.id, self.head, asked)))
        # The same text row by row: all at once would hold up calls.
        digest = hashlib.sha256(f"({principal.id!r}, {self.head!r}, [".encode("utf-8", "replace"))
        for number, row in enumerate(pace(asked)):
            text = f", {row!r}" if number else repr(row)
            digest.update(text.encode("utf-8", "replace"))
        digest.update(b"])")
        return digest.digest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


async def _read(request: Request, idempotency_key: Idempotency = None) -> Once | None:
    if idempotency_key is None:
        return None
    conditions = tuple(
        (name, tuple(value.strip() for value in request.headers.getlist(name)))
        for name in _PRECONDITIONS
    )
    query = tuple(sorted(request.query_params.multi_items()))
    return Once(idempotency_key, (request.method, request.url.path, query, conditions))


OnceOnly = Annotated[Once | None, Depends(_read)]
