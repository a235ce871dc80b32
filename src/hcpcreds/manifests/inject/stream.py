"""Injecting into the text of a stream, and leaving every existing byte as it is."""

import io
from dataclasses import dataclass, field
from typing import Final

import yaml

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import MAX_BYTES, Document, parse_documents, read_text
from hcpcreds.kubernetes.objects import is_object, is_same
from hcpcreds.kubernetes.streams import BYTE_ORDER_MARK, Chunk, detect_encoding, open_stream, split_stream
from hcpcreds.manifests.inject.options import InjectOptions
from hcpcreds.manifests.inject.plan import Plan, Planner, apply_plans
from hcpcreds.manifests.inject.yaml_edit import DocumentChanges, edit_lists
from hcpcreds.manifests.inject.yaml_text import NotEditableError

_HINT: Final = (
    "Write out the lists that are shared by anchors (&, *) or merge keys (<<), or have a patch printed, "
    "which needs no change of the file."
)
_TOO_LARGE: Final = f"it would be larger than {MAX_BYTES // 1024**2} MiB"


@dataclass(slots=True)
class InjectedStream:
    """A stream of manifests before and after."""

    where: str
    encoding: str = "utf-8"
    parts: list[tuple[str, str]] = field(default_factory=list)
    """The text of each document, before and after."""
    plans: list[Plan] = field(default_factory=list)
    """For each workload that is a component's, or with a hosted cluster might be; also without changes."""
    problems: list[str] = field(default_factory=list)
    """Of documents that cannot be read, which are passed through."""
    has_objects: bool = False

    @property
    def before(self) -> str:
        """The text of the stream as it was."""
        return "".join(before for before, _ in self.parts)

    @property
    def after(self) -> str:
        """The text of the stream with the changes."""
        return "".join(after for _, after in self.parts)

    def encode(self, text: str) -> bytes:
        """Encode a text as the stream was; bytes that are not text come back unchanged."""
        return text.encode(self.encoding, "surrogateescape" if self.encoding == "utf-8" else "strict")


def inject_stream(source: bytes, options: InjectOptions, *, where: str) -> InjectedStream:
    """Inject into every workload of a stream that is a component's.

    The result is read again, and must equal that of `inject`. Documents that cannot be read, and objects that
    are not a component's workload, pass through.

    Args:
        source: YAML documents or JSON objects, in UTF-8, or in UTF-16 with a byte order mark.
        options: Which component, and how.
        where: Name of the stream in error messages.

    Raises:
        InputError: As `inject`; or a document is written so that it cannot be changed without changing
            something else too, as where two containers share a list by an anchor.
    """
    planner = Planner(options)
    stream = read_stream(open_stream(source), planner, where=where)
    planner.finish()
    return stream


def read_stream(
    source: io.BufferedReader, planner: Planner, *, where: str, edit: bool = True
) -> InjectedStream:
    """Read a stream as `inject_stream` does; the planner raises its problems.

    Args:
        source: The stream.
        planner: Plans the changes.
        where: Name of the stream in error messages.
        edit: Whether the text is changed; a patch needs only the plans.

    Raises:
        InputError: The stream cannot be read.
    """
    stream = InjectedStream(where, detect_encoding(source))
    for chunk in split_stream(source):
        documents = _read_chunk(chunk, stream)
        plans = [planner.plan(document.value, where) for document in documents]
        stream.plans += [plan for planned in plans for plan in planned]
        after = chunk.text
        if edit and any(plan.changes for planned in plans for plan in planned):
            try:
                after = _edit(chunk.text, documents, plans, where)
            except InputError as error:
                planner.note(where, error)
        stream.parts.append((chunk.text, after))
    return stream


def _read_chunk(chunk: Chunk, stream: InjectedStream) -> list[Document]:
    """The documents of a chunk; those that cannot be read are noted."""
    if chunk.problem and not chunk.text:  # it could not even be passed through
        raise InputError(stream.where, [f"line {chunk.first_line}: {chunk.problem}"])
    if chunk.problem:
        stream.problems.append(f"line {chunk.problem_line or chunk.first_line}: {chunk.problem}")
        return []
    documents = []
    for document in read_text(chunk.text, file=stream.where, first_line=chunk.first_line):
        stream.has_objects |= is_object(document.value)
        if document.problem:
            stream.problems.append(f"line {document.first_line}: {document.problem}")
        else:
            documents.append(document)
    return documents


def _edit(text: str, documents: list[Document], plans: list[list[Plan]], where: str) -> str:
    problem = "the list is shared with something else, which would change too"
    if any(document.path for document in documents):
        raise InputError(where, [f"not changed: {_TOO_LARGE}"], hint="Split its List.", options=["output"])
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    changes = list(map(_plan_edits, documents, plans))
    # Two containers that get the same may share a list, as those of KMS do: it is written out only if needed.
    for write_out in (False, True):
        try:
            after = edit_lists(text.removeprefix(mark), changes, write_out=write_out)
            expected = [each.expected for each in changes]
            if len(after) > MAX_BYTES:
                problem = _TOO_LARGE
            elif is_same(expected, parse_documents(after, where=where)):
                return mark + after
        except NotEditableError as error:
            problem = str(error)
        except InputError as error:
            problem = f"the result would be unusable: {error.problems[0]}"
        except yaml.YAMLError:
            problem = "it is written in a way that hcpcreds cannot add to"
    raise InputError(where, [f"not changed: {problem}"], hint=_HINT, options=["output"])


def _plan_edits(document: Document, plans: list[Plan]) -> DocumentChanges:
    changes = [change for plan in plans for change in plan.document_changes]
    return DocumentChanges(changes, apply_plans(document.value, plans))
