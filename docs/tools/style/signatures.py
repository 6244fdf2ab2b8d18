"""``Any`` and ``object`` in what a module offers to others.

A function is *public* if neither its name nor that of its class begins with an underscore; special
methods are not. Parameters and results count, ``*args`` too. What a module defines as another word
for ``Any`` (``Subject = Any``) counts as ``Any``.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from docs.tools.style.measured import Measured, count
from docs.tools.style.names import Names, Scope
from docs.tools.style.source import (
    Class,
    Function,
    FunctionNode,
    SourceFile,
    is_within,
    last_name,
    statements,
)

_ANY = "typing.Any"
_OBJECT = "object"
_RECORD_DECORATORS = frozenset({"dataclass", "define", "frozen", "mutable", "attrs"})


def any_in_signatures(names: Names, package: str, excepted: Collection[str]) -> Measured:
    """Returns the public functions with ``Any`` in a parameter or result."""
    return count(_functions_with(_ANY, names, package, excepted))


def object_in_signatures(names: Names, package: str, excepted: Collection[str]) -> Measured:
    """Returns the public functions with ``object`` in a parameter or result."""
    return count(_functions_with(_OBJECT, names, package, excepted))


def any_in_records(names: Names, package: str, excepted: Collection[str]) -> Measured:
    """Returns the fields with ``Any`` of public records: parameters of their ``__init__``."""
    return count(
        [
            f"{found.file.path}:{annotation.lineno}: {found.name}.{name}: {ast.unparse(annotation)}"
            for found in names.code.classes_of(package)
            if _is_record(found) and _is_offered(found.name, found.file, excepted)
            for name, annotation in _record_fields(found)
            if _mentions(_ANY, annotation, found.file, names)
        ]
    )


def _functions_with(word: str, names: Names, package: str, excepted: Collection[str]) -> list[str]:
    return [
        f"{function.place}: {function.name}({', '.join(words)})"
        for function in names.code.functions_of(package)
        if _is_offered(function.name, function.file, excepted)
        if (words := list(_parts_with(word, function, names)))
    ]


def _is_offered(name: str, file: SourceFile, excepted: Iterable[str]) -> bool:
    inside = name.removeprefix(f"{file.name}.").split(".")
    is_public = not any(part.startswith("_") for part in inside)
    return is_public and not any(is_within(file.name, one) for one in excepted)


def _parts_with(word: str, function: Function, names: Names) -> Iterator[str]:
    for name, annotation in _annotations(function.node):
        if _mentions(word, annotation, function.file, names):
            yield f"{name}: {ast.unparse(annotation)}"


def _annotations(node: FunctionNode) -> Iterator[tuple[str, ast.expr]]:
    arguments = node.args
    plain = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    starred = (one for one in (arguments.vararg, arguments.kwarg) if one)
    for argument in (*plain, *starred):
        if argument.annotation:
            yield argument.arg, argument.annotation
    if node.returns:
        yield "return", node.returns


def _mentions(word: str, annotation: ast.AST, file: SourceFile, names: Names) -> bool:
    """Whether an annotation has ``word`` in it, as such or under another name."""
    for node in ast.walk(annotation):
        match node:
            case ast.Constant(value=str(text)) if text.isidentifier():
                if _mentions(word, ast.parse(text, mode="eval"), file, names):
                    return True
            case ast.Name(id=name) | ast.Attribute(attr=name):
                resolved = names.resolve(node, Scope(file)) or name
                if word in (resolved, _alias(resolved, file, names)):
                    return True
    return False


def _alias(name: str, file: SourceFile, names: Names) -> str:
    """Returns what a module-level ``name = value`` is another word for, or an empty name."""
    holder, _, last = name.rpartition(".")
    home = names.code.files.get(holder, file)
    value = _assigned(home).get(last)
    return (names.resolve(value, Scope(home)) or last_name(value)) if value else ""


@cache
def _assigned(file: SourceFile) -> dict[str, ast.expr]:
    """Returns the values of the module-level variables of a file."""
    found = {}
    for statement in statements(file.tree.body):
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                found[name] = value
    return found


def _is_record(found: Class) -> bool:
    return not _RECORD_DECORATORS.isdisjoint(map(last_name, found.node.decorator_list))


def _record_fields(found: Class) -> Iterator[tuple[str, ast.expr]]:
    for statement in found.node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if not name.startswith("_"):
                    yield name, annotation
