"""Files of earlier releases are brought to the newest form."""

from __future__ import annotations

import sqlite3

import pytest

from zhenxian.core.errors import ConfigError
from zhenxian.registry.model import Kind
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.numbers import number_key
from zhenxian.stores.sqlite.schema import MIGRATIONS, migrate


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


def test_holdings_of_form_2_are_found_by_their_subject(tmp_path):
    path = tmp_path / "registry.db"
    db = sqlite3.connect(path, isolation_level=None)
    for step in MIGRATIONS[:2]:
        for statement in step.split(";"):
            if statement.strip():
                db.execute(statement)
    db.execute("PRAGMA user_version = 2")
    db.execute("INSERT INTO journal VALUES (1, 1, 'a', 'r', NULL)")
    db.execute("INSERT INTO owners VALUES (1, 'bank')")
    db.execute("INSERT INTO titles VALUES (1, 'verified', 'direct', '', '')")
    db.execute("INSERT INTO classes VALUES (0)")
    lo = number_key("8610000")
    db.execute("INSERT INTO holdings VALUES (0, ?, 0, 1, 1, 1, NULL, NULL)", (lo,))
    db.close()
    book = RegistryFile(path, writer=True)
    ((_, held),) = book.page(Kind.HOLDING, subject="bank").rows
    assert (held.key, held.subject) == ("8610000", "bank")
    assert book.uses(Kind.SUBJECT, "bank") == "holding 8610000"
    book.close()


def test_a_newer_form_is_refused():
    db = _file(0)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(ConfigError, match="form"):
        migrate(db)
    db.close()


def test_how_far_an_import_came_survives_the_columns_beside_it():
    db = _file(5)
    db.execute("INSERT INTO imports VALUES ('may', 17, 3, 2, 0)")
    migrate(db)
    assert db.execute("SELECT * FROM imports").fetchall() == [("may", 17)]
    db.close()
