"""Uses of functions, by name resolution.

A *use* of a function is a call or a value: ``f(x)`` calls ``f``, ``{"k": f}`` and ``start_soon(f)``
use it as a value. Uses are found so:

- ``f``, ``module.f``, ``Class.f`` and ``instance_of_a_known_class().f`` through imports, re-exports
  of packages and base classes. Local variables hide names of the module.
- ``self.f``, ``cls.f`` and ``super().f`` through the class around them and its bases.
- ``x.f`` of any other object counts for *every* method of that name, in ``mountctl`` too, unless
  ``x`` is a literal or comes from a library. This counts too many callers of common names, never
  too few. If ``x.f`` is not called and data attributes have that name too, it is taken for data.
- A property is called where it is read; a decorator where it is applied. ``getattr(x, "f")`` is a
  value. Tests are no callers, and recursion is no call.
"""

from __future__ import annotations

import ast
import configparser
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from docs.tools.style.names import Names, Scope, function_scope
from docs.tools.style.source import FUNCTION_NODES, Function, FunctionNode, SourceFile

_PROPERTIES = frozenset({"property", "cached_property"})
_LITERALS = (ast.Constant, ast.JoinedStr, ast.List, ast.Dict, ast.Set, ast.Tuple)


@dataclass(frozen=True)
class Call:
    """A place where a function is called."""

    caller: str
    path: Path
    line: int


@dataclass(frozen=True, eq=False)
class Uses:
    """What the source does with each function, by dotted name."""

    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    values: set[str] = field(default_factory=set)
    entry_points: set[str] = field(default_factory=set)


def find_uses(names: Names, root: Path) -> Uses:
    """Returns all uses in all packages; ``root`` has the ``setup.cfg`` that names entry points."""
    uses = Uses(entry_points=set(_console_scripts(root / "setup.cfg")))
    for file in names.code.files.values():
        for body in _bodies(file, file.tree, None, file.name):
            _Visitor(names, uses, body).visit_body()
    return uses


@dataclass(frozen=True)
class _Body:
    """Code that is attributed to one caller: a function, or a module without its functions."""

    caller: str
    node: ast.AST
    owner: str | None
    scope: Scope


def _bodies(file: SourceFile, node: ast.AST, owner: str | None, prefix: str) -> Iterator[_Body]:
    """Yields the code of a module or class outside functions, then that of each function."""
    yield _Body(prefix, node, owner, Scope(file))
    for child in _definitions(node):
        name = f"{prefix}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from _bodies(file, child, name, name)
        else:
            yield _Body(name, child, owner, function_scope(child, file))


def _definitions(
    node: ast.AST,
) -> Iterator[FunctionNode | ast.ClassDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTION_NODES, ast.ClassDef)):
            yield child
        elif isinstance(child, (ast.stmt, ast.excepthandler)):
            yield from _definitions(child)


