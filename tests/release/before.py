"""What the release before left behind (see make.py), put where this release finds it."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec

from zhenxian.registry.model import Kind
from zhenxian.stores.sqlite.file import RegistryFile

BEFORE = json.loads(gzip.decompress((Path(__file__).parent / "24fe2d7.json.gz").read_bytes()))


def unpack(files: dict[str, str], folder: Path) -> None:
    """Write its files into a folder, over those of the same name."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, body in files.items():
        path = folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(base64.b64decode(body))
        path.chmod(0o600)


def request(place: int) -> dict[str, bytes]:
    """The idempotency key of its commit."""
    return {"request": bytes([place]) * 32, "fingerprint": b"f%d" % place}


def content(file: RegistryFile) -> dict[str, Any]:
    """What make.py's function of this name told of the same file."""
    found: dict[str, Any] = {"last": list(file.last()), "commits": file.commits(0, 100)}
    keys = {(kind["kind"], kind["key"]) for one in found["commits"] for kind in one["changed"]}
    found["records"] = {
        kind.value: [[version, plain(record)] for version, record in file.page(kind).rows]
        for kind in Kind
    }
    found["history"] = {
        f"{kind} {key}": [plain(version) for version in file.history(Kind(kind), key)]
        for kind, key in sorted(keys)
    }
    return found


def plain(value: object) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


def lacking(expected: Any, found: Any, at: str = "") -> list[str]:
    """Where what is found is not as expected; members that are new are no fault."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            fault
            for name, value in expected.items()
            for fault in lacking(value, found.get(name), f"{at}/{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            return [f"{at}: {len(found)} instead of {len(expected)}"]
        return [
            fault
            for place, value in enumerate(expected)
            for fault in lacking(value, found[place], f"{at}/{place}")
        ]
    return [] if expected == found else [f"{at}: {found!r} instead of {expected!r}"]
