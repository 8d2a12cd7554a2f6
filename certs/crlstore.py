"""Revocation lists on disk: fetched by one worker, in force in all.

The folder is the whole state. Every list fetched is one file, replaced atomically, with a small
JSON file beside it that says where it came from and when it is due; an operator may drop further
*.crl and *.pem files in. Workers share the folder and compare `version()` about once a second.

Lists are not judged here: certs.revocation checks signature, issuer and dates, for every list and
wherever it came from. Only what is no list at all, or older than the one held, is not stored.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from certs.chain import Chain
from certs.crl import parse_crl
from certs.fetch import Fetched, Fetcher, FetchError, Purpose
from certs.files import read_file
from passport.errors import ConfigError, ParseError, shown
from passport.reasons import Reason

REFRESH_SECONDS: Final = 900  # how late a revocation may arrive that its list's host has published
RETRY_SECONDS: Final = 60  # after a failure
MAX_URLS: Final = 64  # learnt from certificates; the field has one list per country
MAX_FILE: Final = 64 * 1024 * 1024  # octets; some 1.5 million entries
_SCAN_EVERY: Final = 10  # seconds between two looks for what other workers have learnt
_PEM = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


class _Source(Struct):
    """Where a fetched list comes from; times are epoch seconds."""

    url: str
    etag: str | None = None
    due: int = 0


class CrlStore:
    """A folder of revocation lists."""

    def __init__(
        self,
        folder: Path,
        fetcher: Fetcher,
        *,
        urls: Sequence[str] = (),
        refresh_seconds: int = REFRESH_SECONDS,
        retry_seconds: int = RETRY_SECONDS,
        refusal: Callable[[bytes], str | None] | None = None,
    ) -> None:
        """Open the folder, and create it if only its last part is missing.

        Args:
            folder: written to by every worker.
            fetcher: gets one URL; http is accepted for these.
            urls: lists to fetch besides those that certificates name.
            refresh_seconds: how often each is asked for; sooner when it says it will be replaced.
            retry_seconds: after a failure.
            refusal: tells why a fetched list may not replace the one held, None when it may.
                Lists come over plain http too; with a check of the signature here, an attacker
                on the way cannot take a good list out of force.

        Raises:
            ConfigError: the folder cannot be made, read or written.
        """
        self._folder = folder
        self._fetcher = fetcher
        self._urls = tuple(dict.fromkeys(urls))
        self._refresh_seconds = refresh_seconds
        self._retry_seconds = retry_seconds
        self._refusal = refusal
        self._now = 0
        self._scan_at = 0
        self._flights: dict[str, asyncio.Task[bool]] = {}
        self._retry_at: dict[str, int] = {}
        self._fetch_problems: dict[str, str] = {}
        self._file_problems: dict[str, str] = {}
        self._read: dict[str, tuple[object, bytes]] = {}
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"folder of revocation lists {folder}: {error.strerror}") from None
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(
                f"folder of revocation lists {folder} must be readable and writable for this user"
            )
        self.version()

    @property
    def problems(self) -> tuple[str, ...]:
        """Which lists could not be fetched or read, one sentence each."""
        return (*self._fetch_problems.values(), *self._file_problems.values())

    def version(self) -> tuple[object, ...]:
        """Tell the present content of the folder from any other, without reading it.

        Raises:
            ConfigError: the folder cannot be listed.
        """
        return tuple(self._files())

    def snapshot(self) -> tuple[bytes, ...]:
        """Read every list in the folder, DER or PEM as it is; one value each.

        A file that can no longer be read counts as it was when last read, and is a problem.

        Raises:
            ConfigError: the folder cannot be listed.
        """
        self._file_problems.clear()
        lists: list[bytes] = []
        read: dict[str, tuple[object, bytes]] = {}
        for name, stamp in self._files():
            known = self._read.get(name)
            if known is None or known[0] != stamp:
                content = self._content(name)
                if content is not None:
                    known = (stamp, content)
            if known is not None:
                read[name] = known
                # The library reads the first list of a PEM file only.
                lists.extend(_PEM.findall(known[1]) or [known[1]])
        self._read = read
        return tuple(lists)

    async def refresh_due(self, now: int) -> bool:
        """Fetch the lists that are due; True when a new one is in the folder.

        Cheap when nothing is due. One worker fetches for all: another returns at once. Never
        raises for a list that cannot be had; see `problems`.
        """
        self._now = now
        if now < self._scan_at:
            return False
        with self._alone() as alone:
            if not alone:
                self._scan_at = now + _SCAN_EVERY
                return False
            sources = self._sources()
            due = [
                source.url
                for source in sources.values()
                if source.due <= now and self._retry_at.get(source.url, 0) <= now
            ]
            changed = any([await flight for flight in [self._flight(url) for url in due]])
            self._scan_at = now + _SCAN_EVERY
        return changed

    async def fetch_for(self, chain: Chain) -> bool:
        """Fetch the lists that a chain's certificates name and the folder does not hold.

        Call it for chains that lead to a trusted root only: anybody can write a certificate that
        names a list, and each one learnt here is fetched from now on, up to MAX_URLS.

        Returns:
            True when a new list is in the folder. False, without waiting, when there is nothing
            to fetch or it failed a moment ago.
        """
        wanted = []
        for url in chain.crl_urls:
            if self._retry_at.get(url, 0) > self._now or self._path(url).exists():
                continue
            if url not in self._flights and len(self._sources()) >= MAX_URLS:
                self._fetch_problems["limit"] = (
                    f"{shown(url)} is not fetched: {MAX_URLS} revocation lists already are"
                )
                continue
            wanted.append(self._flight(url))
        return any([await asyncio.shield(flight) for flight in wanted])

    def _flight(self, url: str) -> asyncio.Task[bool]:
        flight = self._flights.get(url)
        if flight is None or flight.done():
            flight = asyncio.get_running_loop().create_task(self._fetch(url))
            self._flights[url] = flight
            flight.add_done_callback(lambda _: self._flights.pop(url, None))
        return flight

    async def _fetch(self, url: str) -> bool:
        """Fetch one list and store it; True when its content is new."""
        source = self._source(url)
        try:
            held = self._path(url).read_bytes()
        except OSError:
            held = None
        try:
            answer = await self._fetcher.fetch(
                url, purpose=Purpose.CRL, etag=source.etag if held is not None else None
            )
            if isinstance(answer, Fetched):
                source.etag = answer.caching.etag
                # A list of a hundred thousand entries takes a second to read.
                source.due = await asyncio.to_thread(self._store, url, answer.body, held)
            else:
                source.due = self._now + self._refresh_seconds
            self._write(self._path(url, "json"), msgspec.json.encode(source))
        except (FetchError, ParseError, OSError) as error:
            self._fetch_problems[url] = f"revocation list {shown(url)}: {error}"
            self._retry_at[url] = self._now + self._retry_seconds
            with suppress(OSError):
                if not self._path(url, "json").exists():
                    self._write(self._path(url, "json"), msgspec.json.encode(source))
            return False
        self._fetch_problems.pop(url, None)
        self._retry_at.pop(url, None)
        return isinstance(answer, Fetched) and answer.body != held

    def _store(self, url: str, body: bytes, held: bytes | None) -> int:
        """Store a list; returns when it is due again. Raises ParseError, OSError."""
        new = parse_crl(body)
        why_not = self._refusal(body) if self._refusal is not None else None
        if why_not is None and held is not None:
            try:
                if parse_crl(held).this_update > new.this_update:
                    why_not = "older than the list held"
            except ParseError:
                pass  # what is held is of no use
        if why_not is not None:
            raise ParseError(Reason.CRL_UNAVAILABLE, "crl", f"not taken over: {why_not}")
        self._write(self._path(url), body)
        soonest = self._now + self._retry_seconds
        return min(self._now + self._refresh_seconds, max(new.next_update, soonest))

    def _path(self, url: str, suffix: str = "crl") -> Path:
        return self._folder / f"{_name(url)}.{suffix}"

    def _source(self, url: str) -> _Source:
        try:
            source = msgspec.json.decode(self._path(url, "json").read_bytes(), type=_Source)
        except (OSError, msgspec.DecodeError):
            return _Source(url)
        return source if source.url == url else _Source(url)

    def _sources(self) -> dict[str, _Source]:
        """The configured lists, and those that some worker has learnt."""
        sources = {url: self._source(url) for url in self._urls}
        for path in sorted(self._folder.glob("url-*.json")):
            with suppress(OSError, msgspec.DecodeError):
                source = msgspec.json.decode(path.read_bytes(), type=_Source)
                if path.stem == _name(source.url):
                    sources.setdefault(source.url, source)
        return sources

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a file: other workers see the old content or the new, also after a crash."""
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """True in the one worker that may fetch; the lock goes with the process."""
        try:
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._fetch_problems["folder"] = f"{self._folder}: {error.strerror}"
            yield False
            return
        self._fetch_problems.pop("folder", None)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _files(self) -> list[tuple[str, tuple[int, ...]]]:
        try:
            with os.scandir(self._folder) as entries:
                found = [
                    (entry.name, _stamp(entry))
                    for entry in entries
                    if entry.name.endswith((".crl", ".pem")) and not entry.name.startswith(".")
                ]
        except OSError as error:
            raise ConfigError(
                f"folder of revocation lists {self._folder}: {error.strerror}"
            ) from None
        return sorted(found)

    def _content(self, name: str) -> bytes | None:
        path = self._folder / name
        try:
            return read_file(path, MAX_FILE)
        except ConfigError as error:
            self._file_problems[name] = f"revocation list {error}"
            return None


def _name(url: str) -> str:
    return f"url-{hashlib.sha256(url.encode()).hexdigest()[:32]}"


def _stamp(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        status = entry.stat()
    except OSError:
        return ()  # reading it will say why
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
