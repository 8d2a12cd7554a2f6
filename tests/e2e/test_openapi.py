"""The OpenAPI document: valid, complete, with examples that work, and good for making clients."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from described import departure
from openapi_spec_validator import OpenAPIV31SpecValidator

from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.api.examples import PARAMETERS, RECORDS
from zhenxian.core.reasons import Reason, Verstat

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / ".venv/client/bin/python"
METHODS = {"get", "put", "post", "delete"}


@pytest.fixture(scope="module")
def document(service):
    with service.client() as client:
        return client.get("/openapi.json").json()


def operations(document):
    """Method, path and description of each operation."""
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def timeless(described):
    """It, without the examples, which hold the time at which it was served."""
    if isinstance(described, list):
        return [timeless(each) for each in described]
    if isinstance(described, dict):
        return {
            name: timeless(value)
            for name, value in described.items()
            if name not in ("example", "examples")
        }
    return described


def schemas(document, *names):
    return [document["components"]["schemas"][name]["enum"] for name in names]


# The document ------------------------------------------------------------------------------------


def test_it_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_each_operation_has_an_id_of_its_own_a_summary_and_a_described_tag(document):
    found = operations(document)
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(set(ids)) == len(ids) > 50
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for _, _, operation in found for tag in operation["tags"]} == described
    assert all(operation["summary"] and method in METHODS for method, _, operation in found)
    assert document["info"]["title"].isascii()


def test_every_json_answer_has_a_model(document):
    """Its own declared type: neither any object nor what the framework makes of an annotation."""
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            for media, described in response.get("content", {}).items():
                if not media.endswith("json"):
                    continue
                schema = described["schema"]
                for reference in schema.get("anyOf", [schema]):
                    assert set(reference) == {"$ref"}, (method, path, status)
                    name = reference["$ref"].rpartition("/")[2]
                    assert document["components"]["schemas"][name]["properties"]


def test_fixed_values_are_enumerated(document):
    verstat, attest, reasons, decisions, kinds = schemas(
        document, "Verstat", "Attestation", "VerdictReason", "DecisionReason", "Kind"
    )
    assert verstat == sorted(one.value for one in Verstat)
    assert attest == ["A", "B", "C"]
    assert set(reasons) == {one.name for one in Reason if one.verstat is not None}
    assert {"HELD_AND_VERIFIED", "ACCESS_UNKNOWN"} < set(decisions) < {one.name for one in Reason}
    assert "holding" in kinds
    for name, schema in document["components"]["schemas"].items():
        if "enum" in schema:
            assert schema["type"] in ("string", "integer"), name


def test_it_is_the_same_without_a_service_and_beside_a_listener_of_its_own(document, apart):
    printed = subprocess.run(
        [sys.executable, "-m", "zhenxian", "openapi"], capture_output=True, check=True, timeout=120
    )
    alone = json.loads(printed.stdout)
    with apart.client(base_url=f"http://127.0.0.1:{apart.admin}") as client:
        beside = client.get("/openapi.json").json()
    assert timeless(alone) == timeless(beside) == timeless(document)


# Examples -----------------------------------------------------------------------------------------


def _examples(operation):
    for media, described in operation.get("requestBody", {}).get("content", {}).items():
        for example in described.get("examples", {}).values():
            yield media, example["value"]


def _place(path, operation):
    """The path and the query with the examples of its parameters."""
    query = {}
    for parameter in operation.get("parameters", ()):
        if "example" in parameter:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
            else:
                query[parameter["name"]] = parameter["example"]
    return path, query


def test_the_examples_work_as_they_are_served(service):
    """As a reader sends them: first what is put on record, in order, then calls, then questions."""
    with service.client() as client:
        document = client.get("/openapi.json").json()
        found = {operation["operationId"]: (method, path, operation) for method, path, operation in
                 operations(document)}  # fmt: skip
        order = [f"put_{kind}" for kind in RECORDS]
        order.insert(-1, "put_many_holdings")  # a binding's X is one of them
        writing = [*order, *(name for name, (method, _, _) in found.items()
                             if method in ("post", "put") and name not in order)]  # fmt: skip
        sent = []
        for name in writing:
            method, path, operation = found[name]
            for media, value in _examples(operation):
                place, query = _place(path, operation)
                body = value if isinstance(value, str) else json.dumps(value)
                answer = client.request(
                    method, place, params=query, content=body, headers={"content-type": media}
                )
                assert answer.status_code == 200, (name, answer.text)
                sent.append(name)
                if name == "verification" and "identity" in json.dumps(value):
                    told = answer.json()["verificationResponse"]
                    assert "TN-Validation-Passed" in told.values(), told
        assert {*order, "signing", "verification", "import_records", "put_many_holdings"} <= {*sent}
        assert sent.count("signing") == 2
        assert sent.count("verification") == 3
        for name in PARAMETERS:
            method, path, operation = found[name]
            if method == "get":
                place, query = _place(path, operation)
                answer = client.get(place, params=query)
                assert answer.status_code == 200, (name, answer.text)


def test_only_who_may_sign_is_given_a_token_of_the_carrier(serve, tmp_path):
    keys = tmp_path / "keys.toml"
    proxy, auditor = add_key(keys, "sbc", [Role.PROXY]), add_key(keys, "auditor", [Role.AUDITOR])
    service = serve(auth__keys=keys)

    def example(**headers):
        document = client.get("/openapi.json", headers=headers).json()
        content = document["paths"][VERIFICATION]["post"]["requestBody"]["content"]
        return content["application/json"]["examples"]["ATIS"]["value"]

    with service.client() as client:
        for headers in ({}, {"x-api-key": auditor}, {"x-api-key": proxy}):
            body = example(**headers)
            answer = client.post(VERIFICATION, json=body, headers={"x-api-key": proxy})
            assert answer.status_code == 200
            passed = answer.json()["verificationResponse"]["verstat"] == "TN-Validation-Passed"
            assert passed == (headers.get("x-api-key") == proxy)


# What holds answers to it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"verificationResponse": {"verstat": "TN-Validation-Passed"}}, None),
        ({"verificationResponse": {"verstat": "TN-Validation-Maybe"}}, "anyOf"),
        ({"verificationResponse": {"verstat": "TN-Validation-Passed", "more": 1}}, "anyOf"),
        ({"verificationResponse": {}}, "anyOf"),
    ],
)
def test_an_answer_that_departs_from_its_schema_is_found(body, says):
    found = departure("POST", VERIFICATION, 200, "application/json", body)
    assert found is None if says is None else says in found


def test_an_answer_that_is_not_described_is_found():
    assert "no such answer" in departure("POST", SIGNING, 418, "application/json", {})
    assert "not described" in departure("GET", "/v1/subjects", 200, "text/json", {})
    assert departure("GET", "/nothing", 404, "application/json", {}) is None


# A client -----------------------------------------------------------------------------------------

USE = """
import sys, time
from zhenxian_client import AuthenticatedClient
from zhenxian_client.api.calls import signing, verification
from zhenxian_client.api.displays import list_findings
from zhenxian_client.api.registry import (
    end_subject, list_changes, put_access, put_holding, put_subject, read_number, read_subject,
    read_subject_history, trace_origid,
)
from zhenxian_client.models import (
    AccessBody, AtisError, AtisSigningAnswer, AtisVerificationAnswer, Attestation, HoldingBody,
    HoldingBodyVerification,
    Party, Problem, SigningBody, SigningMembers, SubjectBody, VerificationBody,
    VerificationMembers, VerdictReason, Verstat,
)

