"""The tables of a registry file, and how older files become newer ones."""

from __future__ import annotations

import sqlite3
from typing import Final

from zhenxian.core.errors import ConfigError

# Numbers are integers: length * 10**15 + digits, so that ranges are intervals. `class` is the bit
# length of `size` (last - first): what covers a number n lies, in each class, within 2**class
# below n, so a look-up reads a few neighbouring rows of each class that occurs.
_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, author TEXT NOT NULL, reason TEXT NOT NULL,
    touched BLOB);
CREATE INDEX journal_time ON journal (time);
CREATE TABLE requests (
    id BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE records (
    kind TEXT, key TEXT, version INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key))
    WITHOUT ROWID;
CREATE TABLE records_past (
    kind TEXT, key TEXT, version INTEGER, ended INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, key, version)) WITHOUT ROWID;
CREATE TABLE documents (hash TEXT PRIMARY KEY, subject TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE origids (origid TEXT PRIMARY KEY, access TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE access_subjects (subject TEXT, access TEXT, PRIMARY KEY (subject, access))
    WITHOUT ROWID;
CREATE TABLE children (parent TEXT, reseller TEXT, PRIMARY KEY (parent, reseller)) WITHOUT ROWID;
CREATE TABLE issuers (issuer TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE owners (id INTEGER PRIMARY KEY, subject TEXT NOT NULL UNIQUE);
CREATE TABLE titles (
    id INTEGER PRIMARY KEY, verification TEXT NOT NULL, use TEXT NOT NULL, spcs TEXT NOT NULL,
    reseller TEXT NOT NULL, UNIQUE (verification, use, spcs, reseller));
CREATE TABLE classes (class INTEGER PRIMARY KEY);
CREATE TABLE holdings (
    class INTEGER, lo INTEGER, size INTEGER, version INTEGER NOT NULL, owner INTEGER NOT NULL,
    title INTEGER NOT NULL, evidence TEXT, verified_on INTEGER, PRIMARY KEY (class, lo, size))
    WITHOUT ROWID;
CREATE INDEX holdings_owner ON holdings (owner);
CREATE TABLE holdings_past (
    class INTEGER, lo INTEGER, size INTEGER, version INTEGER, ended INTEGER NOT NULL,
    owner INTEGER NOT NULL, title INTEGER NOT NULL, evidence TEXT, verified_on INTEGER,
    PRIMARY KEY (class, lo, size, version)) WITHOUT ROWID;
CREATE TABLE bindings (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, until INTEGER NOT NULL, x INTEGER NOT NULL,
    body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX bindings_x ON bindings (x, until);
CREATE INDEX bindings_until ON bindings (until);
CREATE TABLE bindings_past (
    id TEXT, version INTEGER, ended INTEGER, body BLOB NOT NULL, PRIMARY KEY (id, version))
    WITHOUT ROWID;
CREATE TABLE ways (
    display INTEGER, party TEXT, until INTEGER, id TEXT, since INTEGER NOT NULL,
    PRIMARY KEY (display, party, until, id)) WITHOUT ROWID;
CREATE TABLE imports (
    id TEXT PRIMARY KEY, line INTEGER NOT NULL, rows INTEGER NOT NULL, rejected INTEGER NOT NULL,
    done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE acknowledgements (
    "order" TEXT, node TEXT, token TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY ("order", node))
    WITHOUT ROWID;
"""

# A whole display and an extension begin with "=" since "*" turned out to be a character of numbers.
_WHOLE = "UPDATE ways SET party = '=' || substr(party, 2) WHERE substr(party, 1, 1) = '*'"

# Which exemptions are of whose conduct.
_EXEMPTED: Final = """
CREATE TABLE exempted (kind TEXT, target TEXT, id TEXT, PRIMARY KEY (kind, target, id))
    WITHOUT ROWID;
"""

# Callees' refusals, as holdings are stored.
_REFUSALS: Final = """
CREATE TABLE refusal_classes (class INTEGER PRIMARY KEY);
CREATE TABLE refusals (
    class INTEGER, lo INTEGER, size INTEGER, version INTEGER NOT NULL, since INTEGER NOT NULL,
    until INTEGER, scopes TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (class, lo, size))
    WITHOUT ROWID;
CREATE TABLE refusals_past (
    class INTEGER, lo INTEGER, size INTEGER, version INTEGER, ended INTEGER NOT NULL,
    since INTEGER NOT NULL, until INTEGER, scopes TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (class, lo, size, version)) WITHOUT ROWID;
"""

# What a subject holds is found by run and owner. A bulk import's commit is a run of its own, so
# that its entries lie together at the index's end: among all entries of all owners they would
# lie one on a page, and each commit would write the whole index anew. Run 0, which the table of
# runs does not have, is all else.
_RUNS = """
ALTER TABLE holdings ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
DROP INDEX holdings_owner;
CREATE INDEX holdings_owner ON holdings (run, owner);
CREATE TABLE runs (run INTEGER PRIMARY KEY)
"""

# How far an import came is all that is ever asked of it.
_LINES: Final = """
ALTER TABLE imports DROP COLUMN rows;
ALTER TABLE imports DROP COLUMN rejected;
ALTER TABLE imports DROP COLUMN done
"""

# Customers by what requests name them by and by their numbers, and whose declarations there are.
_SHARED: Final = """
CREATE TABLE customer_names (access TEXT, name TEXT, id TEXT NOT NULL, PRIMARY KEY (access, name))
    WITHOUT ROWID;
CREATE TABLE customer_numbers (
    access TEXT, lo INTEGER, hi INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (access, lo))
    WITHOUT ROWID;
CREATE TABLE declared (subject TEXT, id TEXT, PRIMARY KEY (subject, id)) WITHOUT ROWID;
"""

# Whose an origid is, or was, of those who share an access.
_OF_CUSTOMERS: Final = """
CREATE TABLE customer_origids (origid TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;
"""

# Each entry brings a file from the version of its index to the next.
MIGRATIONS: Final = (_TABLES, _WHOLE, _EXEMPTED, _REFUSALS, _RUNS, _LINES, _SHARED, _OF_CUSTOMERS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest form; all or nothing.

    Raises:
        ConfigError: a newer release made the file.
        sqlite3.Error: the disk does not take it.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the registry file has form {version}; this release knows forms up to"
            f" {len(MIGRATIONS)}"
        )
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
