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
from typing import Annotated, Any, Final, NoReturn, TextIO

import msgspec
import typer
from msgspec import structs
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from zhenxian.cli import records
from zhenxian.cli.client import Client, KeyFile
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.cli.configured import Config, settings_of
from zhenxian.cli.record_options import TakeOut, Which
from zhenxian.cli.record_words import WHICH, kind_of
from zhenxian.core.errors import ConfigError
from zhenxian.passport.words import fault, said
from zhenxian.registry.cells import HEAD, foreign, harmless, not_utf8
from zhenxian.registry.imports import MOST_LISTED, Mode, Origin, Rejected, Report
from zhenxian.registry.model import Kind
from zhenxian.service.data_folder import make_data_folder
from zhenxian.service.identity_key import identity_key_of
from zhenxian.service.numbers import plan_of, reading_of
from zhenxian.service.registry_files import joined, opened
from zhenxian.service.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help=f"The registry: {WHICH}.\n\n"
    "Commands ask a running service over its management API (--url, and an API key of the role that"
    " the API asks for). So do import and export with --url; without it they work on the"
    " registry file of the settings' data folder, and a running service takes an import over with"
    " its next batch of calls.",
)
records.register(app)
_PART: Final = 262_144  # octets of a file that are sent at once
OptionalUrl = Annotated[
    str | None,
    typer.Option(
        help="A running service, at the base address of its administration listener.",
        show_default=False,
    ),
]


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
    take_out: TakeOut = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an import of this file was cut off."),
    ] = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Write line and reason of refused rows to this CSV.")
    ] = None,
    url: OptionalUrl = None,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Import rows from a CSV file.

    Each refused row is told with its line and reason. Rows that are registered already, as they
    are, change nothing. A row that would take numbers out of a range of another subject is refused
    without --take-out. A subject's document_number is hashed while it is read.

    With --url the file is sent to a running service instead of read into this machine's registry
    file; --resume then goes on where an import of this very file to that service was cut off.

    For example:

      zhenxian registry import subjects subjects.csv --reason "contracts of May" --dry-run

      zhenxian registry import holdings numbers.csv --reason "assigned" --mode all-or-nothing

      zhenxian registry import holdings numbers.csv --reason "assigned" --url https://sti:8443

    Exit status 1 when a row was refused.
    """
    kind = kind_of(which)
    try:
        size = file.stat().st_size
        stamp = f"{file.resolve()} {size} {file.stat().st_mtime_ns}"
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    _refuse_foreign(file)
    name = hashlib.sha256(f"{kind.value} {stamp}".encode()).hexdigest()
    if url is not None:
        query = {
            "reason": reason,
            "mode": mode.value,
            "dry_run": str(dry_run).lower(),
            "take_out": str(take_out).lower(),
            "file": file.name[:255],
        }
        with Client(url, api_key_file) as client:
            report = _upload(client, which, file, size, query, name, resume=resume, quiet=as_json)
        with _rejections(rejected) as sink:
            if sink is not None:
                list(map(sink, report.rejected))
        _finish(report, as_json=as_json)
    settings = settings_of(config)
    make_data_folder(settings.data)
    origin = _origin(file)
    author = f"command line ({getpass.getuser()})"
    identity_key = identity_key_of(settings)
    reading = reading_of(settings, plan_of(settings))
    if settings.fleet.url:
        with _rejections(rejected) as sink:
            report = asyncio.run(
                _into_fleet(
                    settings, kind, file, size,
                    {"author": author, "reason": reason, "now": int(time.time()), "mode": mode,
                     "dry_run": dry_run, "take_out": take_out, "origin": origin,
                     "identity_key": identity_key, "reading": reading, "resume": name},
                    sink,
                    resume=resume,
                    quiet=as_json,
                )
            )  # fmt: skip
        _finish(report, as_json=as_json)
    with opened(settings) as registry, _rejections(rejected) as sink:
        _begun(file, registry.reached(name), resume=resume or dry_run)
        work = registry.importing(
            kind,
            author=author,
            reason=reason,
            now=int(time.time()),
            mode=mode,
            dry_run=dry_run,
            take_out=take_out,
            origin=origin,
            identity_key=identity_key,
            reading=reading,
            resume=name if mode is Mode.BEST_EFFORT else "",
        )
        work.report.sink = sink
        try:
            with (
                file.open(encoding="utf-8-sig", newline="") as lines,
                _counted(lines, size, quiet=as_json) as (counted, progress),
            ):
                report = work.run(counted, progress)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: {not_utf8(error)}") from None
        except OSError as error:
            raise ConfigError(f"{file}: {said(error)}") from None
    _finish(report, as_json=as_json)


def _origin(file: Path) -> Origin:
    """The file as the history names it; a pipe, which is read once, has no digest."""
    if not file.is_file():
        return Origin(file.name)
    try:
        with file.open("rb") as octets:
            return Origin(file.name, hashlib.file_digest(octets, "sha256").hexdigest())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _refuse_foreign(file: Path) -> None:
    if not file.is_file():  # a pipe is read once
        return
    try:
        with file.open("rb") as octets:
            why = foreign(octets.read(HEAD))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if why is not None:
        raise ConfigError(f"{file}: {why}")


def _begun(file: Path, line: int, *, resume: bool) -> None:
    if line and not resume:
        raise ConfigError(
            f"{file} was imported up to line {line} before: --resume goes on from there"
        )


def _upload(
    client: Client,
    which: str,
    file: Path,
    size: int,
    query: dict[str, str],
    name: str,
    *,
    resume: bool,
    quiet: bool,
) -> Report:
    """Send a file to a service; what became of its rows."""
    path = f"/v1/imports/{which}"
    _begun(file, client.get(path, name=name).get("line", 0), resume=resume)
    headers = {"content-type": "text/csv", "content-length": str(size)}
    try:
        with file.open("rb") as octets, _bar(size, quiet=quiet) as told:
            read = 0

            def parts() -> Iterator[bytes]:
                nonlocal read
                while part := octets.read(_PART):
                    read += len(part)
                    told(read, "sent" if read == size else "sending")
                    yield part

            answer = client.request(
                "POST",
                path,
                {**query, "name": name, "told": MOST_LISTED},
                headers=headers,
                upload=parts(),
            )
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    try:
        found = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the service's answer is not understood: {fault(error)}") from None
    members = structs.asdict(found)
    members["reasons"] = {each.reason: [each.count, each.line] for each in found.reasons}
    return Report(**members)


class _Alike(msgspec.Struct, frozen=True):
    reason: str
    count: int
    line: int


class _Answer(msgspec.Struct, frozen=True):
    rows: int
    changed: int
    unchanged: int
    rejections: int
    rejected: list[Rejected]
    written: bool
    reasons: list[_Alike] = []
    taken_out: int = 0


async def _into_fleet(
    settings: Settings,
    kind: Kind,
    file: Path,
    size: int,
    how: dict[str, Any],
    sink: Callable[[Rejected], object] | None,
    *,
    resume: bool,
    quiet: bool,
) -> Report:
    try:
        async with joined(settings) as registry:
            _begun(file, await registry.reached(how["resume"]), resume=resume or how["dry_run"])
            work = registry.importing(kind, **how)
            work.report.sink = sink
            with (
                file.open(encoding="utf-8-sig", newline="") as lines,
                _counted(lines, size, quiet=quiet) as (counted, progress),
            ):
                return await work.run(counted, progress)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: {not_utf8(error)}") from None
    except OSError as error:
        raise ConfigError(f"{file}: {said(error)}") from None


def _finish(report: Report, *, as_json: bool) -> NoReturn:
    _tell(report, as_json=as_json)
    raise typer.Exit(1 if report.rejections else 0)


@app.command()
def export(
    which: Which,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; standard output when left out.")
    ] = None,
    config: Config = None,
    url: OptionalUrl = None,
    api_key_file: KeyFile = None,
) -> None:
    """Export all records of a kind as CSV that import reads back.

    With --url from a running service, otherwise from this machine's registry file.

    Example: zhenxian registry export holdings holdings.csv
    """
    kind = kind_of(which)
    if url is not None:
        with Client(url, api_key_file) as client:
            _download(client, which, file)
        return
    with opened(settings_of(config)) as registry:
        if file is None:
            registry.export(kind, sys.stdout)
            return
        try:
            with file.open("w", encoding="utf-8", newline="") as out:
                count = registry.export(kind, out)
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
    errors.print(f"{count} {which}")


def _download(client: Client, which: str, file: Path | None) -> None:
    path = f"/v1/exports/{which}"
    if file is None:
        client.download(path, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    fresh = file.with_name(f".{file.name}.part")
    try:
        with fresh.open("wb") as out:
            client.download(path, out.write)
        fresh.replace(file)  # whole, or not at all
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def _bar(size: int, *, quiet: bool) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error; what to tell the octets read and what is being done."""
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

        def told(read: int, what: str) -> None:
            bar.update(task, completed=read, description=what)

        yield told


