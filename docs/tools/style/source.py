"""Packages as files, classes and functions.

A *function* is a ``def`` of a module or of a class. A ``def`` inside a function is part of the
function around it, as it is for a reader. An *import* belongs to a file and keeps how it is
executed: with the module, only for type checkers, or when a function is called.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION_NODES = (ast.FunctionDef, ast.AsyncFunctionDef)


class ImportTime(Enum):
    """When an import statement is executed."""

    LOADING = "loading"
    TYPE_CHECKING = "type checking"
    CALLING = "calling"


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A parsed module.

    Attributes:
        name: Its dotted name; for ``__init__.py`` that of the package.
        path: As shown to people, relative to the project's root.
        line_count: All lines, blank ones and comments included.
        tree: Its syntax tree.
    """

    name: str
    path: Path
    line_count: int
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether it is an ``__init__.py``."""
        return self.path.stem == "__init__"

    @property
    def package(self) -> str:
        """The dotted name of the package that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def has_substance(self) -> bool:
        """Whether it is more than an ``__init__.py`` that holds at most a docstring."""
        body = self.tree.body
        return not (self.is_package and all(_is_docstring(statement) for statement in body))


@dataclass(frozen=True, eq=False)
class Function:
    """A function of a module or a method of a class.

    Attributes:
        name: Its dotted name, such as ``jaxfs.ipc.spool.Spool.write``.
        file: Where it is defined.
        node: Its definition.
        owner: The dotted name of its class; None for a function of a module.
    """

    name: str
    file: SourceFile
    node: FunctionNode
    owner: str | None

    @property
    def line_count(self) -> int:
        """Lines from ``def`` to the last one: signature and docstring count, decorators do not."""
        return _line_count(self.node)

    @property
    def line_count_without_docstring(self) -> int:
        """The same, less the lines of the docstring."""
        first = self.node.body[0]
        return self.line_count - (_line_count(first) if _is_docstring(first) else 0)

    @property
    def place(self) -> str:
        """``path:line``, which editors open."""
        return f"{self.file.path}:{self.node.lineno}"

    @property
    def decorators(self) -> list[str]:
        """The last names of its decorators: ``command`` for ``@cli.command("x")``."""
        return [last_name(decorator) for decorator in self.node.decorator_list]


@dataclass(frozen=True, eq=False)
class Class:
    """A class at the top level of a module, or nested in such a class."""

    name: str
    file: SourceFile
    node: ast.ClassDef
    methods: dict[str, Function] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Code:
    """All packages that are read, by dotted names."""

    files: dict[str, SourceFile]
    functions: dict[str, Function]
    classes: dict[str, Class]

    def files_of(self, package: str) -> list[SourceFile]:
        """Returns the modules of a package, its subpackages' included."""
        return [file for file in self.files.values() if is_within(file.name, package)]

    def functions_of(self, package: str) -> list[Function]:
        """Returns the functions of a package, its subpackages' included."""
        return [
            function for function in self.functions.values() if is_within(function.name, package)
        ]

    def classes_of(self, package: str) -> list[Class]:
        """Returns the classes of a package, its subpackages' included."""
        return [found for found in self.classes.values() if is_within(found.name, package)]

    @cached_property
    def attribute_names(self) -> frozenset[str]:
        """The names of data attributes: fields of class bodies, and targets ``x.name = ...``."""
        return frozenset(
            name
            for found in self.classes.values()
            for statement in _all_statements(found.node)
            for target in _targets(statement)
            if (name := last_name(target))
        )

    @cached_property
    def methods_by_name(self) -> dict[str, list[Function]]:
        """The methods of all classes, by their names in the class."""
        found: defaultdict[str, list[Function]] = defaultdict(list)
        for function in self.functions.values():
            if function.owner:
                found[function.node.name].append(function)
        return found


def read_code(root: Path, packages: Iterable[str]) -> Code:
    """Returns the packages below ``root``; a package that does not exist has no files."""
    code = Code({}, {}, {})
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            _read_file(code, root, path)
    return code


def is_within(name: str, package: str) -> bool:
    """Whether a dotted name is ``package`` or below it."""
    return name == package or name.startswith(f"{package}.")


def last_name(expression: ast.expr) -> str:
    """Returns ``c`` for ``a.b.c`` and for a call or subscript of it, else an empty name."""
    match expression:
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return last_name(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields statements with those inside ``if``, ``try``, ``with`` and loops, not in ``def``."""
    for statement in body:
        yield statement
        if not isinstance(statement, (*FUNCTION_NODES, ast.ClassDef)):
            for part in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body)


def imports(
    node: ast.AST, time: ImportTime = ImportTime.LOADING
) -> Iterator[tuple[ast.Import | ast.ImportFrom, ImportTime]]:
    """Yields the import statements inside a module or function with the time of their execution."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import() | ast.ImportFrom():
                yield child, time
            case ast.If(test=test) if last_name(test) == "TYPE_CHECKING":
                yield from imports(child, ImportTime.TYPE_CHECKING)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from imports(child, ImportTime.CALLING)
            case ast.stmt() | ast.excepthandler() | ast.match_case():
                yield from imports(child, time)


def _read_file(code: Code, root: Path, path: Path) -> None:
    relative = path.relative_to(root)
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if path.stem == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    file = SourceFile(name, relative, len(text.splitlines()), ast.parse(text, str(relative)))
    code.files[name] = file
    _read_body(code, file, file.tree.body, None)


def _read_body(code: Code, file: SourceFile, body: list[ast.stmt], owner: Class | None) -> None:
    prefix = owner.name if owner else file.name
    for statement in statements(body):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                function = Function(
                    f"{prefix}.{name}", file, statement, owner.name if owner else None
                )
                code.functions.setdefault(function.name, function)
                if owner:
                    owner.methods.setdefault(name, function)
            case ast.ClassDef(name=name):
                found = Class(f"{prefix}.{name}", file, statement)
                code.classes[found.name] = found
                _read_body(code, file, statement.body, found)


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _line_count(node: ast.stmt) -> int:
    assert node.end_lineno is not None, "a parsed statement has an end"
    return node.end_lineno - node.lineno + 1


def _all_statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yields the statements below a node, those inside functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _all_statements(child)


def _targets(statement: ast.stmt) -> list[ast.expr]:
    match statement:
        case ast.Assign(targets=targets):
            return targets
        case ast.AnnAssign(target=target):
            return [target]
    return []
