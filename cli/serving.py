"""The command line with `zhenxian serve` alone."""

from __future__ import annotations

from zhenxian.cli import serve
from zhenxian.cli.group import as_paragraphs, command_line

app = command_line()
serve.register(app)
as_paragraphs(app)
