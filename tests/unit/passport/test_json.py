"""JSON of PASSporTs: one way to write, and nothing read that two readers could read differently."""

import json

import pytest

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason
from zhenxian.passport.json import MAX_DEPTH, dumps, loads

NESTED = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({}, "{}"),
        ({"b": 1, "a": {"d": [], "c": None}}, '{"a":{"c":null,"d":[]},"b":1}'),
        ([{"b": True, "a": False}], '[{"a":false,"b":true}]'),
        ({"é": "真显", "e": '\n\t"\\/\x7f\x01'}, '{"e":"\\n\\t\\"\\\\/\x7f\\u0001","é":"真显"}'),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'),  # by code point
        ({"n": -1, "m": 10**17, "x": 1.5}, '{"m":100000000000000000,"n":-1,"x":1.5}'),
    ],
)
def test_writing_is_deterministic_and_read_back(value, written):
    assert dumps(value) == written.encode()
    if isinstance(value, dict):
        assert loads(written.encode(), "payload") == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{ "b" : 1 ,\n"a": 2\t}',
        b' {"b":1,"a":2}',
        b'{"b":1,"a":2}\n',
        b'\r\n\t {"b":1,"a":2} \t\r\n',
        b'{"\\u0061":2,"b":1}',
        b'{"a":2,"b":-0,"b2":1}',
        b'{"a":1e3,"b":1.0,"c":-0.0,"d":0.1,"e":5e-324,"f":1.7976931348623157e308}',
        b'{"a":"\\/\\ud83d\\ude00"}',
        b'{"a":999999999999999999,"b":-99999999999999999}',
        b'{"a":"12345678901234567890123"}',
        b'{"a":"[[[[[[[[[[[[{{{{{{"}',
        b'{"a":[],"b":[],"c":[],"d":[],"e":[],"f":[],"g":[],"h":[],"i":[]}',
        NESTED,
    ],
)
def test_what_is_read(data):
    assert loads(data, "payload") == json.loads(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.JSON_SYNTAX),
        (b" ", Reason.JSON_SYNTAX),
        (b"null", Reason.JSON_SYNTAX),
        (b"[]", Reason.JSON_SYNTAX),
        (b'"{}"', Reason.JSON_SYNTAX),
        (b"1", Reason.JSON_SYNTAX),
        (b"{", Reason.JSON_SYNTAX),
        (b'{"a":1,}', Reason.JSON_SYNTAX),
        (b"{'a':1}", Reason.JSON_SYNTAX),
        (b'{"a":01}', Reason.JSON_SYNTAX),
        (b'{"a":+1}', Reason.JSON_SYNTAX),
        (b'{"a":.5}', Reason.JSON_SYNTAX),
        (b'{"a":NaN}', Reason.JSON_SYNTAX),
        (b'{"a":Infinity}', Reason.JSON_SYNTAX),
        (b'{"a":-Infinity}', Reason.JSON_SYNTAX),
        (b'{"a":1e400}', Reason.JSON_SYNTAX),
        (b'{"a":1000000000000000000}', Reason.JSON_SYNTAX),
        (b'{"a":18446744073709551616}', Reason.JSON_SYNTAX),
        (b'{"a":' + b"9" * 5000 + b"}", Reason.JSON_SYNTAX),
        (b'{"a":"\n"}', Reason.JSON_SYNTAX),
        (b'{"a":"\\x"}', Reason.JSON_SYNTAX),
        (b'{"a":"\xff"}', Reason.JSON_SYNTAX),
        (b'{"a":"\xed\xa0\x80"}', Reason.JSON_SYNTAX),
        (b'{"a":"\\ud800"}', Reason.JSON_SYNTAX),
        (b'{"\\udc00":1}', Reason.JSON_SYNTAX),
        (b'\xef\xbb\xbf{"a":1}', Reason.JSON_SYNTAX),
        ('{"a":1}'.encode("utf-16"), Reason.JSON_SYNTAX),
        (b'{"a":1}\x0c', Reason.JSON_SYNTAX),
        (b'\x0b{"a":1}', Reason.JSON_SYNTAX),
        ('\u00a0{"a":1}'.encode(), Reason.JSON_SYNTAX),
        ('{"a":1}\u2028'.encode(), Reason.JSON_SYNTAX),
        (b'{"a":1}\n,', Reason.JSON_SYNTAX),
        (b" \n ", Reason.JSON_SYNTAX),
        (b'{"a":1}{"a":1}', Reason.JSON_SYNTAX),
        (b'{"a":1}\x00', Reason.JSON_SYNTAX),
        (b'{"a":1}//', Reason.JSON_SYNTAX),
        (b'{"a":1,"a":1}', Reason.JSON_DUPLICATE_KEY),
        (b'{"a":1,"\\u0061":2}', Reason.JSON_DUPLICATE_KEY),
        (b'{"x":[{"a":{"b":1,"b":2}}]}', Reason.JSON_DUPLICATE_KEY),
        (b'{"a":' + NESTED + b"}", Reason.JSON_TOO_DEEP),
        (b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}", Reason.JSON_TOO_DEEP),
        (b"[" * 8000, Reason.JSON_TOO_DEEP),
        (b'{"a":' * 1600, Reason.JSON_TOO_DEEP),
    ],
)
def test_what_is_refused(data, reason):
    with pytest.raises(ParseError) as refused:
        loads(data, "payload")
    assert refused.value.reason is reason
    assert refused.value.where == "payload"
    assert len(str(refused.value)) < 250
    assert "Expecting" not in str(refused.value)
    assert "line 1 column" not in str(refused.value)


def test_only_json_is_written():
    with pytest.raises(TypeError):
        dumps({"a": object()})
