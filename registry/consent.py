"""What callees refuse: which stated purposes count as marketing, and who refuses it.

A purpose is what the caller says itself, so this catches callers who say it. A call without a
stated purpose, and a callee of whom nothing is on record, are unknown: no effect.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, URI
from zhenxian.registry.model import CalleeRefusal, Registry, Scope

MAX_TERMS: Final = 1_000
MAX_TERM: Final = 64  # characters of a term
_CACHED: Final = 4_096  # purposes; callers state few different ones
_DENIAL: Final = r"(?:(?<![a-z0-9])(?:non[- ]?|not |no )|非|不是)"

MARKETING: Final = (
    "marketing", "telemarketing", "promotion", "promotional", "promo", "advertising",
    "advertisement", "telesales", "sales call", "sales offer", "special offer",
    "营销", "行銷", "推广", "推廣", "推销", "推銷", "促销", "促銷", "广告", "廣告", "电销", "電銷",
)  # fmt: skip


class Consent(str, Enum):
    """What a callee's refusal leads to: a REFUSEd call, a LABEL, or nothing (OFF)."""

    REFUSE = "refuse"
    LABEL = "label"
    OFF = "off"


class ConsentPolicy:
    """Whether a callee refuses a call, by what the caller states."""

    def __init__(
        self, marketing: Consent = Consent.LABEL, terms: Iterable[str] = MARKETING
    ) -> None:
        """Take what does not change from call to call.

        Args:
            terms: what makes a purpose marketing. Case, full width and repeated spaces make no
                difference; a term that begins or ends with a Latin letter or digit does so at the
                end of a word. One that "non", "not", "no", 非 or 不是 stands directly before does
                not count, nor those that follow it directly (非营销推广).

        Raises:
            ConfigError: a term that is empty or too long, or too many.
        """
        plain = {_plain(term) for term in terms}
        if len(plain) > MAX_TERMS or not all(0 < len(term) <= MAX_TERM for term in plain):
            raise ConfigError(f"at most {MAX_TERMS} terms of 1 to {MAX_TERM} characters expected")
        self.marketing = marketing
        ordered = sorted(plain, key=lambda term: (-len(term), term))
        self._terms = re.compile("|".join(map(_pattern, ordered))) if plain else None
        denied = "|".join(map(re.escape, ordered))
        self._denied = re.compile(f"{_DENIAL}(?:(?:{denied}) ?)+")
        self._known = lru_cache(_CACHED)(self._read)

    def scope(self, purpose: str) -> Scope | None:
        """What a stated purpose is; None for nothing that can be refused."""
        return self._known(purpose)

    def _read(self, purpose: str) -> Scope | None:
        if self._terms is None:
            return None
        affirmed = self._denied.sub(" ", _plain(purpose))
        return Scope.MARKETING if self._terms.search(affirmed) is not None else None

    def refusal(
        self,
        purposes: tuple[str | None, ...],
        callees: Iterable[TN | URI],
        registry: Registry,
        now: int,
    ) -> CalleeRefusal | None:
        """The first callee's refusal of what any of the purposes states; None when unknown.

        Raises:
            StoreUnavailableError: the registry cannot be asked.
        """
        if self.marketing is Consent.OFF:
            return None
        stated = [purpose for purpose in purposes if purpose is not None]
        if not any(self.scope(purpose) is Scope.MARKETING for purpose in stated):
            return None
        for callee in callees:
            if isinstance(callee, TN):
                found = registry.refusal(callee, Scope.MARKETING, now)
                if found is not None:
                    return found
        return None


def refusal_text(refusal: CalleeRefusal) -> str:
    """For people on the caller's side: no more of the callee than that it refuses."""
    scopes = ", ".join(scope.value for scope in refusal.scopes)
    return f"{scopes}, refused since {refusal.since}"


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _pattern(term: str) -> str:
    before = r"(?<![a-z0-9])" if _latin(term[0]) else ""
    after = r"(?![a-z0-9])" if _latin(term[-1]) else ""
    return before + re.escape(term) + after


def _latin(character: str) -> bool:
    return character.isascii() and character.isalnum()
