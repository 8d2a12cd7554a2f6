"""Work on the registry's file in a process of its own, which calls do not wait for.

A thread would hold the interpreter, and with it the event loop, whatever it does; a process shares
nothing but the file. It ends with the service that started it: each has an end of one pipe.

It stays in the service's session: where a machine shares its processors out by sessions first, a
niceness counts only within one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from zhenxian.core.errors import (
    ConfigError,
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
    ZhenxianError,
)
from zhenxian.registry.cells import lines_of
from zhenxian.registry.imports import Mode, Origin, Report
from zhenxian.registry.model import Kind
from zhenxian.service.numbers import plan_of, reading_of
from zhenxian.service.settings import Settings
from zhenxian.service.spawn import Spawned, spawned_module
from zhenxian.stores.bulk.importer import Import, export_rows
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.sorted_holdings import sort
from zhenxian.telemetry.logs import configure_logging

_AT_ONCE: Final = 500  # refused rows told together: what the event loop passes on in one turn
_PART: Final = 65_536  # octets of an export
_PASSED: Final = 3  # the first descriptor that is passed on
_WORDS: Final = 4  # octets of the length before a message


class ImportOrders(msgspec.Struct, tag="import", kw_only=True):
    """An import into a file.

    Attributes:
        source: descriptor of the CSV, which is read from where it stands.
        listed: how many refused rows the report lists. lines: of one commit.
        settings: those of the service, by which numbers are read.
        how: as of stores.bulk.importer.Import.
    """

    path: str
    source: int
    kind: Kind
    listed: int
    lines: int
    settings: dict[str, Any]
    mode: Mode
    identity_key: bytes
    origin: Origin
    how: dict[str, Any]


class ExportOrders(msgspec.Struct, tag="export"):
    """An export of the records of a file that follow a page's end."""

    path: str
    kind: Kind
    after: str


class SortOrders(msgspec.Struct, tag="sort"):
    """The holdings of a registry's file, to be sorted into columns."""

    path: str


_Orders = ImportOrders | ExportOrders | SortOrders


class _Failure(msgspec.Struct, tag="failure"):
    text: str
    error: str  # of _ERRORS


class _Refused(msgspec.Struct, tag="refused"):
    rows: bytes  # as of Report.written_out


class _Done(msgspec.Struct, tag="done", kw_only=True):
    rows: int
    changed: int
    unchanged: int
    taken_out: int
    rejections: int
    written: bool
    reasons: dict[str, list[int]]


class _Sorted(msgspec.Struct, tag="sorted"):
    pass


_Message = _Failure | _Refused | _Done | _Sorted
_ERRORS: Final = {
    error.__name__: error
    for error in (ConfigError, StoreBusyError, StoreFullError, StoreUnavailableError)
}
_decoder: Final = msgspec.msgpack.Decoder(_Message)
_ordered: Final = msgspec.msgpack.Decoder(_Orders)


def opened(path: Path, *, writer: bool = False) -> RegistryFile:
    """The registry's file of a running service, and never a new one in its place.

    Raises:
        StoreUnavailableError: it is not there, or cannot be opened.
    """
    if not path.exists():
        raise StoreUnavailableError(f"{path.name} is not there any more; nothing was changed")
    return RegistryFile(path, writer=writer)


# In the service ----------------------------------------------------------------------------------


async def import_apart(orders: ImportOrders) -> Report:
    """Import; see registry.imports.Imports.run."""
    report = Report(listed=orders.listed)
    source, orders.source = orders.source, _PASSED
    async with _apart(orders, (source,)) as process:
        while True:
            data = await asyncio.to_thread(_next, process.out)
            message = _decoder.decode(data) if data else None
            if isinstance(message, _Refused):
                report.written_out.append(message.rows)
                continue
            if isinstance(message, _Done):
                for name in message.__struct_fields__:
                    setattr(report, name, getattr(message, name))
                return report
            if isinstance(message, _Failure):
                raise _ERRORS.get(message.error, StoreUnavailableError)(message.text)
            raise StoreUnavailableError("the import was cut off; what was committed stays")


async def export_apart(orders: ExportOrders) -> AsyncIterator[bytes]:
    """Lines of CSV, in parts. Raises StoreUnavailableError when they do not come to their end."""
    async with _apart(orders) as process:
        while part := await asyncio.to_thread(process.out.read, _PART):
            yield part
        if await asyncio.to_thread(process.wait):
            raise StoreUnavailableError("the export was cut off")


