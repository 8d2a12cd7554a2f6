"""The settings that a command works with: apart, as what reads them takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zhenxian.service.run import default_settings_file
from zhenxian.service.settings import Settings, load_settings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file (TOML). Default: zhenxian.toml here, if there is one. Every setting"
        " can also be given as ZHENXIAN_… in the environment.",
        show_default=False,
    ),
]


def settings_of(config: Path | None, **overrides: Any) -> Settings:
    """The settings the command works with. Raises ConfigError."""
    return load_settings(config if config is not None else default_settings_file(), **overrides)
