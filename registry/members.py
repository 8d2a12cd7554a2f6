"""The members of records, read from their declaration in registry.model.

Rows of CSV, bodies and schemas of the management API, and the help of the command line are made
from these, and registry.forms checks by them. So a member that is added to a record is everywhere,
or nowhere.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.meta import FORM, LISTS, Form
from zhenxian.registry.model import NAMES, TYPES, Kind, Record

_TAKEN_FROM_PATH: Final = ("id", "first", "last")
_FIRST: Final = "The number, or the first of the range."
_LAST: Final = "The last of the range; left out for one number."


_PLAIN_FORMS: Final = (
    (str, False, Form.TEXT),
    (str, True, Form.WORDS),
    (TN, False, Form.NUMBER),
    (int, False, Form.COUNT),
)


class Member(Struct, frozen=True, kw_only=True):
    """A member of a record, as a row has it.

    Attributes:
        name: also of the column, and of the member of a body.
        attribute: of the record's struct; another than the name for the ends of a range.
        meaning: in a sentence.
        choices: the values that may be, where they are fixed.
        required: a row without it is refused.
        default: as a row has it; None where there is none.
        absent: what the record has when the row has none.
        schema: of JSON, without the member's name.
    """

    name: str
    attribute: str
    form: Form
    meaning: str
    choices: type[Enum] | None = None
    required: bool = False
    default: Any = None
    absent: Any = None
    schema: dict[str, Any]

    @property
    def in_path(self) -> bool:
        """True when the record's address names it."""
        return self.name in _TAKEN_FROM_PATH

    @property
    def nullable(self) -> bool:
        """True when a body may say that there is none."""
        return self.default is None and not self.required

    @property
    def is_list(self) -> bool:
        """True when a row has words with spaces, and a body a list."""
        return self.form in LISTS

    @property
    def allowed(self) -> tuple[str, ...]:
        """The values that may be, where they are fixed; otherwise none."""
        return _values(self.choices) if self.choices is not None else ()


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is TN:
        return {"type": "string"}
    raise NotImplementedError(kind.__name__)


def _members(record: type[Record]) -> tuple[Member, ...]:
    described = inspect.type_info(record)
    assert isinstance(described, inspect.StructType)
    _, components = msgspec.json.schema_components([record], schema_hook=_schema_of)
    schemas = components[record.__name__]["properties"]
    found: list[Member] = []
    for field in described.fields:
        if _plain(field.type)[0] is TNRange:
            found += _span(field)
        else:
            found.append(_member(field, _inlined(schemas[field.name], components)))
    return tuple(found)


def _member(field: inspect.Field, schema: dict[str, Any]) -> Member:
    form, choices = _form(field.type)
    required = field.default is NODEFAULT
    absent = None if required else field.default
    # A time of 0 is none: nothing was verified in the first second of 1970.
    default = None if form is Form.TIME and absent == 0 else _as_row(absent)
    schema.pop("default", None)
    if choices is not None:  # in the order in which they are declared
        (schema if form is Form.CHOICE else schema["items"])["enum"] = list(_values(choices))
    if required and form in (Form.ID, Form.ORIGID, Form.TEXT, Form.TARGET):
        schema["minLength"] = 1
    if not required:
        if default is None:
            schema = _or_null(schema)
        schema["default"] = default
    return Member(
        name=field.name,
        attribute=field.name,
        form=form,
        meaning=schema.get("description", ""),
        choices=choices,
        required=required,
        default=default,
        absent=absent,
        schema=schema,
    )


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that there may not be."""
    (kind,) = {one.get("type", "null") for one in schema.pop("anyOf", [schema])} - {"null"}
    of_value = {name: schema.pop(name) for name in ("minimum", "maximum") if name in schema}
    schema.pop("type", None)
    return {**schema, "anyOf": [{"type": kind, **of_value}, {"type": "null"}]}


def _values(choices: type[Enum]) -> tuple[str, ...]:
    return tuple(str(one.value) for one in choices)


def _span(field: inspect.Field) -> tuple[Member, Member]:
    assert isinstance(field.type, inspect.Metadata)
    first, last = (field.type.extra_json_schema or {})["examples"]
    text = {"type": "string"}
    return (
        Member(
            name="first",
            attribute=field.name,
            form=Form.FIRST,
            meaning=_FIRST,
            required=True,
            schema={**text, "description": _FIRST, "examples": [first]},
        ),
        Member(
            name="last",
            attribute=field.name,
            form=Form.LAST,
            meaning=_LAST,
            default="",
            schema={**text, "description": _LAST, "examples": [last], "default": ""},
        ),
    )


def _form(declared: inspect.Type) -> tuple[Form, type[Enum] | None]:
    """The form of a member, and its choices. Raises TypeError for a type that has none."""
    extra = declared.extra or {} if isinstance(declared, inspect.Metadata) else {}
    cls, many = _plain(declared)
    if isinstance(cls, type) and issubclass(cls, Enum):
        return (Form.CHOICES if many else Form.CHOICE), cls
    if FORM in extra:
        return extra[FORM], None
    for kind, is_list, form in _PLAIN_FORMS:
        if cls is kind and many is is_list:
            return form, None
    raise TypeError(f"no rows have members of {declared}")


def _plain(declared: inspect.Type) -> tuple[object, bool]:
    """A type without what is said of it and without None, and whether there may be many."""
    if isinstance(declared, inspect.Metadata):
        return _plain(declared.type)
    if isinstance(declared, inspect.UnionType):
        (one,) = (part for part in declared.types if not isinstance(part, inspect.NoneType))
        return _plain(one)
    if isinstance(declared, inspect.VarTupleType):
        return _plain(declared.item_type)[0], True
    if isinstance(declared, inspect.StrType):
        return str, False
    if isinstance(declared, inspect.IntType):
        return int, False
    return getattr(declared, "cls", declared), False


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """A schema without references: of an enumeration its values alone."""
    if isinstance(schema, list):
        return [_inlined(one, components) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _inlined(value, components) for name, value in schema.items()}
    reference = found.pop("$ref", None)
    if reference is None:
        return found
    return {"type": "string", "enum": components[reference.rpartition("/")[2]]["enum"], **found}


def _as_row(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_row(one) for one in value]
    return value.value if isinstance(value, Enum) else value


MEMBERS: Final[dict[Kind, tuple[Member, ...]]] = {
    kind: _members(record) for kind, record in TYPES.items()
}

COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {
    kind: tuple(member.name for member in MEMBERS[kind]) for kind in NAMES
}

_DOCUMENT_NUMBER: Final = "Number of the identity document: hashed on arrival, never kept or shown."
DOCUMENT_NUMBER: Final = Member(
    name="document_number",
    attribute="",
    form=Form.TEXT,
    meaning=_DOCUMENT_NUMBER,
    default="",
    schema={"type": "string", "description": _DOCUMENT_NUMBER, "default": ""},
)


def given(kind: Kind) -> tuple[Member, ...]:
    """The members that a writer may give.

    Those of the record, and of subjects the number of the document, from which its hash is made.
    """
    found: list[Member] = []
    for member in MEMBERS[kind]:
        if kind is Kind.SUBJECT and member.name == "document":
            found.append(DOCUMENT_NUMBER)
        found.append(member)
    return tuple(found)
