"""The error hierarchy. Refusals of well-formed requests are values, not exceptions."""

from __future__ import annotations

import json

from zhenxian.core.reasons import Reason


class ZhenxianError(Exception):
    """Base of all errors this project raises on purpose."""


class ParseError(ZhenxianError):
    """Malformed input: the only exception that parsers let out.

    Attributes:
        reason: the member of the table that says what is wrong and how it is spoken on the wire.
        where: the header, claim or parameter at fault, e.g. "payload.iat".
        detail: a sentence for people. Never holds more than 80 characters of the input.
    """

    def __init__(self, reason: Reason, where: str, detail: str = "") -> None:
        super().__init__(f"{where}: {detail or reason.text}")
        self.reason = reason
        self.where = where
        self.detail = detail or reason.text


class StoreUnavailableError(ZhenxianError):
    """A store could not be asked or written; the protocol's docstring says what follows."""


class StoreFullError(StoreUnavailableError):
    """The disk of a store has no room left."""


class StoreBusyError(StoreUnavailableError):
    """Another process writes to a store, and did for longer than was waited; nothing is wrong."""


class ConfigError(ZhenxianError):
    """A setting, key file or certificate that the service cannot start with; says what to do."""


def shown(value: object, limit: int = 80) -> str:
    """Render untrusted input for error texts: bounded and printable.

    Text stands in quotes; all other values read as JSON has them: null, true, {"tn": "1"}.
    """
    if isinstance(value, str):
        text = repr(str(value[: limit + 1]))
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
        if not text.isprintable():
            text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
