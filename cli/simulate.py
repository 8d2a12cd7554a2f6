"""`zhenxian simulate`: made-up traffic of a country, honest and not, for a running service."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final
from urllib.parse import urlencode

import msgspec
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, ServiceUnreachableError, segment
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.core.errors import ConfigError
from zhenxian.registry.forms import row_of
from zhenxian.registry.imports import Mode
from zhenxian.registry.members import COLUMNS
from zhenxian.registry.model import KINDS as RECORD_KINDS
from zhenxian.registry.model import NAMES, Binding, Record
from zhenxian.registry.model import Kind as Records
from zhenxian.simulation import COUNTRY, Call, Kind, Scenario, Traffic
from zhenxian.simulation.client import SIGNING, VERIFICATION
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.stream import Ask, Proxy, Tally, paced, registrable

KINDS: Final = {
    kind.name.lower().replace("_", "-"): kind for kind in Kind if kind is not Kind.CARRIER
}
# Carriers of their own without customers, which the service that is asked is not.
_FOREIGN: Final = {Kind.MINTER, Kind.ORIGID_POOL}
# A few callers of most kinds; a country's shares have no pool among so few.
TOWN: Final = {
    Kind.SUBSCRIBER: 100, Kind.ROAMER: 20, Kind.RIDER: 3, Kind.OFFICE: 3, Kind.SHOP: 5,
    Kind.CALL_CENTRE: 1, Kind.COURIER: 1, Kind.MERCHANTS: 1, Kind.BRANCHES: 1, Kind.POOL: 1,
    Kind.SLOW_POOL: 1, Kind.SIM_BOX: 1, Kind.UNVERIFIED: 1, Kind.RETURNED: 1, Kind.BINDER: 1,
    Kind.REPLAYED: 1, Kind.PASTED: 1,
}  # fmt: skip
_RATE: Final = 50.0  # calls a second
_WHY: Final = "simulation"
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode

OUTCOMES: Final = ("refused", "failed", "labelled", "passed", "signed")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=NUMBER",
            help=f"How many callers of a kind; may be repeated. Kinds: {', '.join(KINDS)}. Default:"
            " a small town with some of most kinds.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Callers in all, by a country's shares or those of --share.", show_default=False
        ),
    ] = None,
    days: Annotated[int, typer.Option(help="Simulated days.")] = 1,
    split: Annotated[
        int, typer.Option(help="Accesses over which each dishonest caller spreads.")
    ] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help=f"Calls a second, evenly. Default: {_RATE:g}.", show_default=False
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Instead of --rate: simulated seconds in one second; keeps rushes and nights.",
            show_default=False,
        ),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many calls.", show_default=False)
    ] = None,
    sign_only: Annotated[bool, typer.Option("--sign-only", help="Verify nothing.")] = False,
    url: Annotated[str, typer.Option(help="Base address of the service that signs.")] = DEFAULT_URL,
    verify_url: Annotated[
        str | None,
        typer.Option(
            help="Base address of the one that verifies. Default: --url.", show_default=False
        ),
    ] = None,
    admin_url: Annotated[
        str | None,
        typer.Option(help="Its administration listener. Default: --url.", show_default=False),
    ] = None,
    api_key_file: KeyFile = None,
    known: Annotated[
        bool, typer.Option("--known", help="The records are in the registry already.")
    ] = False,
    records: Annotated[
        Path | None,
        typer.Option(
            help="Write the records as CSV to this folder, place no call, and say how to"
            " import them.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the calls to this file (JSON lines); ask no service.", show_default=False
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Where the truth goes (JSON lines). Default: truth.jsonl, beside --out.",
            show_default=False,
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="Also write each answer to this file (JSON lines).", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send made-up traffic to a running service, and count its answers.

    It registers the callers over the management API, then signs and verifies one call after
    another, as a proxy would; replayed and pasted tokens are sent as they are. It prints answers
    by reason, and by what the callers truly are, which the service never learns.

    Time is compressed. A token is fresh for a minute, so iat is the present, and a day's calls come
    within minutes. Measures of calls an hour see the pace of --rate or --speed: they do not find
    robots in less than three quarters of an hour, and honest callers look as busy. `make eval`
    measures those. One service signs for all carriers; a binding of a privacy number is
    written before each call that needs one.

    For example:

      zhenxian simulate --rate 100

      zhenxian simulate --share pool=1 --share shop=20 --calls 2000 --answers answers.jsonl

      zhenxian simulate --size 10000 --records ./records

      zhenxian simulate --share robot=1 --seed 7 --out calls.jsonl

    Exit status 0 whatever the answers say.
    """
    scenario = _scenario(seed, share, size, days, split)
    if rate is not None and speed is not None:
        raise typer.BadParameter("--rate and --speed exclude each other")
    if out is not None and (sign_only or answers is not None or records is not None):
        raise typer.BadParameter("--out asks no service")
    traffic = Traffic(scenario)
    known_as = list(registrable(traffic.records(), traffic.shared_accesses()))
    if records is not None:
        _write_records(records, known_as)
        return
    truth = truth or (out.parent if out is not None else Path()) / "truth.jsonl"
    stream: Iterator[Call] = islice(traffic.calls(), calls)
    if out is not None:
        count = _write(out, _shown(stream, scenario, quiet=as_json))
        rows = _write(truth, traffic.truth())
        _say(f"{count} calls in {out}, {rows} rows of truth in {truth}", as_json=as_json,
             told={"calls": count, "truth": rows})  # fmt: skip
        return
    with ExitStack() as open_:
        client = open_.enter_context(Client(url, api_key_file))
        there = open_.enter_context(Client(verify_url, api_key_file)) if verify_url else client
        admin = open_.enter_context(Client(admin_url, api_key_file)) if admin_url else client
        kept = open_.enter_context(_opened(answers)) if answers is not None else None
        if not known:
            _register(admin, known_as, quiet=as_json)
        proxy = Proxy(
            _asking(client, SIGNING),
            None if sign_only else _asking(there, VERIFICATION),
            lambda binding: _lend(admin, binding),
            time.time,
        )
        due = paced(
            stream, time.monotonic, time.sleep,
            rate=(rate or _RATE) if speed is None else 0.0, speed=speed or 0.0,
        )  # fmt: skip
        tally = _placed(proxy, _shown(due, scenario, quiet=as_json), kept)
    _write(truth, traffic.truth())
    _tell(tally, traffic, truth, as_json=as_json)


