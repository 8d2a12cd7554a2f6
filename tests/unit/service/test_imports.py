"""What a process imports before it serves: whoever waits for it waits for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("fastapi", "uvicorn", "zhenxian.service.build", "zhenxian.api.calls.service")


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("zhenxian.service.run", HEAVY),
        ("zhenxian.cli.serving", (*HEAVY, "zhenxian.simulation", "zhenxian.cli.doctor")),
        ("zhenxian.service.supervisor", (*HEAVY, "pydantic", "asyncio")),
    ],
)
def test_nothing_is_imported_that_others_import(module, without):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(without)
