"""What an import may do with refused rows, and what became of its rows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import IO, Any, Final, Protocol

from msgspec import Struct, field

from zhenxian.registry.journal import Imported, reason_of
from zhenxian.registry.model import Kind

MAX_LISTED: Final = 1_000  # refused rows a report lists; all are counted
MOST_LISTED: Final = 100_000  # likewise, where more are asked for over HTTP
MAX_REASONS: Final = 100  # different reasons that a report counts
MAX_BATCH: Final = 5_000  # rows of one batch request
BATCHES: Final = (Kind.BINDING, Kind.HOLDING, Kind.REFUSAL)  # of which there are such requests

_OTHERS: Final = "other reasons"
_SAID: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[^\s,;:()]+")
_LONG: Final = re.compile(r"[0-9*#]{5,}")


class Mode(str, Enum):
    """What one refused row means for the others."""

    ALL_OR_NOTHING = "all-or-nothing"
    BEST_EFFORT = "best-effort"


class Rejected(Struct, frozen=True, gc=False):
    """A row that was refused; lines count from 1, the header's."""

    line: int
    reason: str


class Report(Struct, kw_only=True):
    """What became of an import.

    Attributes:
        changed: rows registered. unchanged: rows that were registered so already.
        taken_out: of those registered, how many took numbers out of a range of another subject.
        rejected: the first refused rows; rejections counts them all. written_out: the same, where
            another process has written them as JSON: some objects with commas between them each.
        written: False for a dry run, and for all-or-nothing with a refused row.
        listed: how many refused rows are listed. sink: takes each of them, listed or not.
        reasons: how many rows were refused for each, and the first line of these; what a row says
            itself is left out of them.
    """

    rows: int = 0
    changed: int = 0
    unchanged: int = 0
    taken_out: int = 0
    rejections: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    written_out: list[bytes] = field(default_factory=list)
    written: bool = True
    listed: int = MAX_LISTED
    sink: Callable[[Rejected], object] | None = None
    reasons: dict[str, list[int]] = field(default_factory=dict)

    def reject(self, line: int, reason: str, values: Sequence[str] = ()) -> None:
        """Count a refused row. `values` are the row's: what is refused alike differs in these."""
        self.rejections += 1
        alike = _without(reason, values)
        if alike not in self.reasons and len(self.reasons) >= MAX_REASONS:
            alike = _OTHERS
        group = self.reasons.setdefault(alike, [0, line])
        group[0] += 1
        row = Rejected(line, reason)
        if self.sink is not None:
            self.sink(row)
        if len(self.rejected) < self.listed:
            self.rejected.append(row)


class Origin(Struct, frozen=True):
    """The file of an import, as the history names it; empty where it is not known.

    Attributes:
        name: the file's name, without its folder. digest: SHA-256 of its octets, in hex.
    """

    name: str = ""
    digest: str = ""

    def reason(self, reason: str, kind: Kind, count: int) -> str:
        """Why a commit was made that has so many records of the file, as the journal keeps it."""
        digest = f"sha-256:{self.digest}" if self.digest else ""
        return reason_of(reason, Imported(kind, count, self.name, digest))


NO_FILE: Final = Origin()


def _without(reason: str, values: Sequence[str]) -> str:
    """A reason without what the row says."""
    own = set(values)

    def word(found: re.Match[str]) -> str:
        text = found[0]
        return "…" if text in own or text[0] in "'\"" or _LONG.search(text) else text

    return _SAID.sub(word, reason)


class Imports(Protocol):
    """Imports into the registry of a running service, whichever engine keeps it."""

    @property
    def folder(self) -> Path:
        """Where an upload may be kept meanwhile."""
        ...

    async def reached(self, name: str) -> int:
        """The last line committed of a file that is imported under the name; 0 for none."""
        ...

    async def run(self, kind: Kind, file: IO[bytes], listed: int, **how: Any) -> Report:
        """Import a CSV file with a header line, from where it stands.

        Args:
            listed: how many refused rows the report lists.
            how: author, reason, now (seconds since the epoch), mode, dry_run; take_out: whether
                numbers may be taken out of others' ranges; origin; and resume: the name under
                which progress is kept, or "".

        Raises:
            ConfigError: the first line does not name the columns, or quotes do not come in pairs.
            StoreUnavailableError: it is not kept; what was committed before stays.
        """
        ...

    def rest(self, kind: Kind, after: str) -> AsyncIterator[bytes]:
        """The records after a page's end, as lines of CSV, away from the calls."""
        ...
