"""Starting another process of ours without holding the interpreter meanwhile.

`subprocess` holds it from before the new process is there until that runs its own program: some
milliseconds, and far more where others have the processor. A function of the C library is called
without it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

from zhenxian.core.errors import StoreUnavailableError

_ROOM: Final = 512  # octets for the C library's list of what is done with descriptors; it takes 80
_ABOVE: Final = 16  # the lowest descriptor that none of the new process's own is
_GONE: Final = -1
_NICER: Final = 10  # a call that comes has the processor at once; writers wait for its commits
# What the interpreter does first, before it looks for installed packages: until it steps back, a
# new process takes a processor from calls, which was 50 ms for each.
_FIRST: Final = f"""
import os, sys
try:
    os.nice({_NICER})
except OSError:  # a sandbox may forbid it
    pass
import site
site.main()
from importlib import import_module
sys.exit(import_module(sys.argv.pop(1)).main())
"""

_library: Final = ctypes.CDLL(None)
_library.posix_spawn.argtypes = [
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
]


class Spawned:
    """A process that takes orders on its standard input, and ends when that is closed.

    Attributes:
        orders: its standard input. out: its standard output.
    """

    def __init__(self, command: Sequence[str], passed: Sequence[int] = ()) -> None:
        """Start it; to be called in a thread, which waits until the program runs.

        Args:
            command: the program with its whole path, and its arguments.
            passed: descriptors that it has as 3, 4 and so on. It closes all others.

        Raises:
            OSError: it cannot be started.
        """
        theirs, ours = os.pipe()
        answers, told = os.pipe()
        self.orders: IO[bytes] = os.fdopen(ours, "wb")
        self.out: IO[bytes] = os.fdopen(answers, "rb")
        self._status = 0
        try:
            self.pid = _spawn(command, (theirs, told, 2, *passed))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(theirs)
            os.close(told)

    def wait(self) -> int:
        """Wait for its end; its exit status, negative when a signal ended it."""
        if self.pid != _GONE:
            _, status = os.waitpid(self.pid, 0)
            self.pid, self._status = _GONE, os.waitstatus_to_exitcode(status)
        return self._status

    def end(self) -> None:
        """End it, whatever it does; to be called in a thread, as its memory is freed meanwhile."""
        self.kill()
        self._close()
        self.wait()

    def kill(self) -> None:
        """Have it end, whatever it does, and what it tells with it."""
        if self.pid != _GONE:
            with suppress(ProcessLookupError):  # it is being awaited
                os.kill(self.pid, signal.SIGKILL)

    def _close(self) -> None:
        for end in (self.orders, self.out):
            with suppress(BrokenPipeError):
                end.close()


def spawned_module(module: str, passed: Sequence[int] = (), *more: str) -> Spawned:
    """A process that runs `main` of a module of ours, with these arguments.

    Raises:
        StoreUnavailableError: it cannot be started.
    """
    try:
        return Spawned([sys.executable, "-P", "-S", "-c", _FIRST, module, *more], passed)
    except OSError as error:
        raise StoreUnavailableError(
            f"no process can be started for it ({error.strerror}); nothing was changed"
        ) from None


def _spawn(command: Sequence[str], theirs: Sequence[int]) -> int:
    """Start a program whose first descriptors are these. Returns its process id."""
    actions = ctypes.create_string_buffer(_ROOM)
    _succeed(_library.posix_spawn_file_actions_init(actions))
    kept: list[int] = []
    try:
        for number, descriptor in enumerate(theirs):
            kept.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE))
            _succeed(_library.posix_spawn_file_actions_adddup2(actions, kept[-1], number))
        pid = ctypes.c_int()
        arguments = _texts([os.fsencode(word) for word in command])
        environment = _texts([name + b"=" + value for name, value in os.environb.items()])
        path = os.fsencode(command[0])
        _succeed(
            _library.posix_spawn(ctypes.byref(pid), path, actions, None, arguments, environment)
        )
    finally:
        _library.posix_spawn_file_actions_destroy(actions)
        for descriptor in kept:
            os.close(descriptor)
    return pid.value


def _texts(texts: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def _succeed(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
