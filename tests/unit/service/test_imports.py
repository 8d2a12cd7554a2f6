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
        (
            "zhenxian.cli.replaying",
            (*HEAVY, "zhenxian.service.settings", "zhenxian.cli.doctor", "redis"),
        ),
        ("zhenxian.service.supervisor", (*HEAVY, "pydantic", "asyncio")),
    ],
)
def test_nothing_is_imported_that_others_import(module, without):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(without)


def test_a_command_that_is_loaded_alone_is_loaded_by_its_name():
    code = "import sys, zhenxian.cli as c; c._app(['replay']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "zhenxian.cli.replay" in loaded
    assert "zhenxian.cli.commands" not in loaded
