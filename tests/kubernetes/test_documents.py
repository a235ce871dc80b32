"""Streams are read as kubectl reads them, and one bad document stops none of the others."""

import io
import json
import tracemalloc

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import PlainScalar, parse_documents, read_documents
from hcpcreds.kubernetes.writing import render_json, render_yaml

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
OTHER = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}}
MARK = "\ufeff"
TABBED = json.dumps(POD, indent="\t")


def read(source):
    """Each document's value, or the line and text of its problem."""
    return [
        f"{document.first_line}: {document.problem}" if document.problem else document.value
        for document in read_documents(source, file="f")
    ]


def lines(source):
    return [document.find(("metadata", "name")).line for document in read_documents(source, file="f")]


TEXT = render_yaml([POD]).removeprefix("---\n")


@pytest.mark.parametrize(
    "source",
    [
        f"{TEXT}---\n{TEXT}",
        f"---\n---\n{TEXT}--- # a comment\n\n{TEXT}---\n",
        f"# comment\n{TEXT}...\n---\n{TEXT}",
        f"%YAML 1.1\n---\n{TEXT}---   \n{TEXT}",
        f"--- {json.dumps(POD)}\n--- {json.dumps(POD)}",
        f"{TEXT}---\n{json.dumps(POD)}\n",
        f"{TEXT}---\r\n{TEXT}".replace("\n", "\r\n"),
        f"{MARK}{TEXT}---\n{MARK}{TEXT}",
        f"{MARK}---\n{TEXT}{MARK}---\n{MARK}{TEXT}",
        f"{json.dumps(POD)}\n{json.dumps(POD)}\n",
        f"{json.dumps(POD)}{json.dumps(POD)}",
        f"\n{json.dumps(POD, indent=1)}\n\n {TABBED}",
        f"{MARK}{json.dumps(POD, indent=4)}\n{MARK}{json.dumps(POD, indent=4)}\n---\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_documents_are_read_however_they_follow_each_other(source, encoding):
    prefix = "" if encoding == "utf-8" or source.startswith(MARK) else MARK
    assert read((prefix + source).encode(encoding)) == [POD, POD]


@pytest.mark.parametrize("text", [TEXT, json.dumps(POD, indent=2)])
def test_lines_are_those_of_the_stream_when_documents_follow_each_other(text):
    source = f"{text}\n---\n\n{text}\n"
    expected = [
        number for number, line in enumerate(source.splitlines(), 1) if "name" in line and "p" in line
    ]
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (b"a: [\n", "4: not YAML: did not find expected node content (column 1)"),
        (b"a: 1\nb: 2\na: 3\n", "4: the key 'a' is repeated"),
        (b"a: 1\nb: \xff\n", "3: not text: it is not UTF-8"),
        (b"a: *password\n", "2: an alias (*) without its anchor (&)"),
        (b"a:\n  - {{ .Values.a }}\n", "3: a template: render it first"),
        (b"{{- if .Values.enabled }}\nkind: Pod\n", "2: a template: render it first"),
        (b"{% for a in b %}\nkind: Pod\n", "2: a template: render it first"),
        (b"name: @@NAME@@\n", "2: a template: render it first"),
        (b"name: %NAME%\n", "2: a template: render it first"),
        (b"- kind: Pod\n  apiVersion: v1\n", "2: a bare list of objects, which kubectl does not read"),
        (b'!!bool "maybe"', "2: the value tagged !!bool is not of that type"),
        (b"!!null something", "2: the value tagged !!null is not of that type"),
        (b"a: \x07\n", "2: not YAML: there are characters in it that YAML forbids"),
        (b"b: c\na: \x07\n", "3: not YAML: there are characters in it that YAML forbids"),
        (b"a: " + b"x" * (3 * 1024 * 1024), "2: larger than 3 MiB, which no Kubernetes object is"),
    ],
)
def test_document_that_cannot_be_read_stops_none_of_the_others(broken, problem):
    before, found, after = read(render_yaml([POD]).encode() + b"---\n" + broken + b"\n---\n" + TEXT.encode())
    assert (before, after) == (POD, POD)
    line, _, reason = problem.partition(": ")
    assert reason in found
    assert int(found.split(":")[0]) == int(line) + 5


@pytest.mark.parametrize(
    "text",
    [
        'args: [sh, -c, "echo ${HOME}] # no end\n',
        "args: ${HOME}: x\n",
        "args: date +%Y: %m\n",
        "to: me@example.org: x\n",
    ],
)
def test_document_is_not_called_a_template_when_its_mistake_is_another(text):
    [found] = read(text)
    assert "not YAML" in found


