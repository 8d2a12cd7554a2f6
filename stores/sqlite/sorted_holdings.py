"""Holdings as sorted columns in a file beside the registry's, for calls to be looked up in.

SQLite finds a holding in some ten microseconds, a search in a sorted column takes one or two. The
registry's file stays the truth: the columns are made from one state of it (`sort`), and are asked
only about numbers that no commit touched since (`SortedHoldings.touch`); otherwise, and where a
column cannot hold a value, SQLite is asked.

One row for each holding, by first number, and of several with the same the largest first. Holdings
that share numbers lie one within the other, so that the row before a number is the most specific
holding that has it, or lies within that one: each row names the row around it.

The file has a name of its own (its token), which the registry's file is told when it is whole. A
registry that is put back to an earlier state, or is made anew in a fleet (its epoch changes), does
not name these columns any more, or is known to have been made of the same state.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import mmap
import os
import secrets
import sqlite3
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from zhenxian.certs.files import opened
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.model import Holding
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.holdings import HoldingTable
from zhenxian.stores.sqlite.numbers import number_key, range_of, where

NAMED: Final = "holdings.sorted"  # in meta: the token of the columns that are of this registry
EPOCH: Final = "fleet.epoch"  # in meta, of a replica: it was made anew
MAX_TOUCHED: Final = 1_000  # numbers that were changed since; with more, none are asked about
MAX_RANGES: Final = 64  # ranges that were: they are looked through one by one

_MAGIC: Final = b"zhenxian sorted holdings 1\n"
_HEAD: Final = struct.Struct(f"<{len(_MAGIC)}sIQ")  # magic, CRC-32 of what follows, description
_SHAPES: Final = "QIiIH"  # first number, size, row around it, owner, tail
_WIDTHS: Final = tuple(array(shape).itemsize for shape in _SHAPES)
_ALIGNED: Final = 8  # octets: where a column may begin
_PART: Final = 65_536  # rows written at a time
_AT_ONCE: Final = 1 << 20  # octets read at a time
_ALONE: Final = -1  # no row is around it
_LARGE: Final = 0xFFFFFFFF  # a size that does not fit: SQLite is asked
_UNTOLD: Final = 0xFFFF  # a tail that does not fit
_ROWS: Final = (
    "SELECT lo, -size, owner, title, evidence, verified_on FROM holdings WHERE class = ?"
    " ORDER BY lo, size DESC"
)


class Unsorted(Struct, frozen=True):
    """Says that SQLite is to be asked."""


UNSORTED: Final = Unsorted()


class _Described(Struct, frozen=True, kw_only=True):
    """What stands before the columns.

    Attributes:
        seq: the last commit that they have. epoch: that of a fleet's replica; None without one.
        tails: title, evidence and verified_on of holdings, by their numbers here.
    """

    token: str
    seq: int
    epoch: str | None
    rows: int
    tails: list[tuple[int, str, int]]


_decoder: Final = msgspec.msgpack.Decoder(_Described)


def columns_path(registry: Path) -> Path:
    """Where the columns of a registry file lie."""
    return registry.with_suffix(".sorted")


def _places(rows: int) -> list[int]:
    """Where each column begins, from the first on, and where the last ends."""
    places = [0]
    for width in _WIDTHS:
        end = places[-1] + rows * width
        places.append(end + -end % _ALIGNED)
    return places


# Making them -------------------------------------------------------------------------------------


def sort(registry: Path) -> bool:
    """Make the columns of a registry's present state; False where another process does so.

    Raises:
        StoreUnavailableError: a file cannot be read or written; or a fleet made the registry anew
            meanwhile.
    """
    target = columns_path(registry)
    making = target.with_suffix(".making")
    try:
        # Not emptied before it is locked: another process may be writing to it.
        descriptor = os.open(making, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(descriptor, making):
                return False
            try:
                os.ftruncate(descriptor, 0)
                _make(registry, descriptor, lambda: making.replace(target))
            except BaseException:
                making.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreUnavailableError(f"{target.name}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{registry.name}: {error}") from None
    return True


def _locked(descriptor: int, path: Path) -> bool:
    """True when the file is ours, and is still the one of that name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _make(registry: Path, out: int, finish: Callable[[], object]) -> None:
    file = RegistryFile(registry, writer=True)
    try:
        file.connection.run("BEGIN")  # one state for all that is read
        try:
            described = _write_all(file, out)
        finally:
            file.connection.run("ROLLBACK")
        finish()
        with file.transaction():
            if file.meta(EPOCH) != described.epoch:
                raise StoreUnavailableError(f"{registry.name} was made anew meanwhile")
            file.set_meta(NAMED, described.token)
    finally:
        file.close()


def _write_all(file: RegistryFile, out: int) -> _Described:
    """Write columns and what stands before them.

    The description is behind them, for it is as long as what was found; the head says where.
    """
    rows = int(file.connection.one("SELECT count(*) FROM holdings")[0])
    places = [_HEAD.size + -_HEAD.size % _ALIGNED + place for place in _places(rows)]
    tails: dict[tuple[int, str, int], int] = {}
    written = 0
    for columns in _parts(file, tails):
        for column, place, width in zip(columns, places, _WIDTHS, strict=False):
            os.pwrite(out, column.tobytes(), place + written * width)
        written += len(columns[0])
    described = _Described(
        token=secrets.token_hex(16),
        seq=file.last()[0],
        epoch=file.meta(EPOCH),
        rows=rows,
        tails=list(tails),
    )
    if written != rows:
        raise StoreUnavailableError(f"{file.path.name}: {written} of {rows} holdings are sorted")
    os.pwrite(out, msgspec.msgpack.encode(described), places[-1])
    crc = _crc(out, _HEAD.size)
    os.pwrite(out, _HEAD.pack(_MAGIC, crc, places[-1]), 0)
    return described


