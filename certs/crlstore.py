"""Revocation lists on disk: fetched by one worker, in force in all.

The folder is the whole state. Every list fetched is one file, replaced atomically, with a small
JSON file beside it that says where it came from and when it is due; an operator may drop further
*.crl and *.pem files in. Workers share the folder and compare `version()` about once a second.

Whom a list covers is not judged here: certs.revocation does that, for every list and wherever it
came from. What is no list at all, what nobody signed who may, and what is older than the list held
or begins in the future while one is held, is not stored.

Addresses that certificates name are learnt from chains under a trusted root whose key has signed a
token, and from nothing else. Even so a CA, or somebody a CA delegated numbers to, may name what it
likes: each certificate may teach two addresses, each CA has so many places and those below its
delegates a few of their own, an address that never gave a list makes room for a new one, and all
are forgotten some time after a certificate last named them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from zhenxian.certs.crl import HeldList, Named, Reader, RevocationList, parse_crl
from zhenxian.certs.crlsource import FORGET_SECONDS, Source, add_keys, outranks
from zhenxian.certs.fetch import Fetched, Fetcher, FetchError, Purpose
from zhenxian.certs.files import octets_of, read_file
from zhenxian.certs.x5u import host_of, names_loopback
from zhenxian.core.errors import ConfigError, ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.core.waits import waits

REFRESH_SECONDS: Final = 900  # how late a revocation may arrive that its list's host has published
RETRY_SECONDS: Final = 60  # after a failure
MAX_URLS: Final = 64  # learnt from certificates; the field has one list per country
MAX_OF_CERTIFICATE: Final = 2  # the profile has one
MAX_OF_AUTHORITY: Final = 8
MAX_BELOW_DELEGATES: Final = 16  # learnt from certificates of delegates, besides MAX_URLS
MAX_OF_DELEGATES: Final = 2  # of one STI-CA
_LONGEST_RETRY: Final = 3_600  # seconds; for those that never gave a list
MAX_FILE: Final = 64 * 1024 * 1024  # octets; some 1.5 million entries
_NOTE_USE_EVERY: Final = 86_400  # seconds; what is in use is written down no more often
MAX_LEARNT: Final = 1024 * 1024  # octets of a list that the operator did not configure
_FOLDER: Final = "folder"
_NO_PLACE: Final = "no place"
_SWEEP_EVERY: Final = 86_400  # seconds between two looks for what was forgotten
_STORING: Final = 2  # lists that are read at once: each takes a processor, a thread and memory
_SCAN_EVERY: Final = 10  # seconds between two looks for what other workers have learnt
FETCHED: Final = ("http:", "https:", "url-")  # how names of fetched lists begin
_FETCHED = re.compile(r"url-[0-9a-f]{32}")
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


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
        signed: Callable[[RevocationList, Sequence[str]], bool] = lambda *_: True,
        count: Callable[[str], None] = lambda _: None,
        read: Reader = parse_crl,
    ) -> None:
        """Open the folder, and create it if only its last part is missing.

        Args:
            folder: written to by every worker.
            fetcher: gets one URL; http is accepted for these.
            urls: lists to fetch besides those that certificates name.
            refresh_seconds: how often each is asked for; sooner when it says it will be replaced.
            retry_seconds: after a failure.
            signed: tells whether somebody signed a list who may, these keys included. Lists come
                over plain http too: nobody on the way may take a good one out of force.
            count: told the outcome of each fetch: fetched, unchanged, failed; no_place for an
                address that is not learnt.
            read: reads a list, in a thread.

        Raises:
            ConfigError: the folder cannot be made, read or written.
        """
        self._folder = folder
        self._fetcher = fetcher
        self._urls = tuple(dict.fromkeys(urls))
        self._refresh_seconds = refresh_seconds
        self._retry_seconds = retry_seconds
        self._signed = signed
        self._count = count
        self._parse = read
        self._now = self._late = 0
        self._scan_at = 0
        self._swept_at = 0
        self._flights: dict[str, asyncio.Task[bool]] = {}
        self._storing = asyncio.Semaphore(_STORING)
        self._retry_at: dict[str, tuple[int, int]] = {}  # and how long the wait then was
        self._failures: dict[str, int] = {}
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
        return (*self.faults, *self.remarks)

    @property
    def faults(self) -> tuple[str, ...]:
        """Of these, what is wrong with the folder and the operator's files."""
        folder = self._fetch_problems.get(_FOLDER)
        return (*((folder,) if folder is not None else ()), *self._file_problems.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """The others: what hosts do, and strangers' certificates name."""
        return tuple(text for key, text in self._fetch_problems.items() if key != _FOLDER)

    @property
    def urls(self) -> tuple[str, ...]:
        """The configured addresses."""
        return self._urls

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
        return tuple(held.data for held in self.held())

    def held(self) -> tuple[HeldList, ...]:
        """As `snapshot`, with where each list comes from.

        Raises:
            ConfigError: the folder cannot be listed.
        """
        self._file_problems.clear()
        lists: list[HeldList] = []
        read: dict[str, tuple[object, bytes]] = {}
        for name, stamp in self._files():
            known = self._read.get(name)
            if known is None or known[0] != stamp:
                content = self._content(name)
                if content is not None:
                    known = (stamp, content)
            if known is not None:
                read[name] = known
                url, sure = self._origin(name)
                # The library reads the first list of a PEM file only.
                lists.extend(
                    HeldList(data, url, sure, url or name) for data in _each(known[1]) or [known[1]]
                )
        self._read = read
        return tuple(lists)

    def _origin(self, name: str) -> tuple[str | None, bool]:
        """Where a file was fetched from, and whether that is sure; None: put there by hand."""
        stem, _, _ = name.rpartition(".")
        if not _FETCHED.fullmatch(stem):
            return None, False
        for url in self._urls:
            if _name(url) == stem:
                return url, True
        try:
            content = octets_of(self._folder / f"{stem}.json")
            source = msgspec.json.decode(content, type=Source)
        except (OSError, msgspec.DecodeError):
            return "", False  # from somewhere that was forgotten
        url = source.url
        # At an address of its own a delegate can serve a copy of anybody's list.
        if source.delegated or not source.secured:
            return url, False
        return url, names_loopback(host_of(url) or "") or url.lower().startswith("https:")

    async def refresh_due(self, now: int, late: int | None = None) -> bool:
        """Fetch the lists that are due; True when a new one is in the folder.

        Cheap when nothing is due. One worker fetches for all: another returns at once. Never
        raises for a list that cannot be had; see `problems`.

        Args:
            late: the time by which what nobody names is forgotten; now, when left out.
        """
        self._now = now
        self._late = now if late is None else late
        if waits(self._scan_at, now, _SCAN_EVERY):
            return False
        with self._alone() as alone:
            if not alone:
                self._scan_at = now + _SCAN_EVERY
                return False
            sources = self._sources()
            self._forget(sources)
            if not 0 <= now - self._swept_at < _SWEEP_EVERY:
                self._swept_at = now
                await asyncio.to_thread(self._sweep, frozenset(map(_name, sources)))
            self._fetch_problems.pop(_NO_PLACE, None)
            due = [url for url, source in sources.items() if self._is_due(url, source)]
            changed = any([await flight for flight in [self._flight(url) for url in due]])
            self._scan_at = now + _SCAN_EVERY
        return changed

    def lacks(self, named: Iterable[Named]) -> bool:
        """True when one of these addresses is to be asked, or is being asked."""
        return any(self._askable(url, one) for one in named for url in _few(one))

    def _askable(self, url: str, named: Named) -> bool:
        if url in self._flights:
            return True
        # What is known and not held is asked in the background; no call waits for it again.
        if url in self._urls:
            known = self._path(url).exists()
        else:
            source = self._source(url)
            # Records of an earlier release do not tell who may sign.
            told = bool(source.keys) or not named.keys
            known = bool(source.used) and told and not outranks(named, source)
        return not known and not self._rests(url)

    def _rests(self, url: str) -> bool:
        """True when an address failed a moment ago."""
        until, pause = self._retry_at.get(url, (0, 0))
        return waits(until, self._now, pause)

    def _is_due(self, url: str, source: Source) -> bool:
        longest = max(self._refresh_seconds, self._retry_seconds)
        return not (waits(source.due, self._now, longest) or self._rests(url))

    async def fetch_for(self, named: Iterable[Named]) -> bool:
        """Fetch the lists at these addresses that the folder does not hold.

        Call it for certificates of a path to a trusted root only, whose key has signed a token.

        Returns:
            True when a new list is in the folder. False, without waiting, when there is nothing
            to fetch, no place for it, or it failed a moment ago.
        """
        flights, anew = [], False
        for one in named:
            for url in _few(one):
                if not self._askable(url, one):
                    continue
                if url not in self._flights:
                    if not self._learn(url, one):
                        continue
                    anew = self._told_anew(url) or anew
                flights.append(self._flight(url))
        return any([await asyncio.shield(flight) for flight in flights]) or anew

    def _told_anew(self, url: str) -> bool:
        """Have a list that is held read again, after what is known of its address changed."""
        if url in self._urls:
            return False
        try:
            os.utime(self._path(url))
        except OSError:
            return False
        return True

    def used(self, named: Iterable[Named], now: int) -> None:
        """Note that certificates of paths in use name these, so that they are not forgotten."""
        keys: dict[str, list[str]] = {}
        for one in named:
            for url in one.urls:
                keys.setdefault(url, []).extend(one.keys)
        for url, more in keys.items():
            source = self._source(url)
            if not source.used:
                continue
            news = add_keys(source, more)
            if news or source.used + _NOTE_USE_EVERY <= now:
                source.used = max(source.used, now)
                with suppress(OSError):
                    self._write(self._path(url, "json"), msgspec.json.encode(source))

    def _learn(self, url: str, named: Named) -> bool:
        """Take a place for an address; False when there is none."""
        if url in self._urls:
            return True
        sources = self._sources()
        source = sources.get(url)
        if source is None or outranks(named, source):
            source = source or Source(url=url)
            source.authority, source.delegated = named.authority, named.delegated
            learnt = [
                other
                for other in sources.values()
                if other.url not in (url, *self._urls) and other.delegated == named.delegated
            ]
            siblings = [other for other in learnt if other.authority == named.authority]
            bounds = (
                ((siblings, MAX_OF_DELEGATES), (learnt, MAX_BELOW_DELEGATES))
                if named.delegated
                else ((siblings, MAX_OF_AUTHORITY), (learnt, MAX_URLS))
            )
            for group, most in bounds:
                if len(group) >= most and not self._make_room(group):
                    self._fetch_problems[_NO_PLACE] = (
                        f"{shown(url)} is not fetched: {most} revocation lists of its CA, or of"
                        " all together, already are"
                    )
                    self._count("no_place")
                    return False
        source.used = self._now
        add_keys(source, named.keys)
        with suppress(OSError):  # the fetch will say why
            self._write(self._path(url, "json"), msgspec.json.encode(source))
        return True

    def _make_room(self, group: Sequence[Source]) -> bool:
        """Forget the longest unused of those that never gave a list."""
        silent = [other for other in group if not other.gave and other.url not in self._flights]
        if not silent:
            return False
        self._drop(min(silent, key=lambda other: other.used))
        return True

    def _forget(self, sources: dict[str, Source]) -> None:
        """Forget what no certificate has named for long; the operator's never."""
        for url, source in list(sources.items()):
            if url in self._urls:
                continue
            if not source.used:  # of an earlier release
                source.used = self._now
                source.gave = self._now if self._path(url).exists() else 0
                with suppress(OSError):
                    self._write(self._path(url, "json"), msgspec.json.encode(source))
            elif source.forgotten_at < self._late:
                self._drop(source)
                del sources[url]

    def _drop(self, source: Source) -> None:
        """Ask an address no more.

        What an STI-CA's certificates named stays for a time: it may revoke.
        """
        url = source.url
        for known in (self._retry_at, self._failures, self._fetch_problems):
            known.pop(url, None)
        with suppress(OSError):
            self._path(url, "json").unlink(missing_ok=True)
            if source.delegated:
                self._path(url).unlink(missing_ok=True)

    def _sweep(self, known: frozenset[str]) -> None:
        """Remove the lists of forgotten addresses that nobody can have relied on for long."""
        for path in self._folder.glob("url-*.crl"):
            if path.stem in known or not _FETCHED.fullmatch(path.stem):
                continue
            with suppress(OSError):
                try:
                    over = self._parse(octets_of(path)).next_update + FORGET_SECONDS < self._late
                except ParseError:
                    over = True
                if over and not path.with_suffix(".json").exists():  # not learnt again meanwhile
                    path.unlink()

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
            held = octets_of(self._path(url))
        except OSError:
            held = None
        try:
            answer = await self._fetcher.fetch(
                url, purpose=Purpose.CRL, etag=source.etag if held is not None else None
            )
            if isinstance(answer, Fetched):
                source.etag = answer.caching.etag
                source.secured = answer.secured
                # A list of a hundred thousand entries takes a second to read.
                async with self._storing:
                    source.due = await asyncio.to_thread(self._store, source, answer.body, held)
            else:
                source.due = self._now + self._refresh_seconds
            source.gave = self._now
            self._write(self._path(url, "json"), msgspec.json.encode(source))
        except (FetchError, ParseError, OSError) as error:
            self._fetch_problems[url] = f"revocation list {shown(url)}: {error}"
            pause = self._pause(source)
            self._retry_at[url] = (self._now + pause, pause)
            self._count("failed")
            with suppress(OSError):
                if not self._path(url, "json").exists():
                    self._write(self._path(url, "json"), msgspec.json.encode(source))
            return False
        self._fetch_problems.pop(url, None)
        self._retry_at.pop(url, None)
        self._failures.pop(url, None)
        self._count("fetched" if isinstance(answer, Fetched) else "unchanged")
        return isinstance(answer, Fetched) and answer.body != held

    def _pause(self, source: Source) -> int:
        """How long to leave an address alone after a failure: longer each time if it is silent."""
        url = source.url
        if source.gave or url in self._urls:
            return self._retry_seconds
        failures = self._failures[url] = min(self._failures.get(url, 0) + 1, 16)
        longest = max(self._retry_seconds, _LONGEST_RETRY)
        return min(self._retry_seconds << (failures - 1), longest)

    def _store(self, source: Source, body: bytes, held: bytes | None) -> int:
        """Store a list; returns when it is due again. Raises ParseError, OSError."""
        url = source.url
        if url not in self._urls and len(body) > MAX_LEARNT:
            raise _not_taken(f"larger than {MAX_LEARNT} octets, and not in trust.crl_urls")
        new = self._parse(body)
        before = None
        if held is not None:
            with suppress(ParseError):  # what cannot be read is of no use
                before = self._parse(held)
        why_not = self._why_not(source, new, before)
        if why_not is not None:
            raise _not_taken(why_not)
        self._write(self._path(url), body)
        soonest = self._now + self._retry_seconds
        return min(self._now + self._refresh_seconds, max(new.next_update, soonest))

    def _why_not(
        self, source: Source, new: RevocationList, held: RevocationList | None
    ) -> str | None:
        """Why a list is not stored in the place of the one held; None when it is."""
        signed = self._signed(new, source.keys)
        # What a CA that nobody has met yet says of its own certificates comes from where the
        # operator says, if nobody on the way can put another list there.
        if not signed and not (source.url in self._urls and source.secured):
            return "nobody signed it who may"
        if held is None:
            return None
        if new.this_update > self._now:
            return "it begins in the future"
        genuine = self._signed(held, source.keys)
        if genuine and not signed:
            return "nobody signed it who may, and the list held is signed"
        # A list of the future, or of nobody, must not stand in the way of all that follow.
        if held.this_update > self._now or (signed and not genuine):
            return None
        if held.this_update > new.this_update:
            return "older than the list held"
        # A genuine list of another scope would take this one's revocations back.
        fresh = held.next_update > self._now
        if new.scope != held.scope and (
            (new.partial and not held.partial) or (fresh and not source.secured)
        ):
            return "it is about other certificates or reasons than the list held"
        return None

    def _path(self, url: str, suffix: str = "crl") -> Path:
        return self._folder / f"{_name(url)}.{suffix}"

    def _source(self, url: str) -> Source:
        try:
            source = msgspec.json.decode(octets_of(self._path(url, "json")), type=Source)
        except (OSError, msgspec.DecodeError):
            return Source(url=url)
        return source if source.url == url else Source(url=url)

    def _sources(self) -> dict[str, Source]:
        """The configured lists, and those that some worker has learnt."""
        sources = {url: self._source(url) for url in self._urls}
        for path in sorted(self._folder.glob("url-*.json")):
            with suppress(OSError, msgspec.DecodeError):
                source = msgspec.json.decode(octets_of(path), type=Source)
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
            self._fetch_problems[_FOLDER] = f"{self._folder}: {error.strerror}"
            yield False
            return
        self._fetch_problems.pop(_FOLDER, None)
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


def _each(content: bytes) -> list[bytes]:
    """The lists in PEM; searched for by the octets alone, which holds nobody up."""
    found = []
    begin = content.find(_BEGIN)
    while begin >= 0 and (end := content.find(_END, begin + len(_BEGIN))) >= 0:
        found.append(content[begin : end + len(_END)])
        begin = content.find(_BEGIN, end)
    return found


def _few(named: Named) -> tuple[str, ...]:
    """The first addresses that can be fetched at all."""
    urls = (url for url in named.urls if url[:5].lower() in ("http:", "https"))
    return tuple(itertools.islice(urls, MAX_OF_CERTIFICATE))


def _not_taken(why: str) -> ParseError:
    return ParseError(Reason.CRL_UNAVAILABLE, "crl", f"not taken over: {why}")


def _name(url: str) -> str:
    return f"url-{hashlib.sha256(url.encode()).hexdigest()[:32]}"


def _stamp(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        status = entry.stat()
    except OSError:
        return ()  # reading it will say why
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