class _Visitor(ast.NodeVisitor):
    """Records the uses in one body."""

    def __init__(self, names: Names, uses: Uses, body: _Body) -> None:
        self.names = names
        self.uses = uses
        self.body = body
        self.is_entry = False

    def visit_body(self) -> None:
        """Visits what the body executes: all of a module, the statements of a function."""
        node = self.body.node
        children = node.body if isinstance(node, FUNCTION_NODES) else ast.iter_child_nodes(node)
        for child in children:
            self.visit(child)

    def visit_If(self, node: ast.If) -> None:
        """Marks calls below ``if __name__ == "__main__"`` as those of entry points."""
        before = self.is_entry
        match node.test:
            case ast.Compare(left=ast.Name(id="__name__")):
                self.is_entry = True
        self.generic_visit(node)
        self.is_entry = before

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        """Visits a function inside a function; one of a module or class is a body of its own."""
        self._visit_definition(node, [node.args])

    def visit_AsyncFunctionDef(self, node: FunctionNode) -> None:
        """Visits an asynchronous function like another one."""
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Visits a class inside a function; one of a module or class is a body of its own."""
        self._visit_definition(node, [*node.bases, *node.keywords])

    def _visit_definition(
        self, node: FunctionNode | ast.ClassDef, header: Sequence[ast.AST]
    ) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                self.visit(decorator)
            else:
                self._record(decorator, is_call=True)
        is_inside = isinstance(self.body.node, FUNCTION_NODES)
        for child in (*header, *(node.body if is_inside else ())):
            self.visit(child)

    def visit_Call(self, node: ast.Call) -> None:
        """Records a call, then visits its arguments."""
        self._record(node.func, is_call=True)
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)
        elif not isinstance(node.func, ast.Name):
            self.visit(node.func)
        elif node.func.id == "getattr" and len(node.args) > 1:
            self._record_getattr(node.args[0], node.args[1])
        for argument in (*node.args, *node.keywords):
            self.visit(argument)

    def visit_Name(self, node: ast.Name) -> None:
        """Records a function that is used as a value."""
        self._record(node, is_call=False)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Records a method or a function of a module that is used as a value, or a property."""
        if isinstance(node.ctx, ast.Load):
            self._record(node, is_call=False)
        self.visit(node.value)

    def _record(self, expression: ast.expr, *, is_call: bool) -> None:
        target = self._target(expression)
        if target in self.names.code.functions:
            self._use(self.names.code.functions[target], expression.lineno, is_call=is_call)
        elif isinstance(expression, ast.Attribute) and not self._is_foreign(target):
            self._use_by_name(expression, is_call=is_call)

    def _is_foreign(self, target: str | None) -> bool:
        """Whether a dotted name is that of a library."""
        return target is not None and target.partition(".")[0] not in self.names.code.files

    def _record_getattr(self, value: ast.expr, name: ast.expr) -> None:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            attribute = ast.Attribute(value, name.value, ast.Load(), lineno=name.lineno)
            self._record(attribute, is_call=False)

    def _target(self, expression: ast.expr) -> str | None:
        """Returns a dotted name, or None if only the name of an attribute is known."""
        owner, scope, names = self.body.owner, self.body.scope, self.names
        match expression:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if owner:
                method = names.method(owner, name)
                return method.name if method else None
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if owner:
                _, *bases = names.ancestry(owner)
                found = (base.methods[name].name for base in bases if name in base.methods)
                return next(found, f"super.{name}")
            case ast.Attribute(value=ast.Call(func=function), attr=name):
                made = names.resolve(function, scope)
                is_class = made in self.names.code.classes
                return names.definition(f"{made}.{name}") if is_class else None
        return names.resolve(expression, scope)

    def _use_by_name(self, expression: ast.Attribute, *, is_call: bool) -> None:
        if isinstance(expression.value, _LITERALS):
            return
        is_data = not is_call and expression.attr in self.names.code.attribute_names
        for method in self.names.code.methods_by_name.get(expression.attr, []):
            if _is_property(method) or not is_data:
                self._use(method, expression.lineno, is_call=is_call)

    def _use(self, function: Function, line: int, *, is_call: bool) -> None:
        if function.name == self.body.caller:
            return
        if not (is_call or _is_property(function)):
            self.uses.values.add(function.name)
        elif self.is_entry:
            self.uses.entry_points.add(function.name)
        else:
            call = Call(self.body.caller, self.body.scope.file.path, line)
            self.uses.calls[function.name].append(call)


def _is_property(function: Function) -> bool:
    return not _PROPERTIES.isdisjoint(function.decorators)


def _console_scripts(path: Path) -> Iterator[str]:
    """Yields the functions that ``setup.cfg`` makes commands of."""
    config = configparser.ConfigParser()
    config.read(path)
    lines = config.get("options.entry_points", "console_scripts", fallback="").splitlines()
    for line in lines:
        _, equals, target = line.partition("=")
        if equals:
            yield target.strip().replace(":", ".")
