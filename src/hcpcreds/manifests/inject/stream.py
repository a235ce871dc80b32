"""Injecting into the text of a stream, so that whatever is not added stays as it was, to the byte."""

from dataclasses import dataclass
from typing import Any

import yaml

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import PlainScalar, parse_documents
from hcpcreds.manifests.inject.options import InjectOptions
from hcpcreds.manifests.inject.plan import Plan, apply_plans, make_plans
from hcpcreds.manifests.inject.yaml_edit import DocumentChanges, NotEditableError, edit_lists

_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class InjectedStream:
    """A stream of manifests before and after."""

    before: str
    after: str
    plans: tuple[Plan, ...]
    """For each workload that is a component's, also one that lacked nothing."""


def inject_stream(source: bytes, options: InjectOptions, *, where: str) -> InjectedStream:
    """Inject into every workload of a stream that is a component's.

    The text that comes out is read again, and must say what `inject` says.

    Args:
        source: YAML documents or one JSON document, in UTF-8.
        options: What to inject.
        where: What error messages call the stream.

    Raises:
        InputError: As `inject`; or the stream cannot be read; or it is written so that it cannot be changed
            without changing something else too, as where two containers share a list by an anchor.
    """
    documents = parse_documents(source, where=where)
    before = source.decode()
    plans = make_plans(documents, options, where=where)
    mark = _BYTE_ORDER_MARK if before.startswith(_BYTE_ORDER_MARK) else ""
    text = before.removeprefix(mark)
    after = text
    if any(plan.changes for planned in plans for plan in planned):
        after = _edit(text, list(map(_plan_edits, documents, plans)), where)
    return InjectedStream(before, mark + after, tuple(plan for planned in plans for plan in planned))


def _plan_edits(document: dict[str, Any], plans: list[Plan]) -> DocumentChanges:
    changes = [change for plan in plans for change in plan.document_changes]
    return DocumentChanges(changes, apply_plans(document, plans))


def _edit(text: str, documents: list[DocumentChanges], where: str) -> str:
    expected = [document.expected for document in documents]
    problem = "what is to change is shared with something else, which would change too"
    # Two that get the same may share it, as the KMS containers do: nothing is written out without need.
    for write_out in (False, True):
        try:
            after = edit_lists(text, documents, write_out=write_out)
            if _is_same(expected, parse_documents(after, where=where), set()):
                return after
        except NotEditableError as error:
            problem = str(error)
        except InputError as error:
            problem = f"the result would be unusable: {error.problems[0]}"
        except yaml.YAMLError:
            problem = "it is written in a way that hcpcreds cannot add to"
    hint = (
        "Write out the lists that are shared by anchors (&, *) or merge keys (<<), or have a patch printed, "
        "which needs no change of the file."
    )
    raise InputError(where, [f"not changed: {problem}"], hint=hint, options=["output"])


def _is_same(one: object, other: object, seen: set[tuple[int, int]]) -> bool:
    """Whether two documents say the same. Aliases make a small text large: nothing is compared twice."""
    if (id(one), id(other)) in seen:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        seen.add((id(one), id(other)))
        return one.keys() == other.keys() and all(_is_same(one[key], other[key], seen) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        seen.add((id(one), id(other)))
        return len(one) == len(other) and all(map(_is_same, one, other, [seen] * len(one)))
    if one is True and isinstance(other, PlainScalar):
        return other.kind == "boolean" and other.text == "true"
    return type(one) is type(other) and one == other
