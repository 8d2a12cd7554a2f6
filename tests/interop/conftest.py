"""Peers from Debian. A peer that is missing fails its tests: `make test` installs it."""

from __future__ import annotations

import ctypes
import ctypes.util
import http.server
import shutil
import threading
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _sockets(socket_enabled):
    """Peers fetch certificates over loopback."""


@pytest.fixture(scope="session")
def secsipidx() -> str:
    found = shutil.which("secsipidx")
    if found is None:
        pytest.fail("secsipidx is missing: apt-get install secsipidx (scripts/peers test)")
    return found


@pytest.fixture(scope="session")
def libsecsipid() -> ctypes.CDLL:
    for name in ("libsecsipid.so.1", "libsecsipid.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    pytest.fail("libsecsipid is missing: apt-get install libsecsipid1 (scripts/peers test)")


class Files:
    """A loopback web server for one folder, and what was fetched from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        files = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                files.fetched.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def files(tmp_path, socket_enabled):
    folder = tmp_path / "www"
    folder.mkdir()
    served = Files(folder)
    yield served
    served.close()
