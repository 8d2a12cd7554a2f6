"""Everything that one caller is counted under: its subject, its accesses, their origids."""

from __future__ import annotations

from typing import Final

from zhenxian.analytics.model import Key, KeyKind
from zhenxian.core.errors import ConfigError
from zhenxian.registry.customers import Customer
from zhenxian.registry.model import Access, Kind
from zhenxian.registry.store import Records

MOST: Final = 5_000  # keys of one caller
_PAGE: Final = 500


def keys_of(records: Records, key: Key, spc: str | None) -> list[Key]:
    """All keys of the caller that a key is of; the key alone where nobody is known behind it.

    Args:
        key: a subject, one of its accesses, who shares one, or a signer of our own (`spc`).
        spc: the code that calls are signed with here.

    Raises:
        ConfigError: more than MOST of them.
        StoreUnavailableError: the registry cannot be read.
    """
    customer = _customer_of(records, key, spc)
    if customer is not None:
        found = [Key(KeyKind.ACCESS, f"{customer.access}/{customer.id}")]
        if customer.origid and spc is not None:
            found.append(Key(KeyKind.SIGNER, f"{spc}/{customer.origid}"))
        return list(dict.fromkeys([*found, key]))
    subject = _subject_of(records, key, spc)
    if subject is None:
        return [key]
    found = [Key(KeyKind.SUBJECT, subject)]
    after: str | None = ""
    while after is not None:
        page = records.page(Kind.ACCESS, after=after, limit=_PAGE, subject=subject)
        for _, record in page.rows:
            if isinstance(record, Access):
                found.append(Key(KeyKind.ACCESS, record.id))
                if spc is not None:
                    origids = (record.origid, *record.former)
                    found += [Key(KeyKind.SIGNER, f"{spc}/{origid}") for origid in origids]
        if len(found) > MOST:
            raise ConfigError(f"{key}: more than {MOST} keys; clear them one by one")
        after = page.following
    return list(dict.fromkeys([*found, key]))


def _customer_of(records: Records, key: Key, spc: str | None) -> Customer | None:
    """The customer of a shared access that a key is of."""
    name, _, detail = key.id.partition("/")
    if key.kind is KeyKind.ACCESS and detail:
        found = records.get(Kind.CUSTOMER, detail)
        customer = found[1] if found is not None else None
        if isinstance(customer, Customer) and customer.access == name:
            return customer
    if key.kind is KeyKind.SIGNER and name == spc:
        return records.customer_of_origid(detail)
    return None


def _subject_of(records: Records, key: Key, spc: str | None) -> str | None:
    if key.kind is KeyKind.SUBJECT:
        return key.id
    access = None
    if key.kind is KeyKind.ACCESS:
        record = records.get(Kind.ACCESS, key.id)
        access = record[1] if record is not None else None
    elif key.kind is KeyKind.SIGNER:
        whose, _, origid = key.id.partition("/")
        access = records.access_of(origid) if whose == spc else None
    return access.subject if isinstance(access, Access) else None
