"""The service in process, without a network; see desk.py."""

from desk import (  # noqa: F401
    _no_environment,
    _untouched,
    desk,
    desk_of,
    desk_with,
    installation,
    on_either_engine,
    pool,
    prepared,
    service,
)
