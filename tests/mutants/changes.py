"""
Small changes of a module, one at a time, each of which some test should notice.

What is changed: comparisons, `and` and `or`, `not`, operators, numbers, truth values, conditions,
what is returned, and statements and entries of tables that could be left out. What is not: texts,
annotations, decorators, assertions (they are checks themselves), and whole functions.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
Step = tuple[str, int | None]  # a field of a node, and the place in it if it is a list
_T = TypeVar("_T")
_SKIPPED = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Change:
    """One change: what it is, in words that hold as long as its line does."""

    key: str
    source: str
    path: tuple[Step, ...]
    other: ast.AST

    def tree(self) -> ast.Module:
        """Return the module with the change."""
        tree = ast.parse(self.source)
        _put(tree, self.path, self.other)
        return ast.fix_missing_locations(tree)

    @property
    def function(self) -> str | None:
        """The function whose body it is in, by its name in the module; None outside of all."""
        node: ast.AST = ast.parse(self.source)
        names: list[str] = []
        for at, (name, _) in enumerate(self.path):
            if isinstance(node, ast.FunctionDef):
                return ".".join(names) if name == "body" else None
            node = _at(node, self.path[at : at + 1])
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.append(node.name)
        return None


def changes(source: str) -> Iterator[Change]:
    """Yield every change of a module."""
    tree, lines = ast.parse(source), source.splitlines()
    for path, function in _places(tree, (), ""):
        node = _at(tree, path)
        line = lines[_line(tree, path) - 1].strip()
        for other in _alternatives(node):
            words = f"{function or 'module'}: {line}: {_words(node, other)}"
            yield Change(words, source, path, other)


def _words(node: ast.AST, other: ast.AST) -> str:
    """Return in words what is changed."""
    if isinstance(node, ast.Dict | ast.Set):
        of = node.keys if isinstance(node, ast.Dict) else node.elts
        left = other.keys if isinstance(other, ast.Dict) else other.elts  # type: ignore[attr-defined]
        return f"without {next(_shown(one) for one in of if one and one not in left)}"
    if isinstance(other, ast.Pass):
        return "left out"
    return f"{_shown(node)} becomes {_shown(other)}"


def _places(
    node: ast.AST, path: tuple[Step, ...], function: str
) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Yield the ways to all nodes that may be changed, and the functions that they are in."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        several = isinstance(value, list)
        for number, child in enumerate(value if several else [value]):
            if not isinstance(child, ast.AST) or isinstance(child, _SKIPPED):
                continue
            inside = child.name if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Raise):  # what it says is no matter, that it is raised is
                yield (*path, (name, number if several else None)), inside
                continue
            step: Step = (name, number if several else None)
            yield (*path, step), inside
            yield from _places(child, (*path, step), inside)


def _at(tree: ast.AST, path: tuple[Step, ...]) -> ast.AST:
    for name, number in path:
        value = getattr(tree, name)
        tree = value if number is None else value[number]
    return tree


def _line(tree: ast.AST, path: tuple[Step, ...]) -> int:
    """Return the number of the line that a node begins in, or what it is a part of."""
    owners = [_at(tree, path[:length]) for length in range(len(path), 0, -1)]
    return next(one.lineno for one in owners if isinstance(one, ast.expr | ast.stmt))


def _put(tree: ast.AST, path: tuple[Step, ...], node: ast.AST) -> None:
    owner = _at(tree, path[:-1])
    name, number = path[-1]
    if number is None:
        setattr(owner, name, node)
    else:
        getattr(owner, name)[number] = node


def _alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            yield ast.Compare(node.left, [_COMPARISONS[type(operator)]()], node.comparators)
        case ast.BoolOp():
            yield from _of_bool(node)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _OPERATORS:
            yield ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            assert isinstance(node.value, int | float)
            yield ast.Constant(node.value + 1)
        case ast.If() | ast.IfExp() | ast.While():
            changed = copy.deepcopy(node)
            changed.test = ast.UnaryOp(ast.Not(), node.test)
            yield changed
        case ast.Dict(keys=keys) if len(keys) > 1:
            for number in range(len(keys)):
                yield ast.Dict(_left(keys, number), _left(node.values, number))
        case ast.Set(elts=elements) if len(elements) > 1:
            for number in range(len(elements)):
                yield ast.Set(_left(elements, number))
        case _:
            yield from _of_statement(node)


def _left(values: list[_T], number: int) -> list[_T]:
    return [*values[:number], *values[number + 1 :]]


def _of_bool(node: ast.BoolOp) -> Iterator[ast.AST]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield ast.BoolOp(other, node.values)
    for number in range(len(node.values)):
        left = _left(node.values, number)
        yield left[0] if len(left) == 1 else ast.BoolOp(node.op, left)


def _of_statement(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value=value) if value is not None and not _is_nothing(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.comprehension(ifs=[_, *_]):
            yield ast.comprehension(node.target, node.iter, [], node.is_async)
        case _:
            pass


def _is_nothing(node: ast.AST) -> bool:
    """Return whether a value is None, or as good as None to who asks whether it is true."""
    return isinstance(node, ast.Constant) and node.value in (None, False)


def _shown(node: ast.AST) -> str:
    """Return a node as text, short: of a statement with a body its head."""
    if isinstance(node, ast.comprehension):
        return f"for {ast.unparse(node.target)}" + "".join(
            f" if {ast.unparse(one)}" for one in node.ifs
        )
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    return text.splitlines()[0]
