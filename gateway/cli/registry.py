"""`zhenxian registry`: bulk import and export of the registry file."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import getpass
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gateway.app import open_fleet
from gateway.cli import records
from gateway.cli.common import Config, Json, console, errors, print_json, settings_of
from gateway.cli.records import Which, kind_of
from gateway.logs import pseudonym_key
from gateway.settings import Settings
from passport.errors import ConfigError
from registry.model import Kind
from stores.book import Book
from stores.bulk import Import, export_rows
from stores.embedded import REGISTRY_FILE
from stores.fleetimport import FleetImport
from stores.rows import Mode, Report

app = typer.Typer(
    no_args_is_help=True,
    help=f"The registry: {records.WHICH}.\n\n"
    "Commands ask a running service over its management API (--url, and an API key of the role that"
    " the API asks for). import and export work on the registry file of the settings' data folder;"
    " a running service takes an import over with its next batch of calls.",
)
records.register(app)


@app.command("import")
def import_(
    which: Which,
    file: Annotated[Path, typer.Argument(help="CSV with a header line; export shows the form.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
    config: Config = None,
    mode: Annotated[
        Mode, typer.Option(help="all-or-nothing: one refused row, and nothing is written.")
    ] = Mode.BEST_EFFORT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and write nothing.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an import of this file was cut off."),
    ] = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Write line and reason of refused rows to this CSV.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import rows from a CSV file.

    Each refused row is told with its line and reason. Rows that are registered already, as they
    are, change nothing. A subject's document_number is hashed while it is read.

    For example:

      zhenxian registry import subjects subjects.csv --reason "contracts of May" --dry-run

      zhenxian registry import holdings numbers.csv --reason "assigned" --mode all-or-nothing

    Exit status 1 when a row was refused.
    """
    kind = kind_of(which)
    settings = settings_of(config)
    try:
        size = file.stat().st_size
        stamp = f"{file.resolve()} {size} {file.stat().st_mtime_ns}"
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    name = hashlib.sha256(f"{kind.value} {stamp}".encode()).hexdigest()
    _make_folder(settings)
    author = f"command line ({getpass.getuser()})"
    identity_key = pseudonym_key(settings.registry.identity_key or settings.data / "identity.key")
    if settings.fleet.url:
        if resume:
            raise ConfigError("a fleet keeps no place to go on from: import the file again")
        report = asyncio.run(
            _into_fleet(
                settings, kind, file, size,
                {"author": author, "reason": reason, "now": int(time.time()), "mode": mode,
                 "dry_run": dry_run, "identity_key": identity_key},
                quiet=as_json,
            )
        )  # fmt: skip
        _finish(report, rejected, as_json=as_json)
    with _opened(settings) as book:
        done = book.import_line(name)
        if done and not resume and not dry_run:
            raise ConfigError(
                f"{file} was imported up to line {done} before: --resume goes on from there"
            )
        work = Import(
            book,
            kind,
            author=author,
            reason=reason,
            now=int(time.time()),
            mode=mode,
            dry_run=dry_run,
            identity_key=identity_key,
            resume=name if mode is Mode.BEST_EFFORT else "",
        )
        try:
            with (
                file.open(encoding="utf-8-sig", newline="") as lines,
                _bar(lines, size, quiet=as_json) as (counted, progress),
            ):
                report = work.run(counted, progress)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: {error}") from None
    _finish(report, rejected, as_json=as_json)


async def _into_fleet(
    settings: Settings, kind: Kind, file: Path, size: int, how: dict[str, Any], *, quiet: bool
) -> Report:
    registry = open_fleet(settings)
    try:
        await registry.start()
        work = FleetImport(registry, kind, **how)
        with (
            file.open(encoding="utf-8-sig", newline="") as lines,
            _bar(lines, size, quiet=quiet) as (counted, progress),
        ):
            return await work.run(counted, progress)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None
    finally:
        await registry.aclose()


def _finish(report: Report, rejected: Path | None, *, as_json: bool) -> NoReturn:
    if rejected is not None:
        _write_rejected(rejected, report)
    _tell(report, as_json=as_json)
    raise typer.Exit(1 if report.rejections else 0)


@app.command()
def export(
    which: Which,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; standard output when left out.")
    ] = None,
    config: Config = None,
) -> None:
    """Export all records of a kind as CSV that import reads back.

    Example: zhenxian registry export holdings holdings.csv
    """
    kind = kind_of(which)
    with _opened(settings_of(config)) as book:
        if file is None:
            export_rows(book, kind, sys.stdout)
            return
        try:
            with file.open("w", encoding="utf-8", newline="") as out:
                count = export_rows(book, kind, out)
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
    errors.print(f"{count} {which}")


def _make_folder(settings: Settings) -> None:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data folder {settings.data}: {error.strerror}") from None


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[Book]:
    _make_folder(settings)
    book = Book(settings.data / REGISTRY_FILE, writer=True)
    try:
        yield book
    finally:
        book.close()


@contextlib.contextmanager
def _bar(
    lines: TextIO, size: int, *, quiet: bool
) -> Iterator[tuple[Iterator[str], Callable[[int], None]]]:
    """The lines, and what to tell the number of rows: a bar follows the octets read."""
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for line in lines:
            read += len(line)
            yield line

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=quiet,
    ) as bar:
        task = bar.add_task("importing", total=size)

        def progress(rows: int) -> None:
            bar.update(task, completed=read, description=f"importing {rows:,}")

        yield counted(), progress


def _write_rejected(path: Path, report: Report) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(("line", "reason"))
            writer.writerows((row.line, row.reason) for row in report.rejected)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "rows": report.rows,
                "changed": report.changed,
                "unchanged": report.unchanged,
                "rejections": report.rejections,
                "written": report.written,
                "rejected": [{"line": r.line, "reason": r.reason} for r in report.rejected],
            }
        )
        return
    for row in report.rejected[:20]:
        errors.print(f"line {row.line}: {row.reason}", markup=False)
    if report.rejections > 20:
        errors.print(f"and {report.rejections - 20} more")
    console.print(
        f"{report.rows} rows: {report.changed} registered, {report.unchanged} unchanged,"
        f" {report.rejections} refused" + ("" if report.written else "; nothing was written")
    )
