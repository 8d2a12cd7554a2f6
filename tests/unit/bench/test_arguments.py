"""Measurements that have a page say so in their help."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize("name", ["exchange", "many", "openloop", "start"])
def test_the_help_names_all_that_is_taken(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"bench.{name}").main()
    assert ended.value.code == 0
    assert "--update-docs" in capsys.readouterr().out
