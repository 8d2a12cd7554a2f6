"""What hundreds of services in one process have in common is worked out once.

Their routes are the same but for the functions behind them; analysing the parameters of a route
takes most of the time in which a service is made. What is kept here depends on nothing but what is
asked, and nobody changes it. A route is analysed when it is first asked for something: a test asks
one or two of ninety. That all of them can be analysed is seen where the document is made.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, ClassVar

import fastapi._compat.v2 as compiled
import fastapi.dependencies.utils as analysed
import fastapi.routing as routed
import httpx._transports.asgi as in_process
import httpx._transports.default as clients
from pydantic import TypeAdapter


class _CompiledOnce:
    """As TypeAdapter."""

    _made: ClassVar[dict] = {}

    def __class_getitem__(cls, item):
        return TypeAdapter[item]

    def __new__(cls, kind, config=None):
        key = (repr(kind), repr(config))
        if key not in cls._made:
            cls._made[key] = TypeAdapter(kind, config=config)
        return cls._made[key]


def _analysed_once(real):
    """As `analyze_param`; parameters that cannot be told apart without doubt are analysed anew."""

    @lru_cache(maxsize=4096, typed=True)
    def once(param_name, annotation, value, in_path):
        return real(
            param_name=param_name,
            annotation=annotation,
            value=value,
            path_param_names={param_name} if in_path else set(),
        )

    def analyse(*, param_name: str, annotation: Any, value: Any, path_param_names: set[str]) -> Any:
        try:
            return once(param_name, annotation, value, param_name in path_param_names)
        except TypeError:  # not hashable
            return real(
                param_name=param_name,
                annotation=annotation,
                value=value,
                path_param_names=path_param_names,
            )

    return analyse


def _path_once(real):
    """As `compile_path`."""
    once = lru_cache(maxsize=None)(real)

    def compile_path(path):
        pattern, written, convertors = once(path)
        return pattern, written, dict(convertors)

    return compile_path


def _when_wanted(real):
    """As `APIRoute.__init__` and `__getattr__`: what tells whom a request is for comes at once."""

    def made(self, path, endpoint, *, methods=None, **given):
        self.path, self.endpoint = path, endpoint
        self.path_regex, self.path_format, self.param_convertors = routed.compile_path(path)
        self.methods = {method.upper() for method in methods or ["GET"]}
        self._wanted = lambda: real(self, path, endpoint, methods=methods, **given)

    def missing(self, name):
        analyse = self.__dict__.pop("_wanted", None)
        if analyse is None:
            raise AttributeError(name)
        analyse()
        return getattr(self, name)

    return made, missing


def _context_once(real):
    """As `create_ssl_context` of clients, which reads the CAs of the world, unless told others."""
    once = lru_cache(maxsize=None)(real)

    def create_ssl_context(verify=True, cert=None, trust_env=True):
        named = any(name in os.environ for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        if verify is not True or cert is not None or named:
            return real(verify=verify, cert=cert, trust_env=trust_env)
        return once(verify=True, cert=None, trust_env=trust_env)

    return create_ssl_context


def install() -> None:
    """For every application, and every client, that this process makes from now on."""
    in_process.is_running_trio = lambda: (
        False
    )  # it looks for a library that is not there, each time
    clients.create_ssl_context = _context_once(clients.create_ssl_context)
    compiled.TypeAdapter = _CompiledOnce
    analysed.analyze_param = _analysed_once(analysed.analyze_param)
    routed.compile_path = _path_once(routed.compile_path)
    route = routed.APIRoute
    route.__init__, route.__getattr__ = _when_wanted(route.__init__)
