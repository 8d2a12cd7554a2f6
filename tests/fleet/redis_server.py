"""Real Redis servers on loopback, started by the tests and ended by their process ids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ports import free_port

BINARY = shutil.which("redis-server") or "/usr/bin/redis-server"
CLI = shutil.which("redis-cli") or "/usr/bin/redis-cli"
# Seconds until a failover is through. A Sentinel that was held up for two seconds does nothing for
# half a minute, and one that failed it tries again later still.
AGREED = 100.0


def wait_for(condition, seconds=40.0, what="the condition"):
    """Ask until it is true; the answer."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {seconds} s")
        time.sleep(0.05)


class RedisServer:
    """One redis-server: with an append-only file, unless the settings say otherwise.

    It does not wait for the disk: what it has written outlives its process, if not the machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sentinel: str | None = None,
        tls: tuple[Path, Path, Path] | None = None,
        **settings: str,
    ) -> None:
        """With `tls` (CA, certificate, key) it speaks nothing but TLS."""
        self.folder = folder
        self.port = free_port()
        self.ca = tls[0] if tls is not None else None
        self.password = settings.get("requirepass")
        folder.mkdir(parents=True)
        given = {name.replace("_", "-"): value for name, value in settings.items()}
        lines = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder)}
        if sentinel is None:
            lines |= {"appendonly": "yes", "appendfsync": "no", "save": '""'}
            lines |= {"repl-diskless-sync-delay": "0"}
        if tls is not None:
            names = ("tls-ca-cert-file", "tls-cert-file", "tls-key-file")
            lines |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
            lines |= {name: str(file) for name, file in zip(names, tls, strict=True)}
        lines |= given
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        (folder / "redis.conf").write_text(text + (sentinel or ""))
        self._sentinel = sentinel is not None
        self.process: subprocess.Popen | None = None
        self.start()

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        scheme = "redis" if self.ca is None else "rediss"
        return f"{scheme}://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on its port, with what it kept on disk."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, str(self.folder / "redis.conf"), *["--sentinel"] * self._sentinel],
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: "PONG" in self.ask("PING"), what="redis-server's answer")

    def ask(self, *words: str) -> str:
        """What redis-cli prints."""
        secret = ["-a", self.password, "--no-auth-warning"] if self.password else []
        tls = ["--tls", "--cacert", str(self.ca)] if self.ca is not None else []
        done = subprocess.run(
            [CLI, "-h", "127.0.0.1", "-p", str(self.port), *tls, *secret, *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
        return done.stdout + done.stderr

    def rewrite(self) -> None:
        """Begin the append-only file anew, with what there is."""
        self.ask("BGREWRITEAOF")
        rests = {"aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"}
        wait_for(lambda: rests <= set(self.ask("INFO", "persistence").split()))

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it, paused or not."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Watched:
    """A primary, a replica, and one Sentinel that fails over after half a second."""

    def __init__(self, folder: Path) -> None:
        self.servers = [RedisServer(folder / "first")]
        first = self.servers[0]
        self.servers.append(RedisServer(folder / "second", replicaof=f"127.0.0.1 {first.port}"))
        wait_for(
            lambda: "master_link_status:up" in self.servers[1].ask("INFO", "replication"),
            what="the replica",
        )
        self.sentinel = RedisServer(
            folder / "sentinel",
            sentinel=f"sentinel monitor fleet 127.0.0.1 {first.port} 1\n"
            "sentinel down-after-milliseconds fleet 500\n"
            "sentinel failover-timeout fleet 3000\n",
        )
        wait_for(
            lambda: "num-slaves\n1" in self.sentinel.ask("SENTINEL", "master", "fleet"),
            what="Sentinel's view of the replica",
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.sentinel.port}/fleet"

    def stop(self) -> None:
        self.sentinel.stop()
        for server in self.servers:
            server.stop()


class Cluster:
    """Three primaries that share the slots."""

    def __init__(self, folder: Path) -> None:
        self.servers = [
            RedisServer(folder / str(number), cluster_enabled="yes", cluster_node_timeout="10000")
            for number in range(3)
        ]
        hosts = [f"127.0.0.1:{server.port}" for server in self.servers]
        subprocess.run(
            [CLI, "--cluster", "create", *hosts, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        for server in self.servers:
            wait_for(
                lambda server=server: "cluster_state:ok" in server.ask("CLUSTER", "INFO"),
                what="the Cluster",
            )

    @property
    def url(self) -> str:
        return "cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


class Move:
    """A slot of a Cluster on its way from one primary to another."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster, self._key = cluster, key
        self._slot = cluster.servers[0].ask("CLUSTER", "KEYSLOT", key).split()[-1]
        self._names = {each: each.ask("CLUSTER", "MYID").strip() for each in cluster.servers}
        at = next(each for each in cluster.servers if "MOVED" not in each.ask("GET", key))
        self.source = at
        self.target = next(each for each in cluster.servers if each is not at)

    def _set(self, server: RedisServer, *words: str) -> None:
        assert server.ask("CLUSTER", "SETSLOT", self._slot, *words).strip() == "OK"

    def begin(self) -> None:
        self._set(self.target, "IMPORTING", self._names[self.source])
        self._set(self.source, "MIGRATING", self._names[self.target])

    def keys(self) -> list[str]:
        """Those that are still where they were, one part of them."""
        return self.source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, "1000").split()

    def carry(self, key: str) -> None:
        host = ("127.0.0.1", str(self.target.port))
        assert self.source.ask("MIGRATE", *host, key, "0", "5000").strip() in ("OK", "NOKEY")

    def end(self) -> None:
        owner = self._names[self.target]
        for server in (self.target, self.source, *self._cluster.servers):
            self._set(server, "NODE", owner)