def _placed(proxy: Proxy, stream: Iterable[Call], kept: BinaryIO | None) -> Tally:
    """Place the calls, until they end or somebody interrupts; count and keep the answers."""
    tally = Tally()
    try:
        for call in stream:
            answer = proxy.place(call)
            tally.add(call, answer)
            if kept is not None and answer is not None:
                kept.write(_encode(answer) + b"\n")
    except KeyboardInterrupt:
        errors.print("interrupted; what was placed is told")
    return tally


def _scenario(
    seed: int, share: list[str] | None, size: int | None, days: int, split: int
) -> Scenario:
    shares: Mapping[Kind, float] = TOWN
    if share:
        shares = dict(map(_share, share))
    elif size is not None:
        shares = {kind: number for kind, number in COUNTRY.items() if kind not in _FOREIGN}
    if size is None:
        size = round(sum(shares.values()))
    return Scenario(seed=seed, size=size, shares=shares, days=days, split=split)


def _share(text: str) -> tuple[Kind, float]:
    name, _, number = text.partition("=")
    if name not in KINDS:
        raise typer.BadParameter(f"{text}: one of {', '.join(KINDS)} expected")
    try:
        return KINDS[name], float(number)
    except ValueError:
        raise typer.BadParameter(f"{text}: KIND=NUMBER expected") from None


