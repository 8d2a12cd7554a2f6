"""JSON schemas of what is read and answered, made from the types that the code declares.

A route names the types of its answer by `answered`; the OpenAPI document asks for `components`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from zhenxian.core.tn import TN

JSON: Final = "application/json"
_PLACE: Final = "#/components/schemas/"
_declared: Final[dict[str, Any]] = {}


def schema_of(*types: Any) -> dict[str, Any]:
    """A reference to a type's schema, or to one of several.

    Args:
        types: msgspec Structs and TypedDicts; each name belongs to one type.
    """
    references = []
    for each in types:
        name = each.__name__
        if _declared.setdefault(name, each) is not each:
            raise RuntimeError(f"two types of the API are called {name}")
        references.append({"$ref": _PLACE + name})
    return references[0] if len(references) == 1 else {"anyOf": references}


def content(*types: Any, media: str = JSON, **examples: Any) -> dict[str, Any]:
    """What a body of some type is, by its media type, with examples by their name."""
    described: dict[str, Any] = {"schema": schema_of(*types)}
    if examples:
        described["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {media: described}


def answered(text: str, *types: Any, **examples: Any) -> dict[int | str, dict[str, Any]]:
    """The documented answer 200, of one of the types."""
    return {200: {"description": text, "content": content(*types, **examples)}}


def components() -> dict[str, Any]:
    """The schemas of all types that were named so far, and of those within them."""
    (_, found) = msgspec.json.schema_components(
        list(_declared.values()), schema_hook=_number, ref_template=_PLACE + "{name}"
    )
    named: dict[str, Any] = {}
    schemas = {name: _enumerated(schema, named, name) for name, schema in found.items()}
    return dict(sorted((named | schemas).items()))


def _number(kind: type) -> dict[str, Any]:
    if issubclass(kind, TN):
        return {"type": "string", "pattern": "^[0-9*#]{1,16}$"}
    raise NotImplementedError


def _enumerated(schema: Any, named: dict[str, Any], name: str = "") -> Any:
    """The schema, each enumeration with the type of its members, those with a title in `named`.

    Generators of clients make one class of each, which they would make anew wherever it stands.
    """
    if isinstance(schema, list):
        return [_enumerated(each, named) for each in schema]
    if not isinstance(schema, dict):
        return schema
    members = schema.get("enum")
    if isinstance(members, list):
        text = all(isinstance(member, str) for member in members)
        told = {**schema, "type": "string" if text else "integer"}
        title = schema.get("title")
        if title is None or title == name:
            return told
        named[title] = {key: value for key, value in told.items() if key != "description"}
        return {"$ref": _PLACE + title}
    return {key: _enumerated(value, named) for key, value in schema.items()}
