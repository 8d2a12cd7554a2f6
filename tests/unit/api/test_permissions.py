"""One table says who may: every route obeys it, and nothing stands in it that no route asks."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from zhenxian.api.auth import Role, add_key
from zhenxian.api.permissions import (
    ANYBODY,
    PERMISSIONS,
    RECORDS,
    ROLES,
    THINGS,
    Action,
    Permission,
    Thing,
    permission_of,
    roles_of,
)
from zhenxian.registry.model import NAMES
from zhenxian.service.build import applications
from zhenxian.service.document import openapi_document
from zhenxian.service.reference import permissions_page

# Of what is shown by the routes of records, and by no route of its own.
WITHIN_ANSWERS = {Permission(Thing.IDENTITIES, Action.READ)}


def _routes(router, before=""):
    """Each route with its whole path; an included router's have their own part of it alone."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _routes(inner, before + route.include_context.prefix)
        else:
            yield before + route.path, route


def _all(desk):
    calls, admin = applications(desk.service)
    for app in (calls, admin):
        yield from _routes(app) if app is not None else ()


def _permission(route):
    pending, checks = list(route.dependant.dependencies), []
    while pending:
        one = pending.pop()
        pending += one.dependencies
        checks.append(one.call)
    return permission_of(route.endpoint, checks)


@pytest.fixture(params=["127.0.0.1:0", None])
def everything(request, desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    keys = {role: add_key(file, role.value, [role], None, "platform") for role in Role}
    server = {"admin": request.param} if request.param is not None else {}
    desk = desk_with(auth={"keys": file}, server=server)
    return desk, keys, request.param is not None


def test_each_route_has_an_entry_and_each_entry_a_route(everything):
    desk, _, _ = everything
    found = [route for _, route in _all(desk)]
    assert len(found) > 60
    assert all(isinstance(route, APIRoute) for route in found)
    asked = {_permission(route) for route in found}
    assert asked <= PERMISSIONS.keys()
    assert PERMISSIONS.keys() - asked == WITHIN_ANSWERS


def test_each_route_opens_to_the_roles_of_its_entry_alone(everything):
    desk, keys, apart = everything
    for path, route in _all(desk):
        roles = roles_of(*_permission(route))
        path = re.sub(r"\{[^}]*\}", "8675588880001", path.replace("{records}", "holdings"))  # noqa: PLW2901
        admin = apart and path.startswith(("/v1", "/metrics", "/docs", "/openapi"))
        method = max(route.methods)
        said = re.compile(r"this request needs the role ([a-z ]+)")
        for role in Role:
            answer = desk.http(method, path, admin=admin, headers={"x-api-key": keys[role]})
            may = roles == ANYBODY or role in roles
            assert (answer.status_code not in (401, 403)) is may, (method, path, role)
            if not may and said.search(answer.text):
                named = " or ".join(one.value for one in roles)
                assert said.search(answer.text)[1] == named
        nobody = desk.http(method, path, admin=admin)
        assert (nobody.status_code == 401) is (roles != ANYBODY), (method, path)


def test_identities_are_shown_to_the_roles_of_their_entry(everything):
    desk, keys, apart = everything
    for role in roles_of(Thing.SUBJECTS, Action.READ):
        answer = desk.http("GET", "/v1/subjects", admin=apart, headers={"x-api-key": keys[role]})
        shown = all("document" in row and "name" in row for row in answer.json()["subjects"])
        assert shown is (role in roles_of(Thing.IDENTITIES, Action.READ))


def test_the_page_has_every_entry():
    page = permissions_page()
    assert RECORDS.keys() == NAMES.keys()
    assert THINGS.keys() == set(Thing) == {thing for thing, _ in PERMISSIONS}
    assert ROLES.keys() == set(Role)
    head, *rows = [line.split(" | ") for line in page.splitlines() if line.count("|") > 3]
    told = {row[0].removeprefix("| "): row[1:] for row in rows}
    columns = [name.strip(" |") for name in head[1:]]
    for (thing, action), roles in PERMISSIONS.items():
        if roles == ANYBODY:
            assert f"- {THINGS[thing]}" in page
            continue
        for role in Role:
            cell = told[THINGS[thing]][columns.index(role.value)]
            assert (action.value in cell) is (role in roles), (thing, action, role)


def test_the_document_says_which_routes_anybody_may_ask(desk):
    open_to_all = set()
    for path, methods in openapi_document()["paths"].items():
        open_to_all |= {path for told in methods.values() if told.get("security") == []}
    routes = {path: route for path, route in _all(desk) if isinstance(route, APIRoute)}
    listed = {path for path, route in routes.items() if route.include_in_schema}
    assert open_to_all & listed == {
        path for path in listed if PERMISSIONS[_permission(routes[path])] == ANYBODY
    }
    assert {"/stir/v1/certificates/{name}", "/stir/v1/redress/contact.jws"} <= open_to_all
    assert "/readyz" in open_to_all
    assert "/stir/v1/signing" not in open_to_all


def test_a_route_without_an_entry_is_found():
    with pytest.raises(LookupError):
        permission_of(lambda: None, [])
    with pytest.raises(KeyError):
        roles_of(Thing.METRICS, Action.PUT)
