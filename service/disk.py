"""Whether the disk of the data folder takes what is written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_PROBE: Final = 65_536  # octets; a database grows by as much at once


class Disk:
    """The disk of a data folder, as it was when last looked at.

    Attributes:
        problem: why it takes nothing; None when it does.
        free: octets that it has left; None before the first look.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problem: str | None = None
        self.free: int | None = None

    def look(self) -> str | None:
        """Write a little, and say why that cannot be; in a thread, since a disk may be slow."""
        try:
            found = os.statvfs(self._folder)
            self.free = found.f_bavail * found.f_frsize
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                written = file.write(bytes(_PROBE))
            self.problem = None if written == _PROBE else "it is full"
        except OSError as error:
            self.problem = error.strerror or str(error)
        if self.problem is None:
            return None
        return (
            f"the data folder takes nothing ({self.problem}): nothing can be registered or kept,"
            " and with several workers no token can be verified"
        )
