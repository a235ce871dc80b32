"""What a mistake could look like: small changes of a source file, each of which some test should notice."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_ARITHMETIC: Final = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
}
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_DECLARED: Final = ("annotation", "returns", "decorator_list", "bases", "type_params", "names")
"""Parts of a statement that declare something to a type checker or a reader."""
_UNSEEN: Final = frozenset({"extra", "name", "doc"})
"""Keywords that only logs and debuggers show."""


@dataclass(frozen=True, order=True)
class Mutation:
    """One change."""

    file: str
    start: int
    end: int
    """Which bytes of the file it replaces."""
    replacement: str
    kind: str
    within: str
    """The function or class that it stands in."""
    first: int
    last: int
    """Lines of the statement, from 1."""

    def apply(self, source: bytes) -> bytes:
        """The whole file, changed."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]

    def is_one(self, source: bytes) -> bool:
        """Whether the changed file is Python still, and says something else."""
        try:
            return ast.dump(ast.parse(self.apply(source))) != ast.dump(ast.parse(source))
        except SyntaxError:
            return False

    def show(self, source: bytes) -> tuple[str, str]:
        """The first line that it changes, before and after, without the blanks around it."""
        before = source.decode().splitlines()
        after = self.apply(source).decode().splitlines()
        for was, is_ in zip(before, after, strict=False):
            if was != is_:
                return was.strip(), is_.strip()
        return "", ""


def find_mutations(file: str, source: bytes) -> list[Mutation]:
    """Find every mutation of a file, in its order.

    Args:
        file: What the mutations call it.
        source: Its content.
    """
    found = _Finder(file, source)
    found.walk(ast.parse(source), "", None)
    return sorted(set(found.mutations))


class _Finder:
    def __init__(self, file: str, source: bytes) -> None:
        self.mutations: list[Mutation] = []
        self._file = file
        self._source = source
        self._offsets = [0]
        for line in source.splitlines(keepends=True):
            self._offsets.append(self._offsets[-1] + len(line))

    def walk(self, node: ast.AST, within: str, statement: ast.stmt | None) -> None:
        """Collect what a node can become, and what is in it."""
        if isinstance(node, ast.stmt):
            statement = node
        if _is_unseen(node):
            return
        if statement is not None:
            for place, replacement in self._change(node):
                self._add(place, replacement, type(node).__name__, within, statement)
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            within = f"{within}.{node.name}".lstrip(".")
        for child in _list_children(node):
            self.walk(child, within, statement)

    def _add(
        self, place: tuple[int, int], replacement: str, kind: str, within: str, statement: ast.stmt
    ) -> None:
        last = statement.end_lineno or statement.lineno
        if body := getattr(statement, "body", None):
            last = body[0].lineno - 1
        mutation = Mutation(
            self._file, *place, replacement, kind, within, statement.lineno, max(last, statement.lineno)
        )
        self.mutations.append(mutation)

    def _change(self, node: ast.AST) -> Iterator[tuple[tuple[int, int], str]]:
        match node:
            case ast.Compare() | ast.BoolOp() | ast.BinOp() | ast.UnaryOp():
                yield from self._change_operator(node)
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not _is_known(test):
                yield self._place(test), f"not ({self._text(test)})"
            case ast.Constant(value=value):
                yield from self._change_constant(node, value)
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield self._place(value), "None"
            case ast.Call(keywords=keywords):
                for keyword in keywords:
                    if keyword.arg is not None and keyword.arg not in _UNSEEN:
                        yield self._with_comma(keyword), ""
            case ast.Expr() | ast.Raise() | ast.AugAssign():
                yield self._place(node), "pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield self._place(node), "pass"

    def _change_operator(self, node: ast.expr) -> Iterator[tuple[tuple[int, int], str]]:
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                yield self._between(left, right), _COMPARISONS[type(operator)]
            case ast.BoolOp(op=operator, values=[first, second, *_]):
                yield self._between(first, second), "or" if isinstance(operator, ast.And) else "and"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield self._place(node), self._text(operand)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
                yield self._between(left, right), _ARITHMETIC[type(operator)]

    def _change_constant(self, node: ast.Constant, value: object) -> Iterator[tuple[tuple[int, int], str]]:
        if isinstance(value, bool):
            yield self._place(node), str(not value)
        elif isinstance(value, int | float):
            yield self._place(node), repr(value + 1)
        elif isinstance(value, str):
            yield self._place(node), '""' if value else '"mutant"'

    def _place(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._offsets[node.lineno - 1] + node.col_offset,
            self._offsets[node.end_lineno - 1] + node.end_col_offset,
        )

    def _between(self, left: ast.expr, right: ast.expr) -> tuple[int, int]:
        start, end = self._place(left)[1], self._place(right)[0]
        # Brackets around the operands are theirs.
        text = self._source[start:end]
        start += len(text) - len(text.lstrip(b" )\n"))
        end -= len(text) - len(text.rstrip(b" (\n"))
        return start, end

    def _with_comma(self, keyword: ast.keyword) -> tuple[int, int]:
        start, end = self._place(keyword)
        rest = self._source[end:]
        after = len(rest) - len(rest.lstrip(b" \n"))
        return (start, end + after + 1) if rest[after : after + 1] == b"," else (start, end)

    def _text(self, node: ast.expr) -> str:
        start, end = self._place(node)
        return self._source[start:end].decode()


def _list_children(node: ast.AST) -> Iterator[ast.AST]:
    """What can be changed below a node: no docstring, no annotation, no decorator, no f-string's text."""
    for name, value in ast.iter_fields(node):
        if name in _DECLARED or (isinstance(node, ast.ClassDef) and name == "keywords"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text_only(child):
                yield child


def _is_text_only(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # a docstring, or `...`


def _is_unseen(node: ast.AST) -> bool:
    """Whether nobody but a reader of logs or of the source would see a change of it."""
    match node:
        case (
            ast.JoinedStr()
            | ast.Import()
            | ast.ImportFrom()
            | ast.Assert()
            | ast.AnnAssign(value=None)
            | ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")])
            | ast.Call(func=ast.Attribute(value=ast.Name(id="_log")) | ast.Attribute(attr="getLogger"))
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))))
            | ast.Call(func=ast.Name(id="cast" | "TypeVar"))
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
        ):
            return True
    return False


def _is_known(test: ast.expr) -> bool:
    """Whether the change of the test itself is the same as the negation."""
    return isinstance(test, ast.Compare | ast.Constant) or (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
