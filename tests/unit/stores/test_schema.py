"""Files of earlier releases are brought to the newest form."""

from __future__ import annotations

import sqlite3

import pytest

from passport.errors import ConfigError
from stores.schema import MIGRATIONS, migrate


def _file(version):
    db = sqlite3.connect(":memory:", isolation_level=None)
    for step in MIGRATIONS[:version]:
        for statement in step.split(";"):
            if statement.strip():
                db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")
    return db


def test_whole_displays_and_extensions_of_form_1_are_found_again():
    db = _file(1)
    for party in ("*", "*7", "8613800138000"):
        db.execute("INSERT INTO ways VALUES (1, ?, 9, 'b', 0)", (party,))
    migrate(db)
    parties = [party for (party,) in db.execute("SELECT party FROM ways ORDER BY party")]
    assert parties == ["8613800138000", "=", "=7"]
    migrate(db)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    db.close()


def test_a_newer_form_is_refused():
    db = _file(0)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(ConfigError, match="form"):
        migrate(db)
    db.close()
