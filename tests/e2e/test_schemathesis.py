"""The running service keeps what its OpenAPI document promises, whatever is sent."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias("message/sip", "text/plain")


@pytest.fixture(scope="module")
def document(service):
    with service.client() as client:
        return client.get("/openapi.json").json()


@pytest.fixture
def schema(service, document):
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=service.base)
    return loaded


OPERATIONS = [
    ("post", "/stir/v1/signing"),
    ("post", "/stir/v1/verification"),
    ("post", "/sip/v1/originating"),
    ("post", "/sip/v1/terminating"),
    ("get", "/stir/v1/certificates/{name}"),
    *(
        (method, f"/v1/{kind}{rest}")
        for kind in (
            "subjects",
            "resellers",
            "holdings",
            "accesses",
            "bindings",
            "exemptions",
            "refusals",
        )
        for method, rest in (
            ("get", ""),
            ("get", "/{key}"),
            ("put", "/{key}"),
            ("delete", "/{key}"),
            ("get", "/{key}/history"),
        )
    ),
    ("post", "/v1/bindings/batch"),
    ("post", "/v1/holdings/batch"),
    ("post", "/v1/refusals/batch"),
    ("post", "/v1/accesses/{key}/origid"),
    ("post", "/v1/imports/{records}"),
    ("get", "/v1/imports/{records}"),
    ("get", "/v1/exports/{records}"),
    ("post", "/v1/orders"),
    ("get", "/v1/orders"),
    ("get", "/v1/orders/{key}/acknowledgements"),
    ("get", "/v1/numbers/{number}"),
    ("get", "/v1/origids/{origid}"),
    ("get", "/v1/changes"),
    ("get", "/v1/displays"),
    ("post", "/v1/displays/ended"),
    ("get", "/v1/displays/{key}"),
    ("delete", "/v1/displays/{key}"),
    ("get", "/v1/clearings"),
    ("get", "/v1/clearings/{key}"),
    ("post", "/v1/clearings"),
    ("post", "/v1/complaints"),
    ("get", "/v1/complaints"),
    ("delete", "/v1/losses"),
    ("post", "/v1/clock/acceptance"),
]
WITHOUT_PARAMETERS = [
    ("get", "/stir/v1/redress/contact.jws"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/nodes"),
    ("get", "/v1/losses"),
    ("get", "/v1/clock"),
]
ANYTHING_GOES = [each for each in OPERATIONS if "}" in each[1]]  # no text is no name
CASES = [(*each, GenerationMode.POSITIVE) for each in OPERATIONS + WITHOUT_PARAMETERS] + [
    (*each, GenerationMode.NEGATIVE) for each in OPERATIONS if each not in ANYTHING_GOES
]


@pytest.mark.parametrize(
    ("method", "path", "mode"), CASES, ids=[f"{m} {p} {mode.value}" for m, p, mode in CASES]
)
def test_every_answer_is_one_that_is_documented(schema, method, path, mode):
    operation = schema[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=10 if (method, path) in OPERATIONS else 1,
        deadline=2000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        case.call_and_validate(checks=CHECKS)

    check()


def test_the_document_describes_every_route(document):
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == {*OPERATIONS, *WITHOUT_PARAMETERS}


def test_the_documentation_page_needs_no_network(service):
    with service.client() as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert "//" not in page.text.replace("://www.w3.org", "").replace(service.base, "")
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert client.get(f"/docs/{name}").status_code == 200


def test_the_documentation_page_asks_for_a_key_and_does_without(document):
    (name,) = document["components"]["securitySchemes"]
    assert document["security"] == [{}, {name: []}]
