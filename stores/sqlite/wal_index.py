"""Whether anybody has committed to a registry file, told without asking SQLite.

Asking it (`PRAGMA data_version`) takes three system calls and code that nothing else of a call runs
through: 4 to 8 % of what a call costs that finds cold caches. What SQLite itself would look at is
the head of the index of the write-ahead log, which all processes that have the file open share in
memory (https://www.sqlite.org/walformat.html, section 2.1): two copies of 48 octets, written anew
by each commit. As long as both are octet for octet what they were, nothing was committed. Whatever
else they are, SQLite is asked.

The head is read where SQLite has mapped it. A descriptor of our own would do harm: closing one
would give up the locks that SQLite holds on the same file (POSIX, fcntl(2)).
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Final

_HEAD: Final = 96  # octets of both copies
_VERSION: Final = (3_007_000).to_bytes(4, sys.byteorder)  # of the format, first in each copy
_INITIALISED: Final = 12  # where a copy tells that it is in use
_MAPPINGS: Final = Path("/proc/self/maps")


class WalIndex:
    """The head of a file's index, as one connection sees it. Not to be used once that is closed."""

    def __init__(self, path: Path) -> None:
        """Find it. Where it cannot be found, or is of another format, it always says `moved`.

        Args:
            path: of a file that a connection of this process has open and has read from.
        """
        address = _address(path)
        self._head = (ctypes.c_char * _HEAD).from_address(address) if address is not None else None
        self._seen: bytes | None = None

    def moved(self) -> bool:
        """Whether there may be commits that were not there when it was last asked."""
        if self._head is None:
            return True
        now = self._head.raw
        if now == self._seen:
            return False
        # Before SQLite is asked: what is committed between the two is found by the next question.
        self._seen = now if _in_use(now) else None
        return True

    def forget(self) -> None:
        """What was told could not be used: say `moved` once more."""
        self._seen = None

    def close(self) -> None:
        """The connection is about to be closed, and the memory with it."""
        self._head = None


def _in_use(head: bytes) -> bool:
    return head[:4] == _VERSION and head[_INITIALISED] == 1 and head[:48] == head[48:]


def _address(path: Path) -> int | None:
    """Where this process has mapped the beginning of the index."""
    try:
        inode = str(Path(f"{path}-shm").stat().st_ino)
        text = _MAPPINGS.read_text("utf-8", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].endswith("-shm"):
            span, rights, offset, _device, number, _name = fields
            if number == inode and rights.startswith("r") and not int(offset, 16):
                return int(span.partition("-")[0], 16)
    return None
