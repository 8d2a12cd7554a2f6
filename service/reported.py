"""What a node's own files and stores fail with, until it is right again."""

from __future__ import annotations

import logging
from collections.abc import Callable

_logger = logging.getLogger("zhenxian")


class Problems:
    """What a node's own files and stores fail with, by name, until it is right again.

    Attributes:
        sentences: by name.
    """

    def __init__(self, hidden: Callable[[str], str]) -> None:
        """Args: hidden takes telephone numbers out of what is logged."""
        self.sentences: dict[str, str] = {}
        self._hidden = hidden

    def report(self, name: str, text: str | None) -> None:
        """Remember a problem for /readyz and log it when it is new; None ends it."""
        if text is None:
            self.sentences.pop(name, None)
        elif self.sentences.get(name) != text:
            self.sentences[name] = text
            _logger.warning("%s: %s", name, self._hidden(text))
