"""One service a data folder: a lock that the processes of that service share.

Two services on one folder would each keep a replay store, counts and a copy of the registry of
their own, and a token would pass in both. Commands of the command line that read or change the
registry's file beside a service are meant, and take no lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import Final

from zhenxian.core.errors import ConfigError

_HOLDER: Final = re.compile(r"process (\d{1,9}),")
LOCK_FILE: Final = "service.lock"  # below the data folder
_WAIT: Final = 3.0  # seconds that a service may take to end
_WAIT_ORPHANS: Final = 8.0  # workers whose supervisor was killed: they finish calls in flight
_LOOK_EVERY: Final = 0.05


def make_data_folder(data: Path) -> None:
    """Raises ConfigError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data folder {data}: {error.strerror}") from None


def lock_data_folder(data: Path, listener: str) -> int:
    """Make the folder this process's; the descriptor that holds it, for children to inherit.

    The kernel lets go of it when the last process that has the descriptor has ended, however.

    Args:
        listener: where calls are served, for whoever is refused.

    Raises:
        ConfigError: another service has it, and which; or the folder cannot be written.
    """
    make_data_folder(data)
    path = data / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"data folder {data} cannot be written ({error.strerror}): a service keeps its"
            " registry, its lock and what it has fetched there"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError(f"{path} is not a regular file: remove it")
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            if time.monotonic() - began < (_WAIT if _lives(holder) else _WAIT_ORPHANS):
                time.sleep(_LOOK_EVERY)
                continue
            os.close(descriptor)
            raise ConfigError(
                f"data folder {data} is in use by another service ({holder or 'unknown'}): stop"
                " that one, or set another folder (data)"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(f"{path} cannot be locked: {error.strerror}") from None
    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    os.ftruncate(descriptor, 0)
    os.pwrite(
        descriptor, f"process {os.getpid()}, calls on {listener}, since {begun}\n".encode(), 0
    )
    return descriptor


def _lives(holder: str) -> bool:
    """Whether the process that a lock file names still is."""
    found = _HOLDER.match(holder)
    if found is None:
        return True
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
