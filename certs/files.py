"""Files that people replace while the service runs: taken over whole, or not at all.

A file that is written in place is empty or half for a moment, and half a file may well read as a
whole one. So a change counts only when two looks, about a second apart, have found the same, and
what is read is what one look saw.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from zhenxian.core.errors import ConfigError

Stamp: TypeAlias = tuple[int, ...] | None

_QUIET: Final = 1_000_000_000  # nanoseconds since the last write after which a file is whole
_LARGE: Final = 64 * 1024 * 1024  # octets; whatever is longer was not written by us
_PATIENCE: Final = 5.0  # seconds that a start waits for that


def stamp(path: Path) -> Stamp:
    """What changes when a file is replaced, rewritten, or given another mode or owner."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _stamp(status)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_size,
        status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def folder_stamp(path: Path | None) -> tuple[object, ...]:
    """The same for a file, or for all that is in a folder."""
    if path is None:
        return ()
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return ()
    return tuple((file.name, stamp(file)) for file in files)


def read_file(
    path: Path, limit: int, check: Callable[[os.stat_result], None] | None = None
) -> bytes:
    """The content of a regular file; never waits, whatever stands at the path.

    Args:
        limit: octets; a larger file is refused.
        check: looks at the open file, not at the path: what was checked is what is read.

    Raises:
        ConfigError: it cannot be read, is a pipe or device, is too large, or changed meanwhile.
    """
    try:
        with opened(path) as file:
            before = os.fstat(file.fileno())
            if check is not None:
                check(before)
            content = _at_most(file, limit)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(content) > limit:
        raise ConfigError(f"{path}: larger than {limit} bytes")
    if _stamp(before) != _stamp(after) or len(content) != before.st_size:
        raise ConfigError(f"{path}: changed while it was read")
    return content


def opened(path: Path) -> BinaryIO:
    """A regular file, to be read; never waits, as opening a pipe that nobody writes to would.

    Raises:
        OSError: it cannot be opened, or is a pipe, device or folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def _at_most(file: BinaryIO, limit: int) -> bytes:
    """What is in it, up to one octet more than a limit; room is made for what there is."""
    first = min(os.fstat(file.fileno()).st_size, limit) + 1
    content = file.read(first)
    return content if len(content) < first else content + file.read(limit + 1 - first)


def octets_of(path: Path, limit: int = _LARGE) -> bytes:
    """The content of a regular file, as Path.read_bytes gives it; but it never waits.

    A pipe that stands in a file's place would keep a start, or the event loop, for ever; and a
    device has no end.

    Raises:
        OSError: it cannot be read, is a pipe, device or folder, or is larger than `limit` octets.
    """
    with opened(path) as file:
        content = _at_most(file, limit)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return content


class Looks:
    """What was seen of files at the last look, by name, to tell those that still change."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def still(self, name: str, seen: object) -> bool:
        """Note what is seen now; True when the look before found the same."""
        before = self._seen.get(name)
        self._seen[name] = seen
        return before == seen


def wait_until_still(paths: Sequence[Path]) -> None:
    """Wait, 5 s at most, until files that were written just now have been left alone for 1 s."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        written = [found[-2] for path in paths if (found := stamp(path)) is not None]
        since = time.time_ns() - max(written, default=0)
        if not 0 <= since < _QUIET:
            return
        time.sleep((_QUIET - since) / 1e9)
