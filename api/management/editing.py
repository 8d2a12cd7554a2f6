"""What the routes of records share: writing under a name, and what each role sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import HTTPException
from msgspec import to_builtins

from zhenxian.api.auth import Principal
from zhenxian.api.idempotency import Once
from zhenxian.api.management.answers import PRIVATE
from zhenxian.api.permissions import Action, Thing, everybodys
from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.registry.forms import row_of
from zhenxian.registry.identity import document_hash
from zhenxian.registry.journal import Change, Commit, Nested, Version, plain_reason
from zhenxian.registry.model import Binding, Record, Subject
from zhenxian.registry.orders import Issuer
from zhenxian.registry.store import RegistryStore

_SEE_IDENTITY: Final = everybodys(Thing.IDENTITIES, Action.READ)
_SEE_ALL_BINDINGS: Final = everybodys(Thing.BINDINGS, Action.READ)
_KEEP_ALL_BINDINGS: Final = everybodys(Thing.BINDINGS, Action.PUT)


class Editor:
    """What the routes share: writing under a name, and how records are shown."""

    def __init__(
        self,
        registry: RegistryStore,
        identity_key: bytes,
        issuers: Mapping[str, Issuer],
        reading: Reading,
        clock: Callable[[], float],
    ) -> None:
        self.registry = registry
        self.issuers = issuers
        self.reading = reading
        self.clock = clock
        self._identity_key = identity_key

    async def commit(
        self,
        changes: list[Change],
        principal: Principal,
        reason: str,
        once: Once | None,
        asked: object,
        nested: Nested = Nested.TAKEN,
    ) -> Commit:
        """Write changes under a name.

        Args:
            asked: the body that `once` stands for, or its fingerprint.
            nested: what becomes of numbers out of ranges of others.
        """
        request = fingerprint = b""
        if once is not None:
            request = once.request(principal)
            fingerprint = asked if isinstance(asked, bytes) else once.fingerprint(principal, asked)
        return await self.registry.write(
            changes,
            author=f"{principal.name} ({principal.id})",
            reason=plain_reason(reason),
            now=int(self.clock()),
            request=request,
            fingerprint=fingerprint,
            nested=nested,
        )

    def hashed(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the hash of the document's number instead of it. Raises ConfigError."""
        number = row.pop("document_number", "")
        if number:
            if row.get("document"):
                raise ConfigError("document_number and document are not given together")
            row["document"] = document_hash(
                self._identity_key, str(row.get("document_kind")), number
            )
        return row


def shown(record: Record, principal: Principal, version: int | None = None) -> dict[str, Any]:
    """A record as that principal may see it."""
    row = row_of(record)
    if isinstance(record, Subject) and not principal.roles & _SEE_IDENTITY:
        for name in PRIVATE:
            row.pop(name)
    if version is not None:
        row["version"] = version
    return row


def shown_version(version: Version, principal: Principal) -> dict[str, Any]:
    """A version, likewise, and who made it."""
    row = {
        "version": version.version,
        "time": version.time,
        "author": version.author,
        "reason": version.reason,
        "record": shown(version.value, principal) if version.value is not None else None,
    }
    if version.imported is not None:
        row["imported"] = to_builtins(version.imported)
    return row


def sees_all_bindings(principal: Principal) -> bool:
    """False for a platform's key, which sees those of one subject."""
    return bool(principal.roles & _SEE_ALL_BINDINGS)


def may_see(principal: Principal, binding: Binding) -> bool:
    """A platform's key sees the bindings of one subject."""
    return sees_all_bindings(principal) or principal.subject == binding.platform


def check_own(principal: Principal, binding: Record | None) -> None:
    """A platform's key acts for one subject. Raises HTTPException."""
    if principal.roles & _KEEP_ALL_BINDINGS or not isinstance(binding, Binding):
        return
    if principal.subject != binding.platform:
        raise HTTPException(403, f"this key does not act for {binding.platform}")