base, key = sys.argv[1:]
client = AuthenticatedClient(base_url=base, token=key, raise_on_unexpected_status=True)
number, origid = "8675599990001", "c0000000-0000-4000-8000-000000000077"
why = {"client": client, "reason": "by a generated client"}

made = put_subject.sync("clinic", body=SubjectBody(name="Clinic"), **why)
assert (made.id, made.name, made.state.value) == ("clinic", "Clinic", "active"), made
verified = HoldingBodyVerification.VERIFIED
held = put_holding.sync(number, body=HoldingBody(subject="clinic", verification=verified), **why)
assert (held.first, held.last, held.verification.value) == (number, number, "verified"), held
access = put_access.sync("clinic-trunk", body=AccessBody(origid=origid, subject="clinic"), **why)
assert access.origid == origid

asked = SigningMembers(
    orig=Party(tn=number), dest=Party(tn=["8613900139000"]), attest=Attestation.A,
    iat=int(time.time()), origid=origid,
)
signed = signing.sync(client=client, body=SigningBody(signing_request=asked))
assert isinstance(signed, AtisSigningAnswer), signed
signed = signed.signing_response
assert (signed.attest, signed.decision.value) == (Attestation.A, "HELD_AND_VERIFIED"), signed

call = VerificationMembers(
    from_=Party(tn=number), to=Party(tn=["8613900139000"]), time=int(time.time()),
    identity=signed.identity, explain=True,
)
judged = verification.sync(client=client, body=VerificationBody(verification_request=call))
assert isinstance(judged, AtisVerificationAnswer), judged
judged = judged.verification_response
assert (judged.verstat, judged.reason) == (Verstat.TN_VALIDATION_PASSED, VerdictReason.VERIFIED)
assert judged.attest is Attestation.A and judged.origid == origid, judged
assert len(judged.checks[0].passed) > 10

