import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.manifests.examples import KEY_VAULT_USER, make_manifest, manifests

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.documents import parse_documents
from hcpcreds.kubernetes.writing import render_json, render_yaml
from hcpcreds.manifests import render

OBJECTS = render(parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER)
texts = st.text(st.characters(codec="utf-8"))
# What Go's YAML, PyYAML or YAML 1.2 take for something else than text when it stands without quotes.
MISREAD = [
    *("y", "Y", "n", "N", "yes", "No", "ON", "off", "true", "False", "null", "Null", "~", ""),
    *("1e3", "0o7", "0x1F", "0b1", "1_000", "12:30", "12:30:45", "1.", ".5", "+1", "-1", "08", "1E400"),
    *(
        ".inf",
        "-.INF",
        ".nan",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "=",
        "-",
        "?",
        ": ",
        "a: b",
        "a #b",
    ),
    *("@a", "`a", "%a", "!a", "&a", "*a", "|", ">", "{", "[", "'", '"', "#", "---", "...", " a", "a ", "\ta"),
]


def assert_comes_back(text: str) -> None:
    written = render_yaml([{text: "a key", "items": [text], "text": text}])
    assert parse_documents(written, where="written") == [{text: "a key", "items": [text], "text": text}]
    assert yaml.safe_load(written)["text"] == text


@pytest.mark.parametrize("text", MISREAD)
def test_yaml_keeps_text_that_would_be_misread_without_quotes(text):
    assert_comes_back(text)
    assert render_yaml([{"text": text}]) == f"---\ntext: {json.dumps(text)}\n"


@settings(deadline=None)
@given(texts.filter(lambda text: text not in ("items", "text", "<<")))
@example("\n")
@example("\n  a\n b\n\n")
@example(" \n")
@example("a \nb")
@example("\ta\nb")
@example("a\r\nb")
@example("a\x85b\n\u2028c\u2029")
@example("\ufeffa\n")
@example("#\n# a\n---\n")
def test_yaml_keeps_any_text_as_key_item_and_value(text):
    assert_comes_back(text)


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=3).map("\n".join), max_size=3))
def test_yaml_keeps_texts_of_many_lines(lines):
    objects = [{"lines": lines, "nested": {"deeper": lines}}]
    assert parse_documents(render_yaml(objects), where="written") == objects


@settings(max_examples=25, deadline=None)
@given(manifests())
def test_yaml_and_json_of_any_cluster_are_read_back_as_meant(manifest):
    objects = render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER)
    assert parse_documents(render_yaml(objects), where="written") == objects
    assert parse_documents(render_json(objects), where="written") == [
        {"apiVersion": "v1", "kind": "List", "items": objects}
    ]


def test_yaml_is_for_people_too():
    assert render_yaml(OBJECTS[:1]) == (
        "---\n"
        "apiVersion: secrets-store.csi.x-k8s.io/v1\n"
        "kind: SecretProviderClass\n"
        "metadata:\n"
        "  name: managed-azure-cpo\n"
        "  namespace: clusters-otter\n"
        "  labels:\n"
        "    app.kubernetes.io/component: control-plane-operator\n"
        "    app.kubernetes.io/instance: clusters-otter\n"
        "    app.kubernetes.io/managed-by: hcpcreds\n"
        "    app.kubernetes.io/part-of: hosted-control-plane\n"
        "spec:\n"
        "  provider: azure\n"
        "  parameters:\n"
        '    usePodIdentity: "false"\n'
        '    useVMManagedIdentity: "true"\n'
        f'    userAssignedIdentityID: "{KEY_VAULT_USER}"\n'
        "    keyvaultName: otter-vault\n"
        "    tenantId: bbbbbbbb-cccc-4ddd-8eee-ffffffffffff\n"
        "    objects: |2\n"
        "\n"
        "      array:\n"
        "        - |\n"
        "          objectName: otter-cpo\n"
        "          objectEncoding: utf-8\n"
        "          objectType: secret\n"
    )


def test_yaml_writes_equal_parts_out_and_never_folds():
    shared: dict[str, Any] = {"words": "word " * 100 + "end", "count": 3, "on": True, "nothing": None}
    written = render_yaml([{"first": shared, "second": shared}])
    assert "&" not in written
    assert len(written.splitlines()) == 11
    assert yaml.safe_load(written) == {"first": shared, "second": shared}


def test_yaml_writes_what_json_has_and_nothing_else():
    assert render_yaml([{"a": {}, "b": [], "c": [[1, {}], -2.5, False]}]) == (
        "---\na: {}\nb: []\nc:\n- - 1\n  - {}\n- -2.5\n- false\n"
    )
    with pytest.raises(TypeError, match="tuple is not a JSON type"):
        render_yaml([{"a": (1, 2)}])


def test_yaml_gives_the_same_bytes_each_time():
    assert render_yaml(OBJECTS) == render_yaml(json.loads(json.dumps(OBJECTS)))
