"""Holds JSON answers of the service to the OpenAPI document.

Clients may be sent members that they do not know, so the schemas are open. Here they are closed: a
member that an answer has and its schema has not fails a test.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpx
import jsonschema_rs

from zhenxian.service.document import openapi_document

_ANY_TEXT = {"/v1/displays/{key}"}  # whose key has slashes


# Made before any test alters what it is made with.
DOCUMENT = openapi_document()


def closed(schema: Any) -> Any:
    """The schema, no object of which has other members than it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        told.setdefault("additionalProperties", False)
    return told


@lru_cache(maxsize=1)
def _components() -> dict[str, Any]:
    return {"schemas": closed(DOCUMENT["components"]["schemas"])}


@lru_cache(maxsize=1)
def _paths() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Patterns of the paths, those with the most text first."""
    found = []
    for path, item in DOCUMENT["paths"].items():
        member = ".+" if path in _ANY_TEXT else "[^/]+"
        text = re.sub(r"\\\{\w+\\\}", member, re.escape(path))
        found.append((path.count("{"), re.compile(text + r"\Z"), item))
    found.sort(key=lambda entry: entry[0])
    return [(pattern, item) for _, pattern, item in found]


@lru_cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    whole = {**copy.deepcopy(json.loads(schema)), "components": _components()}
    return jsonschema_rs.Draft202012Validator(whole)


def departure(method: str, path: str, status: int, media: str, body: Any) -> str | None:
    """How an answer departs from the document; None when it keeps to it, or is not described."""
    item = next((item for pattern, item in _paths() if pattern.match(path)), {})
    operation = item.get(method.lower())
    if operation is None:
        return None
    where = f"{method} {path} {status}"
    response = operation["responses"].get(str(status))
    if response is None:
        return f"{where}: no such answer is described: {body}"
    described = response.get("content", {}).get(media)
    if described is None:
        return f"{where}: {media} is not described: {body}"
    for error in _validator(json.dumps(described["schema"])).iter_errors(body):
        return f"{where}: {error.message} at {error.instance_path}: {json.dumps(body)[:2000]}"
    return None


def check(method: str, path: str, status: int, fields: Mapping[str, str], body: bytes) -> None:
    """Raise AssertionError for a JSON answer that departs from the document."""
    media = fields.get("content-type", "").partition(";")[0].strip()
    if method == "HEAD" or not body or not media.endswith("json"):
        return
    told = departure(method, path, status, media, json.loads(body))
    assert told is None, told


def check_response(response: httpx.Response) -> None:
    """A hook of httpx: what was answered keeps to the document."""
    if response.headers.get("content-type", "").partition(";")[0].endswith("json"):
        response.read()
        request = response.request
        check(
            request.method,
            request.url.path,
            response.status_code,
            response.headers,
            response.content,
        )
