"""Each imported operation computes what XLA computes; writes docs/reports/ops.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlib.mlir.dialects import chlo, stablehlo

from jaxfs.errors import NotSupported
from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.importer import RULES, ImportedFunction
from jaxfs.stablehlo.importer.opaque import opaque_p
from jaxfs.stablehlo.importer.single_op_module import text_of
from tests.stablehlo.importer import (  # noqa: F401  importing them fills CASES
    chlo_cases,
    elementwise_cases,
    stablehlo_cases,
)
from tests.stablehlo.importer.cases import CASES, Case

DOCUMENT = Path(__file__).parents[3] / "docs/reports/ops.md"
# Operations without a case of their own: ends of blocks, and halves of pairs.
STRUCTURE = {
    "stablehlo.return": "the end of a region",
    "stablehlo.async_done": "with stablehlo.async_start",
    "stablehlo.create_token": "with stablehlo.after_all",
    "stablehlo.get_tuple_element": "with stablehlo.tuple",
    "stablehlo.collective_reduce": "as stablehlo.all_reduce; from jax 0.12",
}
REFUSED = {
    **dict.fromkeys(
        (f"stablehlo.{name}" for name in ("infeed", "outfeed", "send", "recv")),
        "it talks to the host",
    ),
    **dict.fromkeys(
        ("stablehlo.uniform_quantize", "stablehlo.uniform_dequantize"),
        "quantized types are not in jaxlib",
    ),
}
AS_IT_IS = frozenset({"stablehlo.rng", "chlo._asin_acos_kernel"})
DRAWS = frozenset({f"stablehlo.rng_bit_generator{variant}" for variant in ("", ":narrow", ":wide")})
UNUSUAL = frozenset(  # forms that JAX has nothing for, of operations that it has otherwise
    {
        "stablehlo.dot_general:algorithm",
        "stablehlo.power:integer",
        "stablehlo.scatter:unusual",
        "stablehlo.select_and_scatter:unusual",
    }
)


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def imported(case: Case) -> tuple[ImportedFunction, list[Any]]:
    function = import_module(case.text)
    return function, [jnp.asarray(x) for x in case.inputs(function.signature.inputs)]


def as_it_is(function: ImportedFunction) -> Callable[..., Any]:
    """Returns a function that runs the whole module by XLA, not imported."""
    avals = function.signature.output_avals
    outputs = tuple((aval.shape, aval.row.numpy) for aval in avals)
    text = text_of(function.module)
    return lambda *inputs: opaque_p.bind(*inputs, text=text, outputs=outputs, what="it")


def expected_of(case: Case, function: ImportedFunction, inputs: list[Any]) -> list[Any]:
    if case.expected is None:
        return list(jax.jit(as_it_is(function))(*inputs))
    return [case.expected(*map(np.asarray, inputs))]


def comparable(array: Any) -> Any:
    """Returns f8, bf16 ... as float64: they have no arithmetic in numpy."""
    array = np.asarray(array)
    is_small = array.dtype.kind == "V" or array.dtype.itemsize < 4
    return array.astype(np.float64) if is_small and array.dtype.kind not in "biu" else array


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_random])
def test_imported_operation_gives_what_xla_makes_of_it(name: str) -> None:
    function, inputs = imported(CASES[name])
    found = jax.jit(function)(*inputs)
    expected = expected_of(CASES[name], function, inputs)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(comparable(one), comparable(other), rtol=1e-5, atol=1e-6)


def runs_as_it_is(case: Case) -> bool:
    function, inputs = imported(case)
    return opaque_p.name in str(jax.make_jaxpr(function)(*inputs))


def test_only_unusual_forms_of_operations_run_as_they_are() -> None:
    found = {name for name, case in CASES.items() if runs_as_it_is(case)}
    assert found == {*AS_IT_IS, *DRAWS, *UNUSUAL}


def test_random_operation_gives_numbers_in_its_range() -> None:
    function, _ = imported(CASES["stablehlo.rng"])
    (found,) = jax.jit(function)()
    assert found.shape == (4,)
    assert np.all((np.asarray(found) >= 0) & (np.asarray(found) < 1))
    assert len(set(found.tolist())) > 1


def test_random_bits_are_the_same_as_numbers_with_a_sign() -> None:
    """XLA draws unsigned integers, whatever the element type of the operation is."""
    case = CASES["stablehlo.rng_bit_generator"]
    unsigned, inputs = imported(case)
    signed = import_module(case.text.replace("5xui32", "5xi32"))
    expected = np.asarray(unsigned(*inputs)[1]).view(np.int32)
    np.testing.assert_array_equal(signed(*inputs)[1], expected)


def dialect(module: Any) -> set[str]:
    """Returns the names of a dialect's operations."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return {c.OPERATION_NAME for c in classes if hasattr(c, "OPERATION_NAME")}


