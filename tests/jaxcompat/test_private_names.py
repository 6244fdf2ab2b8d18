"""Private names of jax are used in one package, and each is listed with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxfs import jaxcompat

PACKAGE = Path(jaxcompat.__file__).parent
MODULES = sorted(path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")


def private_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the module and the local name of each import from a private module of jax."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and "._" in f".{node.module}":
            for name in node.names:
                yield node.module, name.asname or name.name


def private_names(tree: ast.Module) -> set[str]:
    """Returns the attributes of privately imported modules, and underscored ones of anything."""
    modules = {local for _, local in private_imports(tree)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in attributes
        if (isinstance(node.value, ast.Name) and node.value.id in modules)
        or (node.attr.startswith("_") and not node.attr.startswith("__"))
    } - {"mlir", "initialize", "GetRootAsExported"}  # parts of a name that is listed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_each_private_name_is_listed_with_its_reason(path: Path) -> None:
    tree = ast.parse(path.read_text())
    documented = ast.get_docstring(tree) or ""
    missing = {name for name in private_names(tree) if f"``{name}``" not in documented}
    assert private_names(tree)
    assert not missing


def test_no_other_package_imports_private_modules_of_jax() -> None:
    others = [path for path in PACKAGE.parent.rglob("*.py") if PACKAGE not in path.parents]
    found = [
        f"{path}: {module}"
        for path in others
        for module, _ in private_imports(ast.parse(path.read_text()))
        if module.split(".")[0] in ("jax", "jaxlib")
    ]
    assert not found
