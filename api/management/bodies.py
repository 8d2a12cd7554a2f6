"""Bodies of records, made from the one declaration of each (registry.members).

The framework checks which members there are and of what JSON type; what a value may be is checked
by registry.forms, for bodies as for rows of CSV.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from zhenxian.registry.imports import BATCHES
from zhenxian.registry.members import Member, given
from zhenxian.registry.meta import Form
from zhenxian.registry.model import NAMES, TYPES, Kind


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OrderBody(_Body):
    """A signed instruction: `zhenxian orders` makes them."""

    token: str = Field(max_length=8192, description="Compact JWS of the issuer.")


def _type(member: Member) -> Any:
    if member.is_list:
        return list[str]
    plain: type = int if member.form is Form.TIME else str
    return plain | None if member.nullable else plain


def _described(member: Member) -> Callable[[dict[str, Any]], None]:
    """Puts the declaration's schema in place of the framework's own."""

    def described(schema: dict[str, Any]) -> None:
        schema.clear()
        schema.update(member.schema)

    return described


def _model(kind: Kind, name: str, *, keyed: bool) -> type[BaseModel]:
    """The body of a record; with `keyed` also what otherwise its path names, at the end."""
    members = sorted(given(kind), key=lambda member: member.in_path)
    fields: dict[str, Any] = {
        member.name: (
            _type(member),
            Field(... if member.required else member.default, json_schema_extra=_described(member)),
        )
        for member in members
        if keyed or not member.in_path
    }
    return create_model(name, __base__=_Body, __doc__=getdoc(TYPES[kind]), **fields)


BODIES: Final[dict[Kind, type[BaseModel]]] = {
    kind: _model(kind, f"{kind.value.capitalize()}Body", keyed=False) for kind in NAMES
}
ROWS: Final[dict[Kind, type[BaseModel]]] = {
    kind: _model(kind, f"{kind.value.capitalize()}Row", keyed=True) for kind in BATCHES
}
