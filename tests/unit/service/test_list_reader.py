"""Revocation lists read in another process, or here where there is none."""

from __future__ import annotations

import io
import logging
import os
import signal

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lists import unsigned

from zhenxian.certs.crl import parse_crl
from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.service import list_reader
from zhenxian.service.list_reader import SMALL, ListReader, read_apart

ENTRIES = 4_000
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65_537, 2_048)
SALTED = padding.PSS(padding.MGF1(hashes.SHA256()), 20)
WHOLE = [
    x509.ReasonFlags.key_compromise,
    x509.ReasonFlags.superseded,
]


def made(key, *, entries=ENTRIES, point=None, number=7, **more):
    builder = unsigned(entries).add_extension(x509.CRLNumber(number), critical=False)
    if point is not None:
        builder = builder.add_extension(point, critical=True)
    return builder.sign(key, hashes.SHA256(), **more)


def issuing(**more):
    told = {
        "full_name": [x509.UniformResourceIdentifier("https://lists.example/a.crl")],
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**told | more)


LISTS = {
    "plain": made(EC),
    "RSA": made(RSA),
    "PSS": made(RSA, rsa_padding=SALTED),
    "none listed": made(EC, entries=0),
    "numbered with 20 octets": made(EC, number=(1 << 159) - 1),
    "indirect": made(EC, point=issuing(indirect_crl=True)),
    "some reasons": made(EC, point=issuing(only_some_reasons=frozenset(WHOLE))),
}


@pytest.mark.parametrize("form", [Encoding.DER, Encoding.PEM])
@pytest.mark.parametrize("name", LISTS)
def test_another_process_reads_what_this_one_would(name, form, caplog):
    data = LISTS[name].public_bytes(form)
    found = read_apart(data)
    assert caplog.text == ""  # it was not read here in the end
    assert found == parse_crl(data)
    key = RSA if name in {"RSA", "PSS"} else EC
    assert found.signature.made_by(key.public_key())


def test_what_cannot_be_read_is_told_alike():
    der = LISTS["plain"].public_bytes(Encoding.DER)
    for data in (
        der[:-1],
        der + b"x",
        b"",
        b"no list",
        made(EC, point=issuing(only_contains_attribute_certs=True)).public_bytes(Encoding.DER),
        b"\x30" * (8 * 1024 * 1024 + 1),
    ):
        with pytest.raises(ParseError) as here:
            parse_crl(data)
        with pytest.raises(ParseError) as there:
            read_apart(data)
        assert str(there.value) == str(here.value)


def test_a_large_list_is_read_once_and_apart(monkeypatch):
    data = LISTS["plain"].public_bytes(Encoding.DER)
    assert len(data) > SMALL
    read = []
    monkeypatch.setattr(list_reader, "read_apart", lambda data: read.append(data) or found)
    found = parse_crl(data)
    reader = ListReader()
    assert reader(data) is reader(data) is found
    small = LISTS["none listed"].public_bytes(Encoding.DER)
    assert reader(small) == parse_crl(small)
    assert read == [data]
    for number in range(4):
        reader(data + bytes([number]))
    reader(data)
    assert read.count(data) == 2  # few are kept


@pytest.mark.parametrize("module", ["zhenxian.nowhere", None])
def test_where_there_is_no_process_for_it_a_list_is_read_all_the_same(module, monkeypatch, caplog):
    """A revocation must not wait for a machine to have room for a process."""
    spawned = list_reader.spawned_module

    def start(name, passed, *more):
        if module is None:
            raise StoreUnavailableError("no process can be started for it")
        return spawned(name, passed, module)

    monkeypatch.setattr(list_reader, "spawned_module", start)
    data = LISTS["plain"].public_bytes(Encoding.DER)
    with caplog.at_level(logging.WARNING):
        assert read_apart(data) == parse_crl(data)
    assert "is read beside calls" in caplog.text


def test_an_answer_that_is_cut_off_is_none(monkeypatch):
    data = LISTS["plain"].public_bytes(Encoding.DER)
    whole = msgspec.msgpack.encode(list_reader._Read(parse_crl(data), "7"))

    class Cut:
        def __init__(self, *_):
            self.orders, self.out = io.BytesIO(), io.BytesIO(whole[: len(whole) // 2])

        def end(self):
            self.ended = True

        kill = end

    monkeypatch.setattr(list_reader, "spawned_module", Cut)
    assert read_apart(data) == parse_crl(data)


def test_a_process_that_stands_still_is_not_waited_for(monkeypatch):
    spawned = list_reader.spawned_module

    def stopped(*command):
        process = spawned(*command)
        os.kill(process.pid, signal.SIGSTOP)
        return process

    monkeypatch.setattr(list_reader, "spawned_module", stopped)
    monkeypatch.setattr(list_reader, "_SECONDS", 0.2)
    data = LISTS["plain"].public_bytes(Encoding.DER)
    assert read_apart(data) == parse_crl(data)
