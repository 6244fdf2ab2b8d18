"""The entry function: its signature, and changes to its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import dotted, result_name, unique
from jaxfs.stablehlo.module.mlir_types import checked_aval
from jaxfs.stablehlo.module.walk import functions, place
from jaxfs.types.signature import Param, Signature

_DONATED = ("tf.aliasing_output", "jax.buffer_donor")


def call_entry_main(module: Any) -> str:
    """Renames the only public function, or the only one, to ``@main``; returns its former name.

    Where several could be the entry, ``find_main`` refuses the module.
    """
    found = functions(module)
    public = [name for name, function in found.items() if _is_public(function)]
    names = public or list(found)
    if "main" in found or len(names) != 1 or not found[names[0]].regions[0].blocks:
        return "main"
    (name,) = names
    entry = found[name]
    ir.SymbolTable.replace_all_symbol_uses(name, "main", module.operation)
    entry.attributes["sym_name"] = ir.StringAttr.get("main")
    entry.attributes["sym_visibility"] = ir.StringAttr.get("public")
    return name


def _is_public(function: Any) -> bool:
    attributes = function.attributes
    return "sym_visibility" not in attributes or attributes["sym_visibility"].value == "public"


def find_main(module: Any) -> Any:
    """Returns the entry function, ``@main``.

    Raises:
        Invalid: There is none, it is private, or a function has no body.
    """
    found = functions(module)
    main = found.get("main")
    if main is None:
        public = [name for name, function in found.items() if _is_public(function)]
        names = ", ".join(f"@{name}" for name in public or found) or "no function at all"
        raise Invalid(
            f"there is no function @main to run, found {names}; name the entry main, or make it "
            "the only public function"
        )
    if not _is_public(main):
        raise Invalid(f"{place(main)}@main is private; make it public")
    for name, function in found.items():
        if not function.regions[0].blocks:
            raise Invalid(f"{place(function)}@{name} has no body")
    return main


def entry_block(main: Any) -> Any:
    """Returns the block of a function, which has its arguments and operations."""
    return main.regions[0].blocks[0]


def read_signature(main: Any, names: Sequence[str] = ()) -> Signature:
    """Returns the types and names of ``main``'s arguments and results.

    Args:
        main: The entry function.
        names: Names of arguments; those in the arguments' locations (jax.export writes them there)
            come first.

    Raises:
        Invalid: A parameter has a type that jaxfs has no arrays of; the message names it.
    """
    arguments = entry_block(main).arguments
    attributes = argument_attributes(main)
    inputs = tuple(
        Param(
            name,
            checked_aval(argument.type, _label(main, "argument", i, name)),
            any(key in attributes[i] for key in _DONATED),
        )
        for i, (argument, name) in enumerate(zip(arguments, read_names(main, names), strict=True))
    )
    return Signature(inputs, _outputs(main))


def read_names(main: Any, names: Sequence[str] = ()) -> list[str]:
    """Returns the names of ``main``'s arguments as ``read_signature`` does; some may be empty."""
    arguments = entry_block(main).arguments
    return unique(_argument_name(a, i, names) for i, a in enumerate(arguments))


def argument_attributes(main: Any) -> list[dict[str, Any]]:
    """Returns the attributes of each of ``main``'s arguments, by name."""
    return _attributes(main, "arg_attrs", len(entry_block(main).arguments))


def _outputs(main: Any) -> tuple[Param, ...]:
    types = main.attributes["function_type"].value.results
    paths = [a.get("jax.result_info") for a in _attributes(main, "res_attrs", len(types))]
    names = unique(result_name(path.value) if path is not None else "" for path in paths)
    return tuple(
        Param(name, checked_aval(t, _label(main, "result", i, name)))
        for i, (t, name) in enumerate(zip(types, names, strict=True))
    )


def _attributes(main: Any, key: str, count: int) -> list[dict[str, Any]]:
    if key not in main.attributes:
        return [{} for _ in range(count)]
    return [{item.name: item.attr for item in entry} for entry in main.attributes[key]]


def _argument_name(argument: Any, index: int, names: Sequence[str]) -> str:
    location = argument.location
    if isinstance(location, ir.NameLoc):
        return dotted(location.name_str)
    return names[index] if index < len(names) else ""


def _label(main: Any, kind: str, index: int, name: str) -> str:
    """Returns how messages name a parameter: ``line 2: argument 0 (x)``."""
    return f"{place(main)}{kind} {index}" + (f" ({name})" if name else "")


def fix_argument(main: Any, index: int, value: int) -> None:
    """Replaces an integer argument of ``main`` by a constant."""
    block = entry_block(main)
    argument = block.arguments[index]
    argument.replace_all_uses_with(constant_at_start(block, argument.type, value))
    block.erase_argument(index)
    if "arg_attrs" in main.attributes:
        kept = [entry for i, entry in enumerate(main.attributes["arg_attrs"]) if i != index]
        main.attributes["arg_attrs"] = ir.ArrayAttr.get(kept)
    _retype(main)


def constant_at_start(block: Any, mlir_type: Any, value: int) -> Any:
    """Returns a new integer constant, before all other operations of the block."""
    with ir.InsertionPoint.at_block_begin(block), ir.Location.unknown():
        number = ir.IntegerAttr.get(mlir_type.element_type, value)
        return stablehlo.constant(ir.DenseElementsAttr.get_splat(mlir_type, number))


def rearrange_arguments(main: Any, types: Sequence[Any], kept: Sequence[int]) -> None:
    """Gives ``main`` arguments of ``types``; the old ones become those numbered ``kept``."""
    block = entry_block(main)
    old = list(block.arguments)
    with ir.Location.unknown():
        new = [block.add_argument(t, ir.Location.unknown()) for t in types]
    for argument, index in zip(old, kept, strict=True):
        argument.replace_all_uses_with(new[index])
    for index in reversed(range(len(old))):
        block.erase_argument(index)
    if "arg_attrs" in main.attributes:
        places = dict(zip(kept, main.attributes["arg_attrs"], strict=True))
        nothing = ir.DictAttr.get({})
        entries = [places.get(i, nothing) for i in range(len(types))]
        main.attributes["arg_attrs"] = ir.ArrayAttr.get(entries)
    _retype(main)


def _retype(main: Any) -> None:
    """Brings the function's type in line with its arguments."""
    types = [argument.type for argument in entry_block(main).arguments]
    results = main.attributes["function_type"].value.results
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, results))