@contextlib.contextmanager
def _counted(
    lines: TextIO, size: int, *, quiet: bool
) -> Iterator[tuple[Iterator[str], Callable[[int], None]]]:
    """The lines, and what to tell the number of rows: a bar follows the octets read."""
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for line in lines:
            read += len(line)
            yield line

    with _bar(size, quiet=quiet) as told:
        yield counted(), lambda rows: told(read, f"importing {rows:,}")


@contextlib.contextmanager
def _rejections(path: Path | None) -> Iterator[Callable[[Rejected], object] | None]:
    """What takes every refused row, to a CSV file; None without one."""
    if path is None:
        yield None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(("line", "reason"))
            yield lambda row: writer.writerow((row.line, harmless(row.reason)))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "rows": report.rows,
                "changed": report.changed,
                "unchanged": report.unchanged,
                "taken_out": report.taken_out,
                "rejections": report.rejections,
                "written": report.written,
                "rejected": [{"line": r.line, "reason": r.reason} for r in report.rejected],
                "reasons": [
                    {"reason": reason, "count": count, "line": line}
                    for reason, (count, line) in report.reasons.items()
                ],
            }
        )
        return
    for row in report.rejected[:20]:
        errors.print(f"line {row.line}: {row.reason}")
    if report.rejections > 20:
        errors.print(f"and {report.rejections - 20} more; of all:")
        for reason, (count, line) in report.reasons.items():
            errors.print(f"{count} from line {line} on: {reason}")
    done = "registered" if report.written else "could be registered"
    console.print(
        f"{report.rows} rows: {report.changed} {done}, {report.unchanged} unchanged,"
        f" {report.rejections} refused"
        + (f"; {report.taken_out} out of others' ranges" if report.taken_out else "")
        + ("" if report.written else "; nothing was written")
    )
