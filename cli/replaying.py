"""The command line with `zhenxian replay` alone."""

from __future__ import annotations

from zhenxian.cli import replay
from zhenxian.cli.group import as_paragraphs, command_line

app = command_line()
replay.register(app)
as_paragraphs(app)