@pytest.mark.parametrize(
    "text", ["args: [${A}, b]\n", "a: {b: ${B}}\n", "a: <% b %>: c\n", "a: %B%\n", "a: @B@\n"]
)
def test_document_is_called_a_template_when_a_placeholder_is_its_mistake(text):
    assert read(text) == ["1: a template: render it first"]


def test_object_is_kept_when_broken_json_follows_it():
    assert read(f'{json.dumps(POD)} {{"a": }}') == [POD, "1: not JSON: Expecting value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('!!bool "true"', PlainScalar("true", "boolean")),
        ("!!str true", "true"),
        ("!!str 012", "012"),
        ('!!int "5"', PlainScalar("5", "number")),
        ("!!float 5", PlainScalar("5", "number")),
        ("!!null ''", None),
        ("!!binary aGVsbG8=", "hello"),
        ("!custom true", "true"),
        ("! 5", PlainScalar("5", "number")),
        ("#{token}#", "${token}#"),
    ],
)
def test_tag_says_what_a_value_is_when_it_has_one(text, value):
    assert parse_documents(f"a: {text}\n", where="f") == [{"a": value}]


@pytest.mark.parametrize("render", [render_yaml, render_json])
def test_list_may_be_larger_than_an_object(render):
    data = {"text": "x" * 90_000}
    items = [{"kind": "ConfigMap", "metadata": {"name": str(number)}, "data": data} for number in range(50)]
    text = render_json(items) if render is render_json else render_yaml([{"items": items, "kind": "List"}])
    documents = list(read_documents(text, file="f"))
    assert [document.value for document in documents] == items
    assert [document.path for document in documents] == [("items", number) for number in range(50)]
    shown = text.splitlines()
    for number, document in enumerate(documents):
        assert f'"{number}"' in shown[document.find(("metadata", "name")).line - 1]


def test_objects_before_one_that_is_too_large_are_read_when_they_are_in_a_large_list():
    huge = {"kind": "ConfigMap", "data": {"text": "x" * (3 * 1024 * 1024)}}
    assert read(render_yaml([{"items": [POD, huge, POD]}])) == [
        POD,
        "7: larger than 3 MiB, which no Kubernetes object is",
    ]


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "text", [render_yaml([{**POD, "data": "x" * 5000}]), json.dumps({**POD, "data": "x" * 5000})]
)
def test_memory_is_that_of_one_document_when_the_stream_is_large(text):
    stream: io.BufferedReader = io.BufferedReader(io.BytesIO(f"{text}\n".encode() * 4000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(stream, file="f")) == 4000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_object_is_too_large_when_it_is_not_a_list():
    halves = {"kind": "ConfigMap", "data": {"a": "x" * 1_600_000}, "more": {"b": "x" * 1_600_000}}
    assert read(render_yaml([halves])) == ["2: larger than 3 MiB, which no Kubernetes object is"]


def test_stream_is_told_of_when_reading_it_fails():
    class Failing(io.RawIOBase):
        @override
        def readable(self):
            return True

        @override
        def readinto(self, _):
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="f: cannot be read: Input/output error"):
        read(io.BufferedReader(Failing()))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
objects = st.lists(st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=3), max_size=4)


@given(objects, st.sampled_from([None, 1, "\t"]), st.sampled_from(["", " ", "\n", "\r\n", "\n---\n"]))
def test_json_objects_are_read_whatever_stands_between_them(expected, indent, between):
    source = between.join(json.dumps(each, indent=indent) for each in expected)
    found = [document.value for document in read_documents(source, file="f")]
    assert found == expected


@given(objects)
def test_stream_is_read_alike_when_each_document_is_read_by_itself(expected):
    source = render_yaml(expected)
    alone = [parse_documents(render_yaml([each]), where="f")[0] for each in expected]
    assert parse_documents(source, where="f") == alone


@given(st.binary(max_size=60) | st.text("{}[]-\n:\ufeff \"'#%&*", max_size=40))
def test_any_stream_is_read_to_its_end(source):
    for document in read_documents(source, file="f"):
        assert document.first_line >= 1
        assert not (document.problem and document.value)


def test_python_parser_reads_alike_when_libyaml_is_missing(monkeypatch):
    source = f"{MARK}{TEXT}---\n{MARK}{TEXT}---\na: [\n---\n{TEXT}"
    expected = [found for found in read(source) if isinstance(found, dict)]
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert [found for found in read(source) if isinstance(found, dict)] == expected == [POD] * 3
