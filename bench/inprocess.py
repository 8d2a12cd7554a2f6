"""Our two paths without HTTP, in a process of their own on one core.

The process is wired by the service's own composition root, with production defaults:

    signing    SigningRequest → registry → decision → token → header field value
    verifying  header field value → screen → cached chain → signature → replay, holder → verdict

`python -m bench.inprocess sign|verify SECONDS WORLD DATA` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import pstats
import shutil
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
from bench.services import our_settings, verification_body
from bench.world import World, load_world
from gateway.app import Service
from gateway.calls import VERIFICATION, Headers
from gateway.settings import load_settings
from passport.claims import Destination
from passport.ppt.shaken import Attestation
from passport.reasons import Verstat
from passport.tn import TN
from signer.decide import decide, gather
from signer.request import SigningRequest
from signer.sign import sign
from verifier.request import VerificationRequest
from verifier.verdict import Verdict

PATHS: Final = ("sign", "verify")
TOKENS_PER_SECOND: Final = 12_000  # more than any core verified so far
SIGNING_REQUESTS: Final = 10_000  # different ones, sent in a circle
TOP: Final = 25  # functions of a profile that are shown
_ROOT: Final = Path(__file__).resolve().parent.parent
_CHUNK: Final = 200  # operations between two looks at the clock
_SPARE_SECONDS: Final = 120


class Rate(Struct, frozen=True):
    """What one run did."""

    operations: int
    seconds: float


def rate(world: World, path: str, core: int, seconds: int) -> float:
    """Operations a second of one path on one core, in a fresh process. Raises BenchError."""
    text = _in_process(world, path, core, seconds, ())
    done = msgspec.json.decode(text.splitlines()[-1], type=Rate)
    return done.operations / done.seconds


def profile(world: World, path: str, core: int, seconds: int) -> str:
    """Where the time of one path goes: by function, and by native symbol where perf can be used.

    cProfile adds its own cost to every call of a Python function, so that its shares
    overstate small functions; perf's do not.
    """
    by_function = _in_process(world, path, core, seconds, (), "--profile")
    if shutil.which("perf") is None:
        return by_function + "\n(perf is not installed: apt-get install linux-perf)"
    with tempfile.TemporaryDirectory(prefix="zhenxian-perf-") as folder:
        data = str(Path(folder) / "perf.data")
        record = ("perf", "record", "--quiet", "--freq", "999", "--output", data, "--")
        try:
            _in_process(world, path, core, seconds, record)
            report = ("perf", "report", "--stdio", "--no-children", "--input", data)
            symbols = output((*report, "--sort", "dso,symbol", "--percent-limit", "0.7"))
        except BenchError as error:
            return f"{by_function}\n(perf cannot be used here: {str(error).splitlines()[-1]})"
    lines = [line for line in symbols.splitlines() if line.strip() and not line.startswith("#")]
    return f"{by_function}\nperf, share of samples by library and symbol:\n" + "\n".join(lines)


def _in_process(
    world: World, path: str, core: int, seconds: int, prefix: tuple[str, ...], *options: str
) -> str:
    with tempfile.TemporaryDirectory(prefix="zhenxian-data-") as data:
        command = [*prefix, sys.executable, "-m", "bench.inprocess"]
        command += [path, str(seconds), str(world.file), data, *options]
        shell = ["env", "--chdir", str(_ROOT), *pinned(core, command)]
        return output(shell, seconds + _SPARE_SECONDS)


class Loop(Struct, frozen=True):
    """A path, and the requests it is fed; false from the path is a wrong answer."""

    path: Callable[[Any], bool]
    requests: Iterator[Any]


def _service(world: World, data: Path) -> Service:
    file = data / "zhenxian.toml"
    file.write_text(our_settings(world, free_port(), data / "data"), "utf-8")
    return Service(load_settings(file))


def _signing(world: World, service: Service) -> Loop:
    now = int(time.time())
    requests = [
        SigningRequest(
            TN(call.orig), Destination((TN(call.dest),)), now, Attestation.A, world.origid
        )
        for call in islice(world.calls(), SIGNING_REQUESTS)
    ]

    def path(request: SigningRequest) -> bool:
        credential = service.credential()
        decision = decide(request, gather(request, service.registry))
        if credential is None or decision.attest is not Attestation.A:
            return False
        return bool(sign(request, decision, credential).identity)

    return Loop(path, cycle(requests))


def _verifying(world: World, service: Service, seconds: int) -> Loop:
    now = int(time.time())
    asyncio.run(_fetch(service, world))
    requests = [
        VerificationRequest(TN(call.orig), (TN(call.dest),), now, (token,))
        for call, token in world.tokens(seconds * TOKENS_PER_SECOND, now)
    ]

    def path(request: VerificationRequest) -> bool:
        verdict = service.verifier.verify(request, int(time.time()))
        return isinstance(verdict, Verdict) and verdict.verstat is Verstat.PASSED

    return Loop(path, iter(requests))


async def _fetch(service: Service, world: World) -> None:
    """Bring the chain and its revocation list into the caches."""
    call, token = next(world.tokens(1, int(time.time())))
    body = verification_body(call, token, int(time.time()))
    headers = Headers(content_length=str(len(body)).encode())
    try:
        answer = await service.calls.answer_waiting(VERIFICATION, b"POST", headers, body)
    finally:
        await service.close()
    if b'"TN-Validation-Passed"' not in answer.body:
        raise BenchError(f"the first token was not believed: {answer.body!r}")


def _run(loop: Loop, seconds: float) -> Rate:
    """Feed requests until the time is over or none are left. Raises BenchError."""
    path, requests, clock = loop.path, loop.requests, time.perf_counter
    done = 0
    began = clock()
    end = began + seconds
    while clock() < end:
        before = done
        for request in islice(requests, _CHUNK):
            if not path(request):
                raise BenchError(f"a wrong answer to {request}")
            done += 1
        if done == before:
            break
    return Rate(done, clock() - began)


def main(path: str, seconds: int, world_file: Path, data: Path, *, profiled: bool) -> str:
    """Run one path. Returns the rate as JSON, or the profile."""
    world = load_world(world_file)
    service = _service(world, data)
    loop = _signing(world, service) if path == "sign" else _verifying(world, service, seconds)
    gc.collect()
    _run(loop, 0.2)
    if not profiled:
        return msgspec.json.encode(_run(loop, seconds)).decode()
    profiler = cProfile.Profile()
    result = profiler.runcall(_run, loop, seconds)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(TOP)
    return f"{result.operations / result.seconds:.0f}/s under cProfile\n{text.getvalue()}"


if __name__ == "__main__":
    try:
        print(
            main(
                sys.argv[1],
                int(sys.argv[2]),
                Path(sys.argv[3]),
                Path(sys.argv[4]),
                profiled="--profile" in sys.argv,
            )
        )
    except BenchError as error:
        sys.exit(str(error))