def _parts(
    file: RegistryFile, tails: dict[tuple[int, str, int], int]
) -> Iterator[tuple[array[int], ...]]:
    """Columns of some rows after the other. Raises StoreUnavailableError for what overlaps."""
    connection = file.connection
    classes = [class_ for (class_,) in connection.all("SELECT class FROM classes")]
    merged = heapq.merge(*(connection.db.execute(_ROWS, (class_,)) for class_ in classes))
    around: list[tuple[int, int]] = []  # last number and row of those that a row may lie in
    row = 0
    while part := list(itertools.islice(merged, _PART)):
        columns = tuple(array(shape) for shape in _SHAPES)
        firsts, sizes, outer, owners, told = columns
        for first, minus, owner, title, evidence, verified_on in part:
            last = first - minus
            while around and around[-1][0] < first:
                around.pop()
            if around and around[-1][0] < last:
                raise StoreUnavailableError(f"{file.path.name}: holdings overlap")
            firsts.append(first)
            sizes.append(min(-minus, _LARGE))
            outer.append(around[-1][1] if around else _ALONE)
            owners.append(owner)
            tail = (title, evidence or "", verified_on or 0)
            number = tails.get(tail, _UNTOLD)
            if number == _UNTOLD and len(tails) < _UNTOLD:
                number = tails[tail] = len(tails)
            told.append(number)
            if minus:
                around.append((last, row))
            row += 1
        yield columns


def _crc(descriptor: int, begin: int) -> int:
    crc = 0
    while part := os.pread(descriptor, _AT_ONCE, begin):
        crc = zlib.crc32(part, crc)
        begin += len(part)
    return crc


# Asking them -------------------------------------------------------------------------------------


class SortedHoldings:
    """The holdings of one state of a registry, and which numbers were touched since.

    Attributes:
        token: the name of these columns. seq, epoch: of the state.
    """

    def __init__(self, described: _Described, mapped: memoryview, places: Sequence[int]) -> None:
        self.token = described.token
        self.seq = described.seq
        self.epoch = described.epoch
        self._tails = described.tails
        firsts, sizes, around, owners, told = (
            mapped[place : place + described.rows * width]
            for place, width in zip(places, _WIDTHS, strict=False)
        )
        self._firsts = firsts.cast("Q")
        self._sizes = sizes.cast("I")
        self._around = around.cast("i")
        self._owners = owners.cast("I")
        self._told = told.cast("H")
        self._numbers: set[int] = set()
        self._ranges: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._firsts)

    def touch(self, key: str) -> bool:
        """Ask no more about the numbers of a holding; False when that are too many."""
        place = where(key)
        if place is not None:
            _, first, size = place
            if size:
                self._ranges.append((first, first + size))
            else:
                self._numbers.add(first)
        return len(self._numbers) <= MAX_TOUCHED and len(self._ranges) <= MAX_RANGES

    def covering(self, tn: TN, table: HoldingTable) -> Holding | Unsorted | None:
        """The most specific holding that covers the number; UNSORTED where SQLite knows.

        Args:
            table: of the registry's file, for the names of owners and titles.
        """
        if not tn.isdecimal():
            return None
        number = number_key(tn)
        if number in self._numbers:
            return UNSORTED
        for first, last in self._ranges:
            if first <= number <= last:
                return UNSORTED
        firsts, sizes = self._firsts, self._sizes
        row = bisect_right(firsts, number) - 1
        while row >= 0:
            size = sizes[row]
            if size == _LARGE:
                return UNSORTED
            if number <= firsts[row] + size:
                return self._holding(row, size, tn, table)
            row = self._around[row]
        return None

    def _holding(self, row: int, size: int, tn: TN, table: HoldingTable) -> Holding | Unsorted:
        tail = self._told[row]
        if tail == _UNTOLD:
            return UNSORTED
        title, evidence, verified_on = self._tails[tail]
        verification, use, spcs, reseller = table.title(title)
        return Holding(
            numbers=range_of(self._firsts[row], size) if size else TNRange(tn, tn),
            subject=table.owner(self._owners[row]),
            verification=verification,
            use=use,
            spcs=spcs,
            reseller=reseller,
            evidence=evidence,
            verified_on=verified_on,
        )


def load(registry: Path, token: str) -> SortedHoldings | None:
    """The columns of that name; None where there are none, or they are damaged.

    Reads the whole file: not for the event loop.
    """
    try:
        with opened(columns_path(registry)) as file:
            magic, crc, end = _HEAD.unpack(file.read(_HEAD.size))
            if magic != _MAGIC or _crc(file.fileno(), _HEAD.size) != crc:
                return None
            file.seek(end)
            described = _decoder.decode(file.read())
            if described.token != token:
                return None
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, struct.error, msgspec.MsgspecError):
        return None
    base = _HEAD.size + -_HEAD.size % _ALIGNED
    places = [base + place for place in _places(described.rows)]
    return SortedHoldings(described, mapped, places) if places[-1] == end else None
