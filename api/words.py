"""What the framework of the administration and of the settings finds, in words of JSON.

As passport.words, for pydantic: its sentences name types of Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from zhenxian.core.errors import shown
from zhenxian.passport.words import counted, form

_PYDANTIC: Final[Mapping[str, str]] = {
    "missing": "missing",
    "extra_forbidden": "unknown",
    "string_type": "text expected",
    "string_unicode": "text in UTF-8 expected",
    "string_too_short": "at least {min_length:character} expected",
    "string_too_long": "at most {max_length:character} expected",
    "int_type": "a whole number expected",
    "int_parsing": "a whole number expected",
    "int_parsing_size": "a whole number that is not so large expected",
    "int_from_float": "a whole number expected",
    "float_type": "a number expected",
    "float_parsing": "a number expected",
    "finite_number": "a number expected",
    "bool_type": "true or false expected",
    "bool_parsing": "true or false expected",
    "list_type": "a list expected",
    "dict_type": "an object expected",
    "model_type": "an object expected",
    "model_attributes_type": "an object expected",
    "too_short": "at least {min_length:member} expected",
    "too_long": "at most {max_length:member} expected",
    "greater_than": "a number above {gt} expected",
    "greater_than_equal": "a number of at least {ge} expected",
    "less_than": "a number below {lt} expected",
    "less_than_equal": "a number of at most {le} expected",
    "literal_error": "{expected} expected",
    "enum": "{expected} expected",
    "path_type": "the path of a file expected",
    "none_required": "null expected",
}


_PLACE = re.compile(r"\{(?P<name>\w+)(?::(?P<noun>\w+))?\}")


def sentence(problem: Mapping[str, Any]) -> str:
    """What pydantic found, one entry of its errors(), without the name of the member."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return form(str(context.get("pattern")))
    if kind == "value_error":  # a sentence of ours
        return str(context.get("error"))
    if kind == "json_invalid":
        return "no JSON"
    told = _PYDANTIC.get(kind)
    return _filled(told, context) if told else "a value of another kind expected"


def _filled(told: str, context: Mapping[str, Any]) -> str:
    """Fill in {name}, and {name:noun} as so many of the noun."""
    return _PLACE.sub(
        lambda found: (
            counted(context[found["name"]], found["noun"])
            if found["noun"]
            else str(context[found["name"]])
        ),
        told,
    )


def member(place: Sequence[int | str]) -> str:
    """A member's path: body.0.kind."""
    parts = [str(part) for part in place]
    return ".".join(part if part.isprintable() else shown(part)[1:-1] for part in parts)