def test_nearly_every_operation_is_imported() -> None:
    every = dialect(stablehlo)
    assert len(every) >= 117
    as_they_are = every - {*RULES, *STRUCTURE}
    assert len(every - as_they_are - {*REFUSED}) >= 110
    assert as_they_are <= AS_IT_IS
    assert len(dialect(chlo)) >= 51
    assert dialect(chlo) - {*RULES} <= AS_IT_IS


def test_every_operation_has_a_case() -> None:
    cases = {case.operation for case in CASES.values()}
    assert {*RULES} - cases == {*STRUCTURE, *REFUSED} & {*RULES}


# Which transformations apply


def _is_traced(transformed: Callable[..., Any], *inputs: Any) -> bool:
    try:
        jax.make_jaxpr(transformed)(*inputs)
    except NotSupported:
        return False
    return True


def batches(case: Case) -> str:
    function, inputs = imported(case)
    if not inputs:
        return ""
    return "yes" if _is_traced(jax.vmap(function), *(jnp.stack([x, x]) for x in inputs)) else "no"


def derivative(case: Case) -> str:
    """Returns by which inputs it is differentiable; empty if there is nothing to differentiate."""
    function, inputs = imported(case)
    moving = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]
    flowing = [aval for aval in function.signature.output_avals if is_inexact(aval.row.numpy)]
    if not moving or not flowing:
        return ""
    every = differentiates(function, inputs, moving)
    if every != "no" or len(moving) == 1:
        return every
    alone = [i for i in moving if differentiates(function, inputs, [i]) == "yes"]
    return f"by input {', '.join(map(str, alone))}" if alone else "no"


def is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def differentiates(function: ImportedFunction, inputs: list[Any], moving: list[int]) -> str:
    def of_moving(*values: Any) -> list[Any]:
        given = dict(enumerate(inputs)) | dict(zip(moving, values, strict=True))
        return [y for y in function(*given.values()) if is_inexact(y.dtype)]

    def backwards(*values: Any) -> Any:
        outputs, pull = jax.vjp(of_moving, *values)
        return pull(outputs)

    primals = [inputs[i] for i in moving]
    forwards = _is_traced(lambda *values: jax.jvp(of_moving, values, values), *primals)
    both = forwards and _is_traced(backwards, *primals)
    return "yes" if both else "forwards" if forwards else "no"


def document() -> str:
    """Returns the text of docs/reports/ops.md."""
    rows = [
        f"| `{name}` | {'as it is' if name in {*AS_IT_IS, *DRAWS, *UNUSUAL} else 'by JAX'} "
        f"| {batches(case)} | {derivative(case)} |"
        for name, case in sorted(CASES.items())
    ]
    structure = [f"- `{name}`: {why}" for name, why in sorted(STRUCTURE.items())]
    refused = [f"- `{name}`: {why}" for name, why in sorted(REFUSED.items())]
    return "\n".join(
        [
            "# Operations",
            "",
            "What `jaxfs.stablehlo.import_module` does with each operation of StableHLO and CHLO:",
            "*by JAX*, as expressions of `jax.lax`, or *as it is*, as a module of one operation;",
            "and whether it can be batched and differentiated (empty where there is nothing to",
            "batch or to differentiate). A form of an operation is named after a colon. Made by",
            "`JAXFS_UPDATE_DOCS=1 python -m pytest tests/stablehlo/importer/test_operations.py`.",
            "",
            "| operation | imported | batch | derivative |",
            "|---|---|---|---|",
            *rows,
            "",
            "Beside them:",
            "",
            *structure,
            "",
            "Refused:",
            "",
            *refused,
            "",
        ]
    )


def test_table_of_operations_is_current() -> None:
    """Writes the table instead if JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document()
