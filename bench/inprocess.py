"""Our two paths without HTTP, in a process of their own on one core.

The process is wired by the service's own composition root, with production defaults:

    signing    SigningRequest → registry → decision → token → header field value
    verifying  header field value → screen → cached chain → signature → replay, holder → verdict

As in the service under load, BATCH requests are taken through each part together; sign-one and
verify-one take one at a time, as an idle service does. Nothing is counted on these paths: the
conduct of displays is off. sign-counted and verify-counted are the same with conduct as by
default: asked for findings before the answer, and counted after it.

sign-request and verify-request, only for profiles, begin and end with bytes: they add the dialect,
admission, metrics and log, so that what is missing to the figure over HTTP is the server's.

`python -m bench.inprocess PATH SECONDS WORLD DATA LIBRARY` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import os
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.machine import BenchError, free_port, output, pinned
from bench.services import our_settings, signing_body, verification_body
from bench.world import World, load_world
from zhenxian.api.calls.messages import (
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
)
from zhenxian.core.reasons import Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination
from zhenxian.passport.es256 import Choice
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.service.build import build
from zhenxian.service.collector import quieten_collector
from zhenxian.service.huge_pages import into_huge_pages
from zhenxian.service.service import Service
from zhenxian.service.settings import load_settings
from zhenxian.signer.analytics import observation
from zhenxian.signer.decide import decide, gather
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.sign import sign
from zhenxian.verifier.opened import Opened
from zhenxian.verifier.request import VerificationRequest

PATHS: Final = (
    "sign", "verify", "sign-counted", "verify-counted", "sign-one", "verify-one", "sign-request",
    "verify-request",
)  # fmt: skip
_UNCOUNTED: Final = ("sign", "verify", "sign-one", "verify-one")
BATCH: Final = 16  # requests a busy service finds waiting in one turn of its event loop
TOKENS_PER_SECOND: Final = 12_000  # more than any core verified so far
SIGNING_REQUESTS: Final = 10_000  # different ones, sent in a circle
TOP: Final = 25  # functions of a profile that are shown
_ROOT: Final = Path(__file__).resolve().parent.parent
_CHUNK: Final = 200  # operations between two looks at the clock
_SPARE_SECONDS: Final = 120


class Rate(Struct, frozen=True):
    """What one run did, in how many seconds of processor time."""

    operations: int
    seconds: float


def rate(world: World, path: str, core: int, seconds: int, library: Choice = Choice.AUTO) -> float:
    """Operations a second of one path on one core, in a fresh process. Raises BenchError."""
    text = _in_process(world, path, core, seconds, library)
    done = msgspec.json.decode(text.splitlines()[-1], type=Rate)
    return done.operations / done.seconds


def profile(world: World, path: str, core: int, seconds: int) -> str:
    """Where the time of one path goes: by function, and by native symbol where perf can be used.

    cProfile adds its own cost to every call of a Python function, so that its shares
    overstate small functions; perf's do not.
    """
    by_function = _in_process(world, path, core, seconds, Choice.AUTO, "--functions")
    if shutil.which("perf") is None:
        return f"{by_function}\n(perf is not installed: apt-get install linux-perf)"
    return f"{by_function}\n{_in_process(world, path, core, seconds, Choice.AUTO, '--symbols')}"


def _in_process(
    world: World, path: str, core: int, seconds: int, library: Choice, *options: str
) -> str:
    with tempfile.TemporaryDirectory(prefix="zhenxian-data-") as data:
        command = [sys.executable, "-m", "bench.inprocess"]
        command += [path, str(seconds), str(world.file), data, library.value, *options]
        shell = ["env", "--chdir", str(_ROOT), *pinned(core, command)]
        return output(shell, seconds + _SPARE_SECONDS)


class Loop(Struct, frozen=True):
    """A path, the requests it is fed and how many at a time; false is a wrong answer."""

    path: Callable[[list[Any]], bool]
    requests: Iterator[Any]
    batch: int = BATCH


def _service(world: World, data: Path, library: Choice, *, counted: bool) -> Service:
    shutil.copytree(world.registry, data / "data")
    file = data / "zhenxian.toml"
    text = our_settings(world, free_port(), data / "data", library, counted=counted)
    file.write_text(text, "utf-8")
    service = build(load_settings(file))
    quieten_collector()  # these two as serving does
    into_huge_pages()
    return service


def _signing(world: World, service: Service, batch: int) -> Loop:
    now = int(time.time())
    requests = [
        SigningRequest(
            TN(call.orig), Destination((TN(call.dest),)), now, Attestation.A, call.origid
        )
        for call in islice(world.calls(), SIGNING_REQUESTS)
    ]

    pipeline, conduct = service.pipeline, service.pipeline.signing.conduct

    def path(together: list[SigningRequest]) -> bool:
        credential = service.credential()
        if credential is None:
            return False
        service.registry.refresh()
        plan, spc = service.plan, credential.spc
        facts = [
            gather(r, service.registry, service.clock(), plan=plan, spc=spc, conduct=conduct)
            for r in together
        ]
        decided = [(r, decide(r, f)) for r, f in zip(together, facts, strict=True)]
        if any(d.attest is not Attestation.A for _, d in decided):
            return False
        if conduct is not None:
            for r, f in zip(together, facts, strict=True):
                seen = observation(r, f.access, f.binding, r.iat) if f.access is not None else None
                if seen is None:
                    return False
                conduct.observe(seen)
        good = all(sign(r, d, credential).identity for r, d in decided)
        pipeline.count()
        return good

    return Loop(path, cycle(requests), batch)


def _verifying(world: World, service: Service, seconds: int, batch: int) -> Loop:
    now = int(time.time())
    asyncio.run(_fetch(service, world))
    requests = [
        VerificationRequest(TN(call.orig), (TN(call.dest),), now, (token,))
        for call, token in world.tokens(seconds * TOKENS_PER_SECOND, now)
    ]

    verifier = service.verifier

    def path(together: list[VerificationRequest]) -> bool:
        now = int(time.time())
        opened = [verifier.open(request, now) for request in together]
        calls = [call for call in opened if isinstance(call, Opened)]
        for call in calls:
            call.check()
        verdicts = [verifier.close(call) for call in calls]
        service.pipeline.count()
        return len(verdicts) == len(together) and all(
            verdict.verstat is Verstat.PASSED for verdict in verdicts
        )

    return Loop(path, iter(requests), batch)


def _whole(route: str, bodies: Iterator[bytes], service: Service, expect: bytes) -> Loop:
    """The path with the dialect, log and metrics: from a request's body to the answer's."""
    headers = Headers(content_type=b"application/json", content_length=b"1")

    def path(together: list[bytes]) -> bool:
        given = service.calls.answer_all(
            [Incoming(route, b"POST", headers, body) for body in together]
        )
        service.calls.answered()
        return all(isinstance(answer, Answer) and expect in answer.body for answer in given)

    return Loop(path, bodies)


async def _fetch(service: Service, world: World) -> None:
    """Bring the chain and its revocation list into the caches."""
    call, token = next(world.tokens(1, int(time.time())))
    body = verification_body(call, token, int(time.time()))
    headers = Headers(content_length=str(len(body)).encode())
    try:
        incoming = Incoming(VERIFICATION, b"POST", headers, body)
        answer = await service.calls.answer_waiting(incoming)
    finally:
        await service.repository.close()  # its connections belong to this loop
    if b'"TN-Validation-Passed"' not in answer.body:
        raise BenchError(f"the first token was not believed: {answer.body!r}")


def _run(loop: Loop, seconds: float) -> Rate:
    """Feed requests until the time is over or none are left. Raises BenchError."""
    path, requests = loop.path, loop.requests
    clock = time.process_time  # as openssl speed counts, so that others on the core do not
    done = 0
    began = clock()
    end = began + seconds
    while clock() < end:
        before = done
        for _ in range(_CHUNK // loop.batch):
            together = list(islice(requests, loop.batch))
            if not together:
                break
            if not path(together):
                raise BenchError(f"a wrong answer to one of {together}")
            done += len(together)
        if done == before:
            break
    return Rate(done, clock() - began)


def _loop(path: str, world: World, service: Service, seconds: int) -> Loop:
    now = int(time.time())
    match path:
        case "sign" | "sign-one" | "sign-counted":
            return _signing(world, service, 1 if path == "sign-one" else BATCH)
        case "sign-request":
            calls = islice(world.calls(), SIGNING_REQUESTS)
            bodies = [signing_body(call, now) for call in calls]
            return _whole(SIGNING, cycle(bodies), service, b";info=<")
        case "verify" | "verify-one" | "verify-counted":
            return _verifying(world, service, seconds, 1 if path == "verify-one" else BATCH)
        case _:
            asyncio.run(_fetch(service, world))
            tokens = world.tokens(seconds * TOKENS_PER_SECOND, now)
            questions = [verification_body(call, token, now) for call, token in tokens]
            return _whole(VERIFICATION, iter(questions), service, b'"TN-Validation-Passed"')


def _functions(loop: Loop, seconds: float) -> str:
    profiler = cProfile.Profile()
    result = profiler.runcall(_run, loop, seconds)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(TOP)
    return f"{result.operations / result.seconds:,.0f}/s under cProfile\n{text.getvalue()}"


def _symbols(loop: Loop, seconds: float, folder: Path) -> str:
    """The share of libraries and symbols, by perf, of the loop alone."""
    data = str(folder / "perf.data")
    record = ["perf", "record", "--quiet", "--freq", "999", "--pid", str(os.getpid())]
    with subprocess.Popen(
        [*record, "--output", data], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as perf:
        result = _run(loop, seconds)
        perf.send_signal(signal.SIGINT)
        said = perf.communicate(timeout=60)[1]
    if not Path(data).is_file():
        return f"(perf cannot be used here: {said.strip()})"
    report = ["perf", "report", "--stdio", "--no-children", "--input", data]
    parts = [f"{result.operations / result.seconds:,.0f}/s under perf; shares of the samples"]
    for sort, least in (("dso", "0.5"), ("dso,symbol", "1")):
        text = output([*report, "--sort", sort, "--percent-limit", least])
        lines = (line.rstrip(" -") for line in text.splitlines() if not line.startswith("#"))
        parts.append("\n".join(line for line in lines if line))
    return "\n\n".join(parts)


def main(
    path: str, seconds: int, world_file: Path, data: Path, library: Choice, mode: str | None
) -> str:
    """Run one path. Returns the rate as JSON, or a profile."""
    world = load_world(world_file)
    service = _service(world, data, library, counted=path not in _UNCOUNTED)
    loop = _loop(path, world, service, seconds)
    gc.collect()
    gc.freeze()  # the prepared requests are ours, not the service's, to be looked through
    _run(loop, 0.2)
    if mode == "--functions":
        return _functions(loop, seconds)
    if mode == "--symbols":
        return _symbols(loop, seconds, data)
    return msgspec.json.encode(_run(loop, seconds)).decode()


if __name__ == "__main__":
    try:
        print(
            main(
                sys.argv[1],
                int(sys.argv[2]),
                Path(sys.argv[3]),
                Path(sys.argv[4]),
                Choice(sys.argv[5]),
                sys.argv[6] if len(sys.argv) > 6 else None,
            )
        )
    except BenchError as error:
        sys.exit(str(error))