def _shown(stream: Iterable[Call], scenario: Scenario, *, quiet: bool) -> Iterator[Call]:
    """The same calls, with a bar of simulated time."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[count]:,} calls"),
    )  # fmt: skip
    with Progress(*columns, console=errors, transient=True, disable=quiet) as bar:
        task = bar.add_task("simulated time", total=scenario.days * DAY, count=0)
        for count, call in enumerate(stream, 1):
            yield call
            bar.update(task, completed=call.at - scenario.start, count=count)


def _asking(client: Client, path: str) -> Ask:
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        status, told = client.exchange("POST", path, body)
        if not isinstance(told, dict):
            raise ServiceUnreachableError(
                f"status {status} and no answer of this service to {path}"
            )
        return status, told

    return ask


def _lend(admin: Client, binding: Binding) -> bool:
    """Write a binding; one that is refused leaves the call unbound, as it would be."""
    row = row_of(binding)
    name = row.pop("id")
    status, _ = admin.exchange(
        "PUT", f"/v1/bindings/{segment(name)}?{urlencode({'reason': _WHY})}",
        {member: value for member, value in row.items() if value not in (None, "")},
    )  # fmt: skip
    return 200 <= status < 300


def _register(admin: Client, records: list[Record], *, quiet: bool) -> None:
    """Import all records, kind by kind. What is there already stays as it is.

    Raises:
        ConfigError: a record was refused; nothing of its kind was written.
    """
    with Progress(console=errors, transient=True, disable=quiet) as bar:
        task = bar.add_task("registering", total=len(records))
        for kind, some in _by_kind(records).items():
            octets = "".join(_csv(kind, some)).encode()
            told = admin.request(
                "POST",
                f"/v1/imports/{NAMES[kind]}",
                {"reason": _WHY, "mode": Mode.ALL_OR_NOTHING.value},
                headers={"content-type": "text/csv", "content-length": str(len(octets))},
                upload=iter((octets,)),
            )
            if told.get("rejections"):
                first = told["rejected"][0]["reason"]
                raise ConfigError(
                    f"{NAMES[kind]}: {told['rejections']} refused; the first: {first}"
                )
            bar.advance(task, len(some))


def _by_kind(records: list[Record]) -> dict[Records, list[Record]]:
    found: dict[Records, list[Record]] = {}
    for record in records:
        found.setdefault(RECORD_KINDS[type(record)], []).append(record)
    return found


def _csv(kind: Records, records: Iterable[Record]) -> Iterator[str]:
    """Lines as `zhenxian registry import` reads them."""
    line = StringIO()
    writer = csv.writer(line)
    writer.writerow(COLUMNS[kind])
    for record in records:
        row = row_of(record)
        writer.writerow([_cell(row[name]) for name in COLUMNS[kind]])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _write_records(folder: Path, records: list[Record]) -> None:
    """CSV files that `zhenxian registry import` reads, and how."""
    by_kind = _by_kind(records)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, some in by_kind.items():
            with (folder / f"{NAMES[kind]}.csv").open("w", encoding="utf-8", newline="") as file:
                file.writelines(_csv(kind, some))
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    for kind in by_kind:
        name = NAMES[kind]
        console.print(f'zhenxian registry import {name} {folder}/{name}.csv --reason "{_WHY}"')


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _write(path: Path, values: Iterable[Any]) -> int:
    """One JSON object a line; how many."""
    count = 0
    with _opened(path) as file:
        for value in values:
            file.write(_encode(value) + b"\n")
            count += 1
    return count


def _say(text: str, *, as_json: bool, told: Mapping[str, Any]) -> None:
    if as_json:
        print_json(told)
    else:
        console.print(text)


def _tell(tally: Tally, traffic: Traffic, truth: Path, *, as_json: bool) -> None:
    kinds = tally.by_kind(traffic.truth())
    if as_json:
        print_json(
            {
                "answers": [
                    {"outcome": outcome, "reason": reason, "calls": count}
                    for (outcome, reason), count in tally.reasons.most_common()
                ],
                "kinds": {kind.value: _counted(counts) for kind, counts in kinds.items()},
                "not_placed": tally.lost,
                "truth": str(truth),
            }
        )
        return
    table = Table(title="Answers", title_justify="left")
    for column in ("outcome", "reason", "calls"):
        table.add_column(column, justify="right" if column == "calls" else "left")
    for (outcome, reason), count in tally.reasons.most_common():
        table.add_row(outcome, reason, f"{count:,}")
    console.print(table)
    table = Table(title="By kind, as the simulator knows them", title_justify="left")
    table.add_column("kind")
    table.add_column("is")
    for outcome in ("calls", *OUTCOMES):
        table.add_column(outcome, justify="right")
    table.add_column("mostly", overflow="fold")
    for kind, counts in kinds.items():
        told = _counted(counts)
        table.add_row(
            kind.value, "honest" if kind.honest else "not honest", f"{told['calls']:,}",
            *(f"{told[outcome]:,}" for outcome in OUTCOMES),
            ", ".join(f"{reason} {count}" for reason, count in told["reasons"].items()),
        )  # fmt: skip
    console.print(table)
    if tally.lost:
        console.print(f"{tally.lost} stolen tokens were never signed: those calls were not placed")
    console.print(f"the truth is in {truth}")


def _counted(counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    by_outcome: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for (outcome, reason), count in counts.items():
        by_outcome[outcome] += count
        by_reason[reason] += count
    return {
        "calls": sum(counts.values()),
        **{outcome: by_outcome[outcome] for outcome in OUTCOMES},
        "reasons": dict(by_reason.most_common(3)),
    }
