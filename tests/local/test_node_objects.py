"""SecretProviderClass parameters, read as the Azure provider reads them."""

import base64
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.errors import InputError, MountError
from hcpcreds.local.node.objects import VaultObject, decode_content, parse_objects, parse_parameters

NAMES = st.from_regex(r"\A[a-zA-Z0-9-]{1,127}\Z").filter(lambda name: name.lower() != "null")
BLANKS = st.sampled_from(["", " ", "\t", "  \n"])
OBJECTS = st.builds(
    VaultObject,
    name=NAMES,
    file=st.from_regex(r"\A[a-zA-Z0-9_-]{1,40}(/[a-zA-Z0-9.]{1,10})?\Z").filter(
        lambda file: ".." not in file and file.lower() != "null"
    ),
    version=st.from_regex(r"\A([0-9a-f]{32})?\Z"),
    encoding=st.sampled_from(["utf-8", "hex", "base64"]),
    mode=st.integers(0, 0o7777),
)
HYPERSHIFT = "\narray:\n  - |\n    objectName: cpo-cert\n    objectEncoding: hex\n    objectType: secret\n"
PARAMETERS = {
    "usePodIdentity": "false",
    "useVMManagedIdentity": "true",
    "userAssignedIdentityID": "aaaaaaaa-0000-0000-0000-000000000000",
    "keyvaultName": "kv-management",
    "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "objects": HYPERSHIFT,
}


def render_objects(*entries: dict[str, Any]) -> str:
    return yaml.safe_dump({"array": [yaml.safe_dump(entry) for entry in entries]})


@given(objects=st.lists(OBJECTS, min_size=1, max_size=4), data=st.data())
def test_parse_objects_gives_back_any_objects_that_were_written(
    objects: list[VaultObject], data: st.DataObject
):
    def pad(text: str) -> str:
        return data.draw(BLANKS) + text + data.draw(BLANKS)

    text = render_objects(
        *(
            {
                "objectName": pad(wanted.name),
                "objectAlias": pad(wanted.file),
                "objectVersion": pad(wanted.version or data.draw(st.sampled_from(["", "latest"]))),
                "objectType": pad("secret"),
                "objectEncoding": pad(wanted.encoding.upper()),
                "filePermission": pad(f"{wanted.mode:04o}"),
                "ofTheFuture": 1,
            }
            for wanted in objects
        )
    )
    assert list(parse_objects(text)) == objects


def test_parse_objects_reads_the_objects_of_hypershift():
    (found,) = parse_objects(HYPERSHIFT)
    assert found == VaultObject(name="cpo-cert", file="cpo-cert", version="", encoding="hex", mode=0o644)
    assert found.id == "secret/cpo-cert"


@pytest.mark.parametrize("name", ["0123", "1e5", "yes", "2026-11-23", "0x1F"])
def test_parse_objects_keeps_a_name_as_text_when_yaml_sees_another_type(name: str):
    (found,) = parse_objects(f"array:\n- |\n  objectName: {name}\n  objectType: secret\n  objectAlias: ~\n")
    assert (found.name, found.file) == (name, name)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"objectType": "secret"}, "objectName: must not be empty"),
        ({"objectName": "a", "objectType": "key"}, "objectType: 'key'"),
        ({"objectName": "a"}, "objectType: ''"),
        ({"objectName": "a", "objectType": "secret", "objectEncoding": "rot13"}, "objectEncoding: 'rot13'"),
        ({"objectName": "a", "objectType": "secret", "objectFormat": "der"}, "objectFormat: 'der'"),
        ({"objectName": "a", "objectType": "secret", "objectAlias": "../a"}, "objectAlias: '../a'"),
        ({"objectName": "a", "objectType": "secret", "objectAlias": "/a"}, "objectAlias: '/a'"),
        ({"objectName": "a", "objectType": "secret", "filePermission": "0999"}, "filePermission: '0999'"),
        ({"objectName": "a", "objectType": "secret", "objectVersionHistory": 3}, "objectVersionHistory"),
        ({"objectName": ["a"], "objectType": "secret"}, "Expected `str`"),
        (["a"], "Expected `object`"),
    ],
)
def test_parse_objects_names_the_entry_that_the_provider_would_refuse(entry: Any, problem: str):
    good = {"objectName": "good", "objectType": "secret"}
    with pytest.raises(InputError) as caught:
        parse_objects(render_objects(good, entry))
    assert str(caught.value).startswith("objects: objects.array[1]")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "  \n", "array: []", "array:", "- a", "array: a", "a: [", "array:\n- 'a: ['"]
)
def test_parse_objects_is_refused_when_there_is_no_list_of_objects(text: str):
    with pytest.raises(InputError, match="objects"):
        parse_objects(text)


def test_parse_parameters_reads_the_parameters_of_hypershift():
    request = parse_parameters(PARAMETERS)
    assert request.vault == "kv-management"
    assert request.tenant_id == PARAMETERS["tenantId"]
    assert request.client_id == PARAMETERS["userAssignedIdentityID"]
    assert [wanted.name for wanted in request.objects] == ["cpo-cert"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"keyvaultName": ""}, "keyvaultName: is not provided"),
        ({"keyvaultName": "kv"}, "keyvaultName: 'kv'"),
        ({"keyvaultName": "kv.management"}, "keyvaultName"),
        ({"keyvaultName": "k" * 25}, "keyvaultName"),
        ({"tenantId": " "}, "tenantId: is not provided"),
        ({"useVMManagedIdentity": "yes"}, "useVMManagedIdentity: 'yes' is not a boolean"),
        ({"useVMManagedIdentity": "false"}, "useVMManagedIdentity: must be true"),
        ({"usePodIdentity": "true"}, "only one identity mode"),
        ({"objects": "array: []"}, "objects.array: is empty"),
    ],
)
def test_parse_parameters_names_every_problem_when_the_provider_would_refuse_them(
    change: dict[str, str], problem: str
):
    with pytest.raises(InputError, match=problem):
        parse_parameters({**PARAMETERS, **change})


def test_parse_parameters_says_everything_at_once():
    with pytest.raises(InputError) as caught:
        parse_parameters({})
    assert len(caught.value.problems) == 4


@given(content=st.binary(max_size=200))
def test_decode_content_returns_the_content_that_was_encoded(content: bytes):
    assert decode_content(content.hex(), "hex") == content
    assert decode_content(content.hex().upper(), "hex") == content
    assert decode_content(base64.b64encode(content).decode(), "base64") == content
    assert decode_content(base64.encodebytes(content).decode(), "base64") == content


@given(content=st.text(st.characters(exclude_categories=["Cs"])))
def test_decode_content_writes_text_as_utf_8(content: str):
    assert decode_content(content, "utf-8") == content.encode()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [("sentinel", "hex"), ("abc", "hex"), ("ab cd", "hex"), ("sentinel!", "base64"), ("YQ", "base64"),
     ("YQ==YQ==", "base64"), ("Y Q==", "base64"), ("é", "base64"), ("é", "hex")],
)  # fmt: skip
def test_decode_content_refuses_another_encoding_without_showing_the_value(content: str, encoding: str):
    with pytest.raises(MountError, match=f"not {encoding}") as caught:
        decode_content(content, encoding)
    assert content not in str(caught.value)
