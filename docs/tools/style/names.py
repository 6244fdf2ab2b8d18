"""Names as Python resolves them: from an expression to the function, class or module it means."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from docs.tools.style.source import (
    Class,
    Code,
    Function,
    FunctionNode,
    ImportTime,
    SourceFile,
    imports,
    statements,
)

_MAX_REEXPORTS = 20


@dataclass(frozen=True, eq=False)
class Scope:
    """Where a name is looked up: a module, or a function in it.

    Attributes:
        file: The module.
        local: The variables of the function, which hide names of the module.
        imported: What the function imports itself: local name to dotted name.
    """

    file: SourceFile
    local: frozenset[str] = frozenset()
    imported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Names:
    """The names of all modules, resolved to dotted names of definitions."""

    code: Code
    _definitions: dict[str, str] = field(default_factory=dict)

    @cached_property
    def bindings(self) -> dict[str, dict[str, str]]:
        """What each module binds at its top level: local name to dotted name."""
        return {name: self._bindings_of(file) for name, file in self.code.files.items()}

    def resolve(self, expression: ast.expr, scope: Scope) -> str | None:
        """Returns the dotted name that a name or a chain of attributes means.

        It is a key of ``code`` for a definition of the packages and a name such as ``os.path`` for
        one from elsewhere. Values of variables and other expressions have none.
        """
        match expression:
            case ast.Name(id=name) if name not in scope.local:
                bindings = self.bindings[scope.file.name]
                target = scope.imported.get(name) or bindings.get(name)
                return self.definition(target) if target else None
            case ast.Attribute(value=value, attr=name):
                inner = self.resolve(value, scope)
                return self.definition(f"{inner}.{name}") if inner else None
        return None

    def definition(self, name: str) -> str:
        """Returns where a dotted name is defined, through imports of other modules and bases."""
        if name not in self._definitions:
            self._definitions[name] = self._find_definition(name, _MAX_REEXPORTS)
        return self._definitions[name]

    def _find_definition(self, name: str, steps: int) -> str:
        code = self.code
        if name in code.functions or name in code.classes or name in code.files or not steps:
            return name
        before, _, last = name.rpartition(".")
        holder = self._find_definition(before, steps - 1) if before else ""
        if holder in code.files and last in self.bindings[holder]:
            target = self.bindings[holder][last]
            return name if target == name else self._find_definition(target, steps - 1)
        if holder in code.classes and (method := self.method(holder, last)):
            return method.name
        return f"{holder}.{last}" if holder else name

    def method(self, owner: str, name: str) -> Function | None:
        """Returns a method of a class or of the nearest of its bases that has it."""
        for found in self.ancestry(owner):
            if name in found.methods:
                return found.methods[name]
        return None

    def ancestry(self, owner: str) -> Iterator[Class]:
        """Yields a class and its bases, as far as the packages define them."""
        found = self.code.classes.get(owner)
        if found is None:
            return
        yield found
        for base in found.node.bases:
            yield from self.ancestry(self.base_name(found, base))

    def base_name(self, found: Class, base: ast.expr) -> str:
        """Returns the dotted name of a base of a class; that of ``Base[T]`` is ``Base``."""
        expression = base.value if isinstance(base, ast.Subscript) else base
        return self.resolve(expression, Scope(found.file)) or ast.unparse(expression)

    def _bindings_of(self, file: SourceFile) -> dict[str, str]:
        bound = {}
        for statement in statements(file.tree.body):
            match statement:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    bound[name] = f"{file.name}.{name}"
                case ast.ClassDef(name=name):
                    bound[name] = f"{file.name}.{name}"
        for statement, time in imports(file.tree):
            if time is not ImportTime.CALLING:
                bound.update(imported_names(statement, file))
        return bound


def function_scope(node: FunctionNode, file: SourceFile) -> Scope:
    """Returns the scope of a function, with the functions inside it."""
    imported: dict[str, str] = {}
    for statement, _ in imports(node):
        imported.update(imported_names(statement, file))
    return Scope(file, _local_names(node), imported)


def imported_names(statement: ast.Import | ast.ImportFrom, file: SourceFile) -> dict[str, str]:
    """Returns what an import statement binds: local name to dotted name."""
    if isinstance(statement, ast.ImportFrom):
        source = imported_from(statement, file)
        return {alias.asname or alias.name: f"{source}.{alias.name}" for alias in statement.names}
    return {
        alias.asname or alias.name.partition(".")[0]: (
            alias.name if alias.asname else alias.name.partition(".")[0]
        )
        for alias in statement.names
    }


def imported_from(statement: ast.ImportFrom, file: SourceFile) -> str:
    """Returns the absolute name of the module that a ``from`` import names."""
    if not statement.level:
        return statement.module or ""
    parts = file.package.split(".")
    above = parts[: len(parts) - statement.level + 1]
    return ".".join([*above, *([statement.module] if statement.module else [])])


def _local_names(node: FunctionNode) -> frozenset[str]:
    """Returns the names that a function binds: parameters, variables and functions inside it."""
    bound = set()
    for child in ast.walk(node):
        match child:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if child is not node:
                bound.add(name)
    return frozenset(bound)
