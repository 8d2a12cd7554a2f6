"""SIP messages as phones saw them: enough reading to assert, and to alter on the way."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec import Struct

_SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "y": "identity"}


class Message(Struct, frozen=True):
    """A request or an answer.

    Attributes:
        first: request line or status line.
        fields: header fields in order, unfolded.
        body: what follows.
    """

    first: str
    fields: tuple[tuple[str, str], ...]
    body: str = ""

    @classmethod
    def loads(cls, raw: bytes) -> Message:
        """Read what came in one datagram or stands in a log of SIPp."""
        head, _, body = raw.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
        first, *lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        fields = [
            (name.strip(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
        ]
        return cls(first, tuple(fields), body)

    def dumps(self) -> bytes:
        """The message as it goes over the wire."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.fields)]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode("utf-8", "surrogateescape")

    def all(self, name: str) -> list[str]:
        """The values of every field of that name, short form or long."""
        return [value for key, value in self.fields if _full(key) == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of the only field of that name, None where there is none."""
        found = self.all(name)
        if len(found) > 1:
            raise ValueError(f"{name} stands {len(found)} times in {self.first}")
        return found[0] if found else None

    @property
    def method(self) -> str:
        """Of the request, or of the request that is answered."""
        if self.status is None:
            return self.first.partition(" ")[0]
        return (self.one("cseq") or "").partition(" ")[2]

    @property
    def status(self) -> int | None:
        """The code of an answer; None for a request."""
        return int(self.first.split(" ")[1]) if self.first.startswith("SIP/2.0 ") else None

    @property
    def call(self) -> str:
        """The scenario's name, which stands before /// in its Call-ID."""
        return (self.one("call-id") or "").partition("///")[0].rstrip("~")

    def without(self, *names: str) -> Message:
        """The message without the fields of these names."""
        gone = {name.lower() for name in names}
        return Message(
            self.first, tuple(f for f in self.fields if _full(f[0]) not in gone), self.body
        )

    def having(self, name: str, *values: str) -> Message:
        """The message with these values for that field, in the place of those it had."""
        kept = self.without(name)
        return Message(kept.first, (*kept.fields, *((name, value) for value in values)), self.body)

    def replaced(self, name: str, old: str, new: str) -> Message:
        """The message with a text changed in the fields of that name, in place."""
        return Message(
            self.first,
            tuple(
                (key, value.replace(old, new) if _full(key) == name.lower() else value)
                for key, value in self.fields
            ),
            self.body,
        )

    def of_another_call(self, call_id: str, via: str) -> Message:
        """The INVITE as a caller of its own would send it: new Call-ID, From tag and Via."""
        tag = secrets.token_hex(4)
        altered = self.without("via", "record-route", "call-id")
        altered = Message(
            altered.first,
            (
                ("Via", f"SIP/2.0/UDP {via};branch=z9hG4bK{tag}"),
                ("Call-ID", call_id),
                *altered.fields,
            ),
            self.body,
        )
        old = re.search(r";tag=([^;>]+)", self.one("from") or "")
        return altered.replaced("from", old[1], tag) if old else altered


def _full(name: str) -> str:
    return _SHORT.get(name.lower(), name.lower())


_LOGGED = re.compile(
    rb"-{20,} ([^\n]*)\n(?:UDP|TCP) message (sent|received)"
    rb" (?:\((\d+) bytes\)|\[(\d+)\] bytes ?):\n\n"
)


class Logged(NamedTuple):
    """A message in a log of SIPp's, and when it was sent or received (seconds)."""

    received: bool
    message: Message
    at: float


def logged(log: bytes) -> list[Logged]:
    """The messages in a log of SIPp's -trace_msg."""
    out = []
    for one in _LOGGED.finditer(log):
        length = int(one[3] or one[4])
        raw = log[one.end() : one.end() + length]
        if len(raw) == length:
            at = datetime.fromisoformat(one[1].decode()).replace(tzinfo=UTC).timestamp()
            out.append(Logged(one[2] == b"received", Message.loads(raw), at))
    return out
