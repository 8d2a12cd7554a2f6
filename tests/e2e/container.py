"""Images built with buildah and run with util-linux: no daemon, and root or not.

A container here is what `docker run --read-only --tmpfs /tmp -v …` makes, but for its network,
which is this machine's: mounts, processes and root of its own, the image's user, environment,
folder and command, no capabilities and no new privileges.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "build" / "image-base"  # a minimal Debian: what the image is built on, not what it is
ROOMY = Path("/var/tmp")  # what tests write otherwise may be in memory
BASE = "localhost/base"
IMAGE = "localhost/zhenxian"
# What a minimal Debian needs to be a base: Python with venv, CAs, groupadd, setpriv.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "passwd", "util-linux")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Whoever is not root becomes root of a user namespace.
AS_ROOT = () if os.geteuid() == 0 else ("buildah", "unshare")

_DAY = 86_400  # seconds

_ENTER = """
root=$1 user=$2 folder=$3 mounts=$4
shift 4
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero random urandom; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
echo "$mounts" | while read -r from to how; do
    [ -n "$from" ] || continue
    mount --bind "$from" "$root$to"
    [ "$how" = rw ] || mount -o remount,bind,ro "$root$to"
done
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all env -i -C "$folder" "$@"
"""


class Builder:
    """A store of images in a folder of its own; `remove` removes it."""

    def __init__(self) -> None:
        for tool in ("buildah", "mmdebstrap", "unshare", "setpriv"):
            if shutil.which(tool) is None:
                pytest.fail(f"{tool} is missing (scripts/peers test)")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="zhenxian-image-", dir=ROOMY))
        self._options = ["--storage-driver", "vfs", "--root", str(folder / "store")]
        self._options += ["--runroot", str(folder / "run")]

    def buildah(self, *words: str) -> str:
        return _output([*AS_ROOT, "buildah", *self._options, *words])

    def make_base(self) -> str:
        """A Debian 12 with Python, from this machine's sources; what it is."""
        container = self.buildah("from", "scratch").strip()
        self.buildah("add", "--quiet", container, str(self.debian()), "/")
        self.buildah("config", "--env", f"PATH={PATH}", container)
        asked = "/etc/debian_version; dpkg-query -W -f '${Version}' python3.11-minimal"
        version = self.buildah(
            "run", "--isolation", "chroot", container, "--", "sh", "-c", f"cat {asked}"
        )
        debian, python = version.split()
        image = self.buildah("commit", "--quiet", "--rm", container, BASE).strip()
        return f"Debian {debian} by mmdebstrap, python3.11 {python}, image {image}"

    def debian(self) -> Path:
        """Its files in an archive, made anew when the sources have something new, or after it.

        Who comes while somebody makes it waits.
        """
        named = _output(
            [
                *("apt-get", "indextargets", "Created-By: Packages"),
                *("--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"),
            ]
        )
        sources = sorted({line for line in named.splitlines() if " bookworm" in line})
        assert sources, "this machine's apt knows no source of Debian 12"
        released = Path("/var/lib/apt/lists").glob("*InRelease")
        known = [sha256(file.read_bytes()).hexdigest() for file in sorted(released)]
        asked = json.dumps([sources, PACKAGES, known]).encode()
        KEPT.mkdir(parents=True, exist_ok=True)
        archive = KEPT / f"{sha256(asked).hexdigest()[:16]}.tar"
        with KEPT.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in ROOMY.glob("zhenxian-image-*"):  # by runs that were killed
                if left.owner() == self._folder.owner() and left.stat().st_mtime < time() - _DAY:
                    _output([*AS_ROOT, "rm", "-rf", str(left)])
            self._make(archive, sources)
        return archive

    def _make(self, archive: Path, sources: Sequence[str]) -> None:
        if not archive.exists():
            for old in KEPT.iterdir():
                old.unlink(missing_ok=True)
            listed = self._folder / "sources.list"
            listed.write_text("\n".join(sources) + "\n")
            made = self._folder / "base.tar"
            _output(
                [
                    *("mmdebstrap", "--quiet", "--variant=essential"),
                    *(f"--include={','.join(PACKAGES)}", "bookworm", str(made), str(listed)),
                ]
            )
            shutil.copyfile(made, archive.with_suffix(".new"))
            archive.with_suffix(".new").replace(archive)
            made.unlink()

    def build(self) -> dict[str, Any]:
        """The image of this repository on that base; its configuration."""
        pip = self._folder / "pip.conf"
        pip.write_text(_output([str(ROOT / "scripts" / "pip-settings")]))
        named = _output([str(ROOT / "scripts" / "pip-settings"), "--paths"]).split()
        volumes = [word for path in named for word in ("--volume", f"{path}:{path}:ro")]
        self.buildah(
            *("build", "--quiet", "--isolation", "chroot", "--format", "docker"),
            *("--build-arg", f"BASE={BASE}", "--secret", f"id=pip,src={pip}"),
            *(*volumes, "--tag", IMAGE, str(ROOT)),
        )
        return json.loads(self.buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]

    def mount(self) -> Path:
        """The files of a new container of the image."""
        container = self.buildah("from", IMAGE).strip()
        return Path(self.buildah("mount", container).strip())

    def own(self, folder: Path) -> None:
        """Give a folder to the image's user, as a volume is."""
        _output([*AS_ROOT, "chown", "10001:10001", str(folder)])

    def read(self, path: Path) -> str:
        """A file that belongs to the image's user."""
        return _output([*AS_ROOT, "cat", str(path)])

    def remove(self) -> None:
        _output([*AS_ROOT, "rm", "-rf", str(self._folder)])


class Container:
    """One root, and what runs in it."""

    def __init__(self, root: Path, config: Mapping[str, Any], mounts: Mapping[str, Path]) -> None:
        self._root = root
        self._config = config
        self._mounts = mounts
        for place, source in mounts.items():
            target = str(root) + place
            make = f'mkdir -p "{target}"' if source.is_dir() else f': >>"{target}"'
            _output([*AS_ROOT, "sh", "-euc", f'mkdir -p "$(dirname "{target}")"; {make}'])

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Run a command as the image's user; without one, what the image runs."""
        command = list(words) or [*self._config["Entrypoint"], *self._config["Cmd"]]
        mounts = "\n".join(
            f"{source} {place} {'rw' if source.is_dir() else 'ro'}"
            for place, source in self._mounts.items()
        )
        with log.open("ab") as output:
            return subprocess.Popen(
                [
                    *(*AS_ROOT, "unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", "-euc", _ENTER, "sh", str(self._root), self._config["User"]),
                    *(self._config["WorkingDir"], mounts, *self._config["Env"], *command),
                ],
                stdout=output,
                stderr=output,
            )

    def run(self, *words: str, log: Path) -> int:
        """Run a command to its end; its exit status."""
        return self.start(*words, log=log).wait(120)


def first_process(container: subprocess.Popen[bytes]) -> int:
    """The number, here, of a container's process 1."""
    pid = container.pid
    while (
        Path(f"/proc/{pid}/status").read_text().partition("\nNSpid:")[2].split("\n")[0].count("\t")
        < 2
    ):
        (pid, *_) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return pid


def stop(container: subprocess.Popen[bytes]) -> int:
    """As `docker stop` does; the exit status."""
    os.kill(first_process(container), signal.SIGTERM)
    return container.wait(30)


def _output(command: Sequence[str]) -> str:
    env = os.environ | {"TMPDIR": str(ROOMY)}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


if __name__ == "__main__":  # so that it is there when a test wants it
    builder = Builder()
    try:
        builder.debian()
    finally:
        builder.remove()
