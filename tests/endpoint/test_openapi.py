"""The OpenAPI description that ships: what is described is what is answered, whatever is asked."""

import json
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.endpoint.endpoints import ARM, SECRET, TOKENS, Identity, RunningEndpoint
from tests.support.waiting import wait_until

from hcpcreds.endpoint.protocols import make_app_service, make_instance_metadata
from hcpcreds.endpoint.question import IDENTITY_NAMES

DESCRIPTION = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "serve" / "openapi.yaml").read_text())
OPERATIONS = {path: item["get"] for path, item in DESCRIPTION["paths"].items()}
PARAMETERS = sorted({*IDENTITY_NAMES, "api-version", "resource", "bypass_cache", ""})

Start = Callable[..., RunningEndpoint]
Given = tuple[str, str, dict[str, str]]


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the description."""
    if "$ref" not in value:
        return value
    found: dict[str, Any] = DESCRIPTION
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def list_parameters(path: str, place: str) -> set[str]:
    given_there = [resolve(each) for each in OPERATIONS[path].get("parameters", [])]
    return {each["name"] for each in given_there if each["in"] == place}


# What is nearly right reaches further than noise.
resources = st.one_of(st.just(ARM), st.sampled_from([f"{ARM}/", "https://vault.azure.net", ""]), st.text())
versions = st.one_of(
    st.sampled_from(["2019-08-01", "2018-02-01", "2021-02-01", "2017-09-01"]), st.text(max_size=12)
)
values = st.one_of(st.text(max_size=40), st.uuids().map(str))
queries = st.one_of(
    st.just(""), st.lists(st.tuples(st.sampled_from(PARAMETERS), values), max_size=4).map(urlencode)
)
nearly = st.tuples(versions, resources, queries).map(
    lambda parts: f"api-version={quote(parts[0])}&resource={quote(parts[1], safe='')}&{parts[2]}"
)
noise = st.binary(max_size=60).map(lambda raw: quote(raw, safe="&=%+;/?:@"))
headers = st.fixed_dictionaries(
    {},
    optional={
        "Metadata": st.sampled_from(["true", "TRUE", "false", ""]),
        "X-IDENTITY-HEADER": st.one_of(
            st.just(SECRET), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
        ),
        "X-Forwarded-For": st.just("10.0.0.1"),
        "Host": st.sampled_from(["127.0.0.1", "localhost:1", "evil.example", "", "[::1]:x", "[", ":80:"]),
    },
)
admitted = st.just({"Metadata": "true", "X-IDENTITY-HEADER": SECRET})
requests: st.SearchStrategy[Given] = st.tuples(
    st.sampled_from([*OPERATIONS]), st.one_of(nearly, noise), st.one_of(admitted, headers)
)


def check_answer(path: str, status: int, found: dict[str, str], body: bytes) -> None:
    """Check an answer against the description."""
    responses = OPERATIONS[path]["responses"]
    assert str(status) in responses, (status, body)
    response = resolve(responses[str(status)])
    (content_type,) = response["content"]
    assert found["content-type"].partition(";")[0] == content_type
    if content_type == "application/json":
        jsonschema.validate(json.loads(body), response["content"][content_type]["schema"])
    for name, header in response.get("headers", {}).items():
        jsonschema.validate(int(found[name.lower()]), header["schema"])
    assert ("retry-after" in found) == ("headers" in response)


def test_whatever_is_asked_is_answered_as_described(identity: Identity, start: Start):
    running = start(identity, tokens=TOKENS)
    wait_until(lambda: not running.find_unready())
    # Resources that the tenant does not know take a request each; the endpoint bounds these.
    connection = HTTPConnection(urlsplit(running.imds_host).netloc, timeout=15)

    @settings(max_examples=250)
    @given(request=requests)
    def ask(request: Given) -> None:
        path, query, given_headers = request
        connection.request("GET", f"{path}?{query}" if query else path, headers=given_headers)
        response = connection.getresponse()
        body = response.read()
        found = {name.lower(): value for name, value in response.getheaders()}
        check_answer(path, response.status, found, body)
        assert SECRET.encode() not in body

    ask()
    connection.close()
    assert running.endpoint.tokens is not None
    results = running.endpoint.tokens.results
    assert results["imds", "cached"] + results["app-service", "cached"] > 0


@pytest.mark.parametrize("protocol", [make_app_service("x"), make_instance_metadata()])
def test_description_names_every_path_parameter_and_header(protocol: Any):
    (path,) = set(protocol.paths) & set(OPERATIONS)
    described = list_parameters(path, "query")
    assert {"api-version", "resource"} <= described <= {"api-version", "resource", *IDENTITY_NAMES}
    assert list_parameters(path, "header") == {
        "X-IDENTITY-HEADER" if protocol.name == "app-service" else "Metadata"
    }
    assert OPERATIONS.keys() >= {"/healthz", "/readyz"}
