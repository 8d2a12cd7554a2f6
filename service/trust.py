"""What certificates are judged by, read from files and kept as they are now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from zhenxian.certs.crl import RevocationList, parse_crl
from zhenxian.certs.crlstore import FETCHED, CrlStore
from zhenxian.certs.fetch import Fetcher
from zhenxian.certs.files import folder_stamp
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.revocation import Assignment, RevocationPolicy, RevocationView, build_view
from zhenxian.certs.trustlist import TrustList, load_roots, load_trust_list
from zhenxian.core.errors import ConfigError
from zhenxian.service.list_reader import ListReader
from zhenxian.service.reported import Problems
from zhenxian.service.settings import Settings
from zhenxian.verifier.trust import Trust

_logger = logging.getLogger("zhenxian")


class TrustKeeper:
    """Trust list and revocation lists in force. For one event loop.

    Attributes:
        crls: the store of revocation lists.
        current: what certificates are judged by now.
        taken: told of each Trust that comes into force after the first.
        unreadable: what is wrong with lists that were fetched, for people.
    """

    def __init__(
        self,
        settings: Settings,
        fetcher: Fetcher,
        problems: Problems,
        count: Callable[[str], None],
    ) -> None:
        """Read all files. Raises ConfigError for what cannot be started with.

        Args:
            count: told how each fetch of a list ended.
        """
        self._settings = settings.trust
        self._problems = problems
        self._read = ListReader()
        self.crls = CrlStore(
            settings.trust.crl_folder or settings.data / "crl",
            fetcher,
            urls=settings.trust.crl_urls,
            signed=self._signed,
            count=count,
            read=self._read,
        )
        self._stamp: tuple[object, ...] = ()
        self._roots = TrustList()
        self._issuers: dict[Path, TrustList] = {}
        self._view: RevocationView | None = None
        self._lock = asyncio.Lock()
        self.taken: Callable[[Trust], None] = lambda _: None
        self.unreadable: list[str] = []
        self.roots_whole = True  # False while the files of roots are being written
        self.current = self._load()

    def root_files(self) -> tuple[object, ...]:
        """What changes when a file of roots, or of those who sign lists, does."""
        trust = self._settings
        named = [path for entry in trust.crl_issuers for path in (entry.certificates, entry.roots)]
        return (folder_stamp(trust.roots), tuple(map(folder_stamp, named)))

    async def refresh(self) -> None:
        """Take over what changed; what cannot be read is reported, and the former stays."""
        async with self._lock:
            try:
                found = self._files()
                if found == self._stamp:
                    self._problems.report("trust", None)
                # A list that has arrived waits for roots that are being written.
                elif self.roots_whole or found[:2] == self._stamp[:2]:
                    # In a thread: files are waited for, and the process that reads a large list.
                    self.current = await asyncio.to_thread(self._load)
                    self.taken(self.current)
                    _logger.info("trust list and revocation lists were read anew")
            except ConfigError as error:
                self._problems.report("trust", str(error))

    def _signed(self, listed: RevocationList, keys: Sequence[str]) -> bool:
        return self.current.revocation.signed(listed, keys)

    def _files(self) -> tuple[object, ...]:
        return (*self.root_files(), self.crls.version())

    def _load(self) -> Trust:
        trust = self._settings
        stamp = self._files()
        roots = load_roots(trust.roots, self._roots)
        issuers = {
            path: load_trust_list(path, self._issuers.get(path))
            for entry in trust.crl_issuers
            for path in (entry.certificates, entry.roots)
            if path is not None
        }
        view, problems = build_view(
            self.crls.held(),
            issuers=TrustList(),
            assigned=[
                Assignment(
                    issuers[entry.certificates],
                    issuers[entry.roots] if entry.roots is not None else None,
                    entry.addresses,
                )
                for entry in trust.crl_issuers
            ],
            trust=roots,
            policy=RevocationPolicy(trust.revocation),
            before=self._view,
            read=self._read if self._view is not None else parse_crl,
        )
        self._view = view
        self.unreadable = [text for text in problems if text.lower().startswith(FETCHED)]
        own = [text for text in problems if text not in self.unreadable]
        self._problems.report("reading revocation lists", "; ".join(own) or None)
        self._problems.report("trust", None)
        self._stamp = stamp
        self._roots, self._issuers = roots, issuers
        return Trust(roots, view, ProfilePolicy(strict=trust.profile == "strict"))
