"""Bulk import and export over the management API: CSV in, CSV out, memory bounded.

An upload goes to a file without a name in the data folder first: a slow client holds no
transaction, and a file that is cut off changes nothing.
"""

# Annotations name variables of the functions around them: they are not postponed here.
import csv
import errno
import io
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import (
    ImportAnswer,
    ImportProblem,
    Problem,
    ProgressAnswer,
)
from zhenxian.api.management.common import ALWAYS, PROBLEM_JSON, problems, requires
from zhenxian.api.management.pages import listed_last
from zhenxian.api.management.parameters import ModeOf, Reason, TakeOut
from zhenxian.api.management.uploads import Uploads
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.core.errors import ConfigError, StoreFullError, StoreUnavailableError
from zhenxian.registry.cells import HEAD, cell, foreign
from zhenxian.registry.forms import row_of
from zhenxian.registry.imports import MOST_LISTED, Imports, Mode, Origin, Report
from zhenxian.registry.members import COLUMNS
from zhenxian.registry.model import NAMES, Kind
from zhenxian.registry.store import Records, RegistryStore

_logger = logging.getLogger(__name__)

CSV: Final = "text/csv"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FIRST: Final = 100  # records of an export that no process is started for

_KINDS: Final = {name: kind for kind, name in NAMES.items()}
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {CSV: {"schema": {"type": "string"}}},
        "description": "CSV in UTF-8 with a header line, as the export writes it; of subjects also"
        " document_number, which is hashed.",
    }
}

Which = Annotated[
    str, Path(json_schema_extra={"enum": list(_KINDS)}, description="What the rows are.")
]
Name = Annotated[
    str,
    Query(
        max_length=128,
        description="Names this import, so that it can be gone on with: the same file sent again"
        " under the name it was cut off with, what was taken is passed over; another file is taken"
        " from its start. Best effort only.",
    ),
]
DryRun = Annotated[bool, Query(description="Check everything and write nothing.")]
FileName = Annotated[
    str, Query(max_length=255, description="The file's name, for the history.", alias="file")
]
Told = Annotated[
    int, Query(ge=0, le=MOST_LISTED, description="Refused rows that are listed; all are counted.")
]


class _Export(StreamingResponse):
    """CSV whose end may not come: its status is sent by then, and the connection is closed."""

    async def stream_response(self, send: Send) -> None:
        """Send it. One that is cut off is left without its end, as whoever reads it can tell."""
        try:
            await super().stream_response(send)
        except StoreUnavailableError as error:
            _logger.warning("%s, and so was its answer", error)


@contextmanager
def _told_full() -> Iterator[None]:
    """Answers 507 when the disk has no room for the upload, or for what is registered by it.

    Raises:
        StoreUnavailableError: it takes nothing for another reason.
    """
    try:
        yield
    except StoreFullError as error:
        raise HTTPException(507, f"{error}; what was committed before stays") from None
    except OSError as error:
        if error.errno not in _FULL:
            raise StoreUnavailableError(
                f"the data folder takes no upload ({error.strerror or error}); nothing was changed"
            ) from None
        raise HTTPException(
            507, f"the disk has no room for the upload ({error.strerror}); nothing was changed"
        ) from None