asked.iat = 0
late = signing.sync(client=client, body=SigningBody(signing_request=asked))
assert isinstance(late, AtisError)
assert late.request_error.service_exception.message_id == "SVC4005", late

who = read_number.sync(number, client=client)
assert who.holdings[0].subject == "clinic" and who.order is None, who
assert read_subject.sync("clinic", client=client).version == made.version
assert isinstance(read_subject.sync("nobody", client=client), Problem)
traced = trace_origid.sync(origid, client=client)
assert traced.current is True and traced.id == "clinic-trunk", traced
assert read_subject_history.sync("clinic", client=client).versions[0].record.name == "Clinic"
assert list_changes.sync(client=client, limit=1000).changes[-1].changed[0].key == "clinic-trunk"
assert list_findings.sync(client=client).findings == []
refused = end_subject.sync("clinic", **why)
assert isinstance(refused, Problem) and refused.status == 409, refused
print("done")
"""


def test_a_generated_client_installs_signs_verifies_registers_and_reads(serve, tmp_path):
    assert CLIENT.exists(), "run scripts/setup dev"
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "client", list(Role))
    service = serve(auth__keys=keys)
    path = tmp_path / "openapi.json"
    with service.client() as client:
        path.write_text(client.get("/openapi.json").text)
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")  # they set the form of the code
    made = tmp_path / "client"
    told = subprocess.run(
        [CLIENT, "-m", "openapi_python_client", "generate", "--path", path, "--meta", "setup",
         "--config", config, "--output-path", made],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    # It makes no code for bodies of CSV, and passes over that one operation.
    warned = [line for line in told.stdout.splitlines() if line.startswith("WARNING")]
    assert len(warned) <= 1, told.stdout
    assert all("POST /v1/imports/{records}" in line for line in warned), told.stdout
    assert "Unable to process" not in told.stdout, told.stdout
    installed = tmp_path / "installed"
    subprocess.run(
        [CLIENT, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", installed, made],
        check=True, timeout=300,
    )  # fmt: skip
    done = subprocess.run(
        [CLIENT, "-c", USE, service.base, key],
        env={"PYTHONPATH": str(installed), "NO_PROXY": "*"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