async def sort_apart(path: Path) -> None:
    """See stores.sqlite.sorted_holdings.sort; another process may have done it."""
    async with _apart(SortOrders(str(path))) as process:
        data = await asyncio.to_thread(_next, process.out)
        message = _decoder.decode(data) if data else None
        if isinstance(message, _Failure):
            raise _ERRORS.get(message.error, StoreUnavailableError)(message.text)
        if message is None:
            raise StoreUnavailableError("sorting the holdings was cut off")


@asynccontextmanager
async def _apart(orders: _Orders, passed: tuple[int, ...] = ()) -> AsyncIterator[Spawned]:
    """The process, which ends when nobody waits for what it tells."""
    starting = asyncio.ensure_future(asyncio.to_thread(_started, orders, passed))
    try:
        yield await asyncio.shield(starting)
    finally:
        starting.add_done_callback(_end)


def _end(started: asyncio.Future[Spawned]) -> None:
    if not started.cancelled() and started.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, started.result().end)


def _started(orders: _Orders, passed: tuple[int, ...]) -> Spawned:
    process = spawned_module("zhenxian.service.aside", passed)
    with suppress(BrokenPipeError):  # it has ended already, as its answer will show
        process.orders.write(_framed(orders))
        process.orders.flush()
    return process


def _framed(message: _Message | _Orders) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(_WORDS) + data


def _next(source: IO[bytes]) -> bytes:
    """The next message's octets; none at the end."""
    return source.read(int.from_bytes(source.read(_WORDS)))


# In the process ----------------------------------------------------------------------------------


def main() -> int:
    """Do what standard input orders. Returns the exit status."""
    orders = _ordered.decode(_next(sys.stdin.buffer))
    try:
        threading.Thread(target=_end_with_input, daemon=True).start()
    except RuntimeError:
        return _no_thread(orders)
    if isinstance(orders, ExportOrders):
        return _exported(orders)
    try:
        if isinstance(orders, SortOrders):
            sort(Path(orders.path))
            _tell(_Sorted())
            return 0
        _tell(_imported(orders))
    except ZhenxianError as error:
        _tell(_Failure(str(error), type(error).__name__))
    return 0


def _no_thread(orders: _Orders) -> int:
    """The machine gives this process no thread, without which it might outlive the service."""
    if isinstance(orders, ExportOrders):
        return _cut_off("no thread can be started for it")
    text = "no thread can be started for it; nothing was changed"
    _tell(_Failure(text, StoreUnavailableError.__name__))
    return 0


def _cut_off(why: str) -> int:
    """An export has nothing but rows on its standard output: its status tells the rest."""
    configure_logging("info")
    logging.getLogger("zhenxian").error("an export was cut off: %s", why)
    return 1


def _exported(orders: ExportOrders) -> int:
    try:
        file = opened(Path(orders.path))
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        export_rows(file, orders.kind, sys.stdout, after=orders.after)
        sys.stdout.flush()
    except ZhenxianError as error:
        return _cut_off(str(error))
    return 0


def _imported(orders: ImportOrders) -> _Done:
    settings = Settings(**orders.settings)
    reading = reading_of(settings, plan_of(settings))
    file = opened(Path(orders.path), writer=True)
    try:
        work = Import(
            file,
            orders.kind,
            mode=orders.mode,
            identity_key=orders.identity_key,
            reading=reading,
            origin=orders.origin,
            **orders.how,
        )
        work.report.listed = orders.listed
        work.lines = orders.lines
        with os.fdopen(orders.source, "rb") as source, closing(lines_of(source)) as lines:
            report = work.run(lines)
    finally:
        file.close()
    for start in range(0, len(report.rejected), _AT_ONCE):
        _tell(_Refused(msgspec.json.encode(report.rejected[start : start + _AT_ONCE])[1:-1]))
    return _Done(
        rows=report.rows,
        changed=report.changed,
        unchanged=report.unchanged,
        taken_out=report.taken_out,
        rejections=report.rejections,
        written=report.written,
        reasons=report.reasons,
    )


def _tell(message: _Message) -> None:
    sys.stdout.buffer.write(_framed(message))
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    os.read(sys.stdin.fileno(), 1)  # no buffer's lock is held when the process ends by itself
    os._exit(1)