def bulk_router(
    registry: RegistryStore,
    authenticator: Authenticator,
    *,
    imports: Imports,
    max_import: int,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The routes of imports and exports."""
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1",
        tags=["Bulk"],
        responses=ALWAYS
        | problems(
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c404="There are no such records.",
            c422="A value is missing or unusable; the detail names it.",
            c503="The registry cannot be asked, or does not take it.",
        ),
    )
    write = requires(authenticator, Thing.SHEETS, Action.IMPORT)
    read = requires(authenticator, Thing.SHEETS, Action.EXPORT)
    uploads = Uploads()

    @routes.post(
        "/imports/{records}",
        summary="Import many records",
        description=f"Up to {max_import} octets of CSV, streamed; larger files in parts, or by"
        " `zhenxian registry import` on the machine. Rows that are registered already, as they"
        " are, change nothing. Best effort commits as it goes; the answer comes at the end. Of a"
        " running fleet, all-or-nothing and dry runs take 10,000 rows.",
        operation_id="import_records",
        responses={
            **answered("What became of the rows.", ImportAnswer),
            **problems(
                c408="It was slow, and made way for another upload.",
                c413="The body is too large.",
                c415="Only text/csv is read.",
                c507="The disk has no room for it. What was committed before stays.",
            ),
            **problems(
                ImportProblem,
                c422="A value or the file is unusable; or, all or nothing, rows were refused, and"
                " the report's members stand beside the problem's.",
            ),
        },
        openapi_extra=_UPLOAD,
    )
    async def import_(
        principal: Annotated[Principal, write],
        request: Request,
        records: Which,
        reason: Reason,
        mode: ModeOf = Mode.BEST_EFFORT.value,
        dry_run: DryRun = False,
        take_out: TakeOut = False,
        file_name: FileName = "",
        name: Name = "",
        told: Told = 1_000,
    ) -> Response:
        kind = _kind(records)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CSV:
            raise HTTPException(415, f"content-type: {CSV} expected")
        with (
            uploads.place() as upload,
            _told_full(),
            tempfile.TemporaryFile(dir=imports.folder) as file,
        ):
            digest = await upload.spool(request, file, max_import)
            _refuse_foreign(file)
            how: dict[str, Any] = {
                "author": f"{principal.name} ({principal.id})",
                "reason": reason,
                "now": int(clock()),
                "mode": Mode(mode),
                "dry_run": dry_run,
                "take_out": take_out,
                "origin": Origin(file_name, digest),
                "resume": f"{_stored(principal, kind, name)}\n{digest}" if name else "",
            }
            report = await imports.run(kind, file, told, **how)
        return await _answer(report, refused=not report.written and not dry_run)

    @routes.get(
        "/imports/{records}",
        summary="How far a named import came",
        operation_id="read_import",
        responses=answered("The last line that was taken.", ProgressAnswer),
    )
    async def progress(
        principal: Annotated[Principal, write],
        records: Which,
        name: Annotated[str, Query(min_length=1, max_length=128)],
    ) -> dict[str, int]:
        stored = _stored(principal, _kind(records), name)
        return {"line": await imports.reached(stored)}

    @routes.get(
        "/exports/{records}",
        summary="Export all records of a kind",
        operation_id="export_records",
        description="CSV that the import reads back. Records that change meanwhile may be told as"
        " they were or as they are.",
        response_class=StreamingResponse,
        responses={200: {"description": "CSV.", "content": {CSV: {"schema": {"type": "string"}}}}},
        dependencies=[read],
    )
    async def export(records: Which) -> StreamingResponse:
        kind = _kind(records)
        text, following = await registry.read(lambda records: _first(records, kind))
        rest = await _begun(imports.rest(kind, following)) if following is not None else None
        return _Export(_parts(text, rest), media_type=CSV)

    return routes


def _kind(records: str) -> Kind:
    try:
        return _KINDS[records]
    except KeyError:
        raise HTTPException(404, f"one of {', '.join(_KINDS)} expected") from None


def _stored(principal: Principal, kind: Kind, name: str) -> str:
    """The name under which progress is kept: each client has names of its own.

    Beside it stands the digest of the file, lest rows of one be passed over for those of another.
    """
    return f"api {principal.id} {kind.value} {name}"


def _refuse_foreign(file: IO[bytes]) -> None:
    """Raises ConfigError for a workbook, or a file in another encoding."""
    why = foreign(file.read(HEAD))
    if why is not None:
        raise ConfigError(why)
    file.seek(0)


async def _answer(report: Report, *, refused: bool) -> Response:
    told: dict[str, Any] = {
        "rows": report.rows,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "taken_out": report.taken_out,
        "rejections": report.rejections,
        "reasons": [
            {"reason": reason, "count": count, "line": line}
            for reason, (count, line) in report.reasons.items()
        ],
        "written": report.written,
    }
    if not refused:
        return await listed_last(told, "rejected", report.rejected, written=report.written_out)
    trouble: Problem = {
        "type": "about:blank",
        "title": "Nothing was imported",
        "status": 422,
        "detail": f"{report.rejections} of {report.rows} rows are refused",
    }
    return await listed_last(
        {**trouble, **told},
        "rejected",
        report.rejected,
        422,
        PROBLEM_JSON,
        written=report.written_out,
    )


def _first(records: Records, kind: Kind) -> tuple[bytes, str | None]:
    """The first records as CSV, and where the next ones begin."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS[kind])
    page = records.page(kind, limit=_FIRST)
    for _, record in page.rows:
        row = row_of(record)
        writer.writerow([cell(row[column]) for column in COLUMNS[kind]])
    return out.getvalue().encode(), page.following


async def _begun(rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same parts, of which there is one already: what cannot begin is told as an error."""
    part = await anext(rest, b"")

    async def parts() -> AsyncIterator[bytes]:
        yield part
        async for other in rest:
            yield other

    return parts()


async def _parts(text: bytes, rest: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    yield text
    if rest is not None:
        async for part in rest:
            yield part
