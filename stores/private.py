"""Database files for their owner alone, and how many copies are kept."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_ASIDE: Final = 4  # copies that were set aside: the oldest, which has most, and the newest


def make_private(path: Path) -> None:
    """Make a file for its owner alone before SQLite does so for more.

    Files that SQLite puts beside it have its mode. What cannot be changed is left to who opens it.
    """
    if str(path) == ":memory:":
        return
    # Never one that is there: closing it would end the locks that SQLite has on it.
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for beside in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(OSError):
            if beside.stat().st_mode & 0o077:
                beside.chmod(0o600)


def replace_private(path: Path, octets: bytes) -> None:
    """Write a small file whole, for its owner alone. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, octets)
    finally:
        os.close(descriptor)
    fresh.replace(path)


def bound_aside(folder: Path, pattern: str) -> list[str]:
    """Remove copies beyond the bound; the names of those removed.

    Args:
        pattern: a glob; the names that it finds sort by age.
    """
    removed = []
    for path in sorted(folder.glob(pattern))[1 : 1 - MAX_ASIDE]:
        with suppress(OSError):
            path.unlink()
            removed.append(path.name)
    return removed
