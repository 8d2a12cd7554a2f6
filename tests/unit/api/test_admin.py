"""Administration beside the registry: health, metrics, what is not there."""

from __future__ import annotations

from zhenxian.api.auth import Role, add_key


def test_metrics_are_the_operators_and_health_is_everybodys(desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    keys = {role: add_key(file, role.value, [role]) for role in Role}
    desk = desk_with(auth={"keys": file})
    refused = desk.http("GET", "/metrics")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    for role, key in keys.items():
        status = desk.http("GET", "/metrics", headers={"x-api-key": key}).status_code
        assert status == (200 if role is Role.OPERATOR else 403)
    for path in ("/healthz", "/readyz"):
        assert desk.http("GET", path).status_code == 200


def test_what_is_not_there_and_what_is_not_allowed(desk):
    missing = desk.http("GET", "/v1/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    refused = desk.http("POST", "/v1/holdings", json={})
    assert refused.status_code == 405
    assert refused.headers["allow"]
