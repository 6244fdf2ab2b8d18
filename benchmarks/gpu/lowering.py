"""Programs become artifacts, as the compiler's jobs make them.  Needs JAX."""

from __future__ import annotations

import jax

from benchmarks.gpu.programs import Program
from jaxfs.stablehlo.module.canonicalize import artifact, normalise, settle_placement
from jaxfs.stablehlo.module.entry_function import find_main, read_signature
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.signature import Signature

PLATFORMS = {"gpu": "cuda"}  # devices have gpu, lowerings cuda


def lower(program: Program, platform: str) -> tuple[bytes, Signature]:
    """Returns the artifact and the types of a program.

    Raises:
        Invalid: jaxfs refuses the module.
    """
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in program.kinds]
    donated = (0,) if program.donated else ()
    jitted = jax.jit(program.function, keep_unused=True, donate_argnums=donated)
    with jax.enable_x64(True):
        platforms = (PLATFORMS.get(platform, platform),)
        module = jitted.trace(*shapes).lower(lowering_platforms=platforms).compiler_ir("stablehlo")
    with module.context:
        settle_placement(module)
        check_module(module)
        signature = read_signature(find_main(module))
        normalise(module)
        return artifact(module), signature
