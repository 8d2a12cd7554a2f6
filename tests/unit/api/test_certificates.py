"""STI-CR: chains under the hash of their content, and nothing else of the disk."""

from __future__ import annotations

import hashlib

import pytest

from zhenxian.api.published.certificates import MEDIA_TYPE, PATH, Publisher
from zhenxian.core.errors import ConfigError

CHAIN = b"-----BEGIN CERTIFICATE-----\n...\n"
NAME = hashlib.sha256(CHAIN).hexdigest() + ".pem"


def test_a_chain_is_published_under_its_hash_and_stays(tmp_path):
    publisher = Publisher(tmp_path / "published")
    assert publisher.publish(CHAIN) == NAME == Publisher.name(CHAIN)
    assert publisher.publish(CHAIN) == NAME
    publisher.publish(CHAIN + b"another")
    assert publisher.read(NAME) == CHAIN
    assert len(list((tmp_path / "published").iterdir())) == 2
    assert Publisher(tmp_path / "published").read(NAME) == CHAIN


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file"):
        Publisher(tmp_path / "file")
    publisher = Publisher(tmp_path / "published")
    (tmp_path / "published").rmdir()
    (tmp_path / "published").write_bytes(b"")
    with pytest.raises(ConfigError, match=NAME):
        publisher.publish(CHAIN)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../registry.sqlite",
        "..%2Fregistry.sqlite",
        "/etc/passwd",
        NAME + "\n",
        NAME.upper(),
        NAME.removesuffix(".pem"),
        "f" * 64 + ".pem",
        "x" * 5000,
    ],
)
def test_other_names_name_nothing(tmp_path, name):
    publisher = Publisher(tmp_path)
    publisher.publish(CHAIN)
    assert publisher.read(name) is None


def test_it_is_served_with_type_tag_and_age(desk):
    chain = desk.service.keys.current.chain_pem
    path = PATH + Publisher.name(chain)
    answer = desk.http("GET", path)
    assert (answer.status_code, answer.content) == (200, chain)
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "immutable" in answer.headers["cache-control"]
    assert "max-age=86400" in answer.headers["cache-control"]
    tag = answer.headers["etag"]
    assert tag == f'"{hashlib.sha256(chain).hexdigest()}"'
    head = desk.http("HEAD", path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(chain)))
    for field in (tag, f'"x", {tag}', f"W/{tag}"):
        again = desk.http("GET", path, headers={"if-none-match": field})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert desk.http("GET", path, headers={"if-none-match": '"x"'}).status_code == 200


def test_what_cannot_be_read_now_is_not_called_missing(desk):
    """Other carriers believe a 404, and ask a host that says 503 again."""
    name = Publisher.name(desk.service.keys.current.chain_pem)
    file = desk.service.settings.data / "published" / name
    moved = file.rename(file.with_suffix(".moved"))
    file.mkdir()  # what a disk that cannot be read answers with: an error, and not "no such file"
    answer = desk.http("GET", PATH + name)
    assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")
    file.rmdir()
    moved.rename(file)
    assert desk.http("GET", PATH + name).status_code == 200


@pytest.mark.parametrize(
    "name", ["nothing.pem", "f" * 64 + ".pem", "..%2f..%2fregistry.sqlite", "%00", "a%0d%0ab"]
)
def test_what_is_not_published_is_not_found_and_not_cached(desk, name):
    answer = desk.http("GET", PATH + name)
    assert answer.status_code == 404
    assert answer.headers.get("cache-control", "no-store") == "no-store"
    assert desk.http("POST", PATH + name).status_code in (404, 405)


@pytest.mark.parametrize("chains", [64, 10_000])
def test_as_many_chains_are_remembered_as_are_set(desk_with, chains):
    service = desk_with(fetch={"chains": chains}).service
    assert service.repository._limits.entries == chains
    assert service.verifier._signers._bound == chains
