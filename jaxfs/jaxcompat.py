"""Every private name of jax that jaxfs needs, in one place.

Tested with jax 0.10.2 and 0.12.0.  Only the tracer's children and the engine import this module.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jaxlib.version
from jax import export, tree_util
from jax._src import config as jax_config
from jax._src import core, sharding_impls, stages, xla_bridge
from jax._src.export import serialization_generated
from jax._src.interpreters import ad, mlir, pxla
from jax._src.interpreters import batching as batching_rules
from jax._src.lib import _jax, xla_client  # type: ignore[attr-defined]  # without __all__
from jax.experimental import serialize_executable
from jaxlib.lapack import _lapack  # type: ignore[attr-defined]  # private
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func, stablehlo

from jaxfs.types.avals import Aval
from jaxfs.types.signature import Signature


def toolchain() -> str:
    """The versions a compiled executable depends on."""
    return f"jax {jax.__version__} jaxlib {jaxlib.version.__version__}"


def make_context() -> Any:
    """An MLIR context with jax's dialects, StableHLO and CHLO among them.

    It starts no threads, so a process that holds one may fork.
    """
    context = mlir.make_ir_context()
    context.enable_multithreading(False)
    stablehlo.register_stablehlo_passes()
    return context


def read_exported(data: bytes) -> Any:
    """The flatbuffer table of a jax.export artifact.

    Unlike ``jax.export.deserialize`` it needs no registered pytree types and builds nothing.
    """
    table: Any = serialization_generated.Exported  # generated code has no types
    return table.GetRootAsExported(data)


CALLING_CONVENTIONS = range(  # of the jax.export artifacts this jax reads
    export.minimum_supported_calling_convention_version,
    export.maximum_supported_calling_convention_version + 1,
)
PYTREE_KINDS = {
    number: name
    for name, number in vars(serialization_generated.PyTreeDefKind).items()
    if isinstance(number, int)
}
EXPORTED_DTYPES = {
    number: name
    for name, number in vars(serialization_generated.DType).items()
    if isinstance(number, int)
}


def refine_shapes(module: Any) -> bytes:
    """A module whose ``main`` has static inputs, with every `?` resolved, as bytecode.

    Raises jaxlib's XlaRuntimeError for what cannot be, or what the program asserts of its shapes.
    """
    refined: bytes = _jax.mlir.refine_polymorphic_shapes(
        mlir_module=mlir.module_to_bytecode(module),
        enable_shape_assertions=True,
        validate_static_shapes=True,
        enable_shardy=True,
    )
    return refined


def look_for_no_plugins() -> None:
    """Start jax's own backends only.

    The search for others reads what every installed package says of itself, 10 ms in each of the
    tracer's jobs, and these need the CPU alone.
    """
    bridge: Any = xla_bridge
    bridge.discover_pjrt_plugins = lambda: None


def use_cpu(device_count: int) -> Sequence[jax.Device]:
    """Start the CPU backend with so many devices; only once in a process."""
    config: Any = jax.config  # its update has no types
    config.update("jax_platforms", "cpu")
    config.update("jax_num_cpu_devices", device_count)
    config.update("jax_enable_x64", True)
    return jax.devices("cpu")


def _shaped(aval: Aval) -> core.ShapedArray:
    return core.ShapedArray(aval.shape, aval.row.numpy)


def compile_module(module: Any, signature: Signature, devices: Sequence[jax.Device]) -> Any:
    """Compile a StableHLO module, whole as it is, for all of ``devices``, its partitions.

    Where it does not say how arrays are spread over them, the compiler chooses.
    """
    inputs = [_shaped(aval) for aval in signature.input_avals]
    outputs = [_shaped(aval) for aval in signature.output_avals]
    if "sym_name" not in module.operation.attributes:  # jax's compile cache asks for it
        with module.context:
            module.operation.attributes["sym_name"] = ir.StringAttr.get("main")
    if len(devices) == 1:
        here: Any = sharding_impls.SingleDeviceSharding(devices[0])
        return _from_hlo(module, inputs, outputs, here, devices)
    with jax_config.use_shardy_partitioner(_has_meshes(module)):
        return _from_hlo(module, inputs, outputs, _UNSPECIFIED, devices)


_UNSPECIFIED: Any = vars(sharding_impls)["UNSPECIFIED"]  # imported there


def _has_meshes(module: Any) -> bool:
    """Whether it says in Shardy's terms how arrays are spread; GSPMD's are attributes."""
    return any(operation.operation.name == "sdy.mesh" for operation in module.body.operations)


def _from_hlo(
    module: Any,
    inputs: Sequence[core.ShapedArray],
    outputs: Sequence[core.ShapedArray],
    here: Any,
    devices: Sequence[jax.Device],
) -> Any:
    return pxla.UnloadedMeshExecutable.from_hlo(
        name="main",
        hlo=module,
        global_in_avals=inputs,
        global_out_avals=outputs,
        in_shardings=[here] * len(inputs),
        out_shardings=[here] * len(outputs),
        tuple_args=False,
        unordered_effects=[],
        ordered_effects=[],
        host_callbacks=[],
        keepalive=None,
        kept_var_idx=set(range(len(inputs))),
        backend=devices[0].client,
        device_list=xla_client.DeviceList(tuple(devices)),
        committed=False,
        in_layouts=[None] * len(inputs),
        out_layouts=[None] * len(outputs),
        compiler_options_kvs=(),
        num_devices=len(devices),
    )


def xla_executable(executable: Any) -> Any:
    """The compiler's own object: memory statistics, cost analysis, HLO modules."""
    return executable.xla_executable


def serialize(executable: Any) -> bytes:
    """An executable as bytes that ``deserialize`` takes in a process with the same devices."""
    file = io.BytesIO()
    serialize_executable._JaxPjrtPickler(file).dump(executable._unloaded_executable)
    return file.getvalue()


def deserialize(data: bytes, devices: Sequence[jax.Device]) -> Any:
    """The inverse of ``serialize``.  The bytes are native code: only our own are taken."""
    file = io.BytesIO(data)
    make_unpickler: Any = serialize_executable._JaxPjrtUnpickler
    unpickler = make_unpickler(file, devices[0].client, devices)
    return unpickler.load().load()


def callable_of(executable: Any, signature: Signature) -> Callable[..., Sequence[jax.Array]]:
    """A function of numpy or jax arrays on JAX's fast C++ dispatch path (5-7 us a call).

    It checks nothing: XLA reinterprets a same-sized wrong dtype silently, so callers check before.
    """
    inputs = [stages.ArgInfo(_shaped(aval), False) for aval in signature.input_avals]
    in_tree = tree_util.tree_structure((tuple(0 for _ in inputs), {}))
    out_tree = tree_util.tree_structure([0] * len(signature.outputs))
    args_info = tree_util.tree_unflatten(in_tree, inputs)
    return stages.Compiled(executable, [], args_info, out_tree, no_kwargs=True)


def concurrent_callable_of(executable: Any) -> Callable[..., Sequence[jax.Array]]:
    """The same, 8 us slower, for programs that may run long.

    The C++ path makes all others wait for the end of its first call: an endless one would stop
    every later call of the same program.
    """
    call: Callable[..., Sequence[jax.Array]] = executable.unsafe_call
    return call


def compile_artifact(artifact: bytes, signature: Signature, devices: Sequence[jax.Device]) -> Any:
    """Compile a portable artifact, as ``compile_module`` does."""
    with make_context() as context, ir.Location.unknown(context):
        module = stablehlo.deserialize_portable_artifact(context, artifact)
        return compile_module(module, signature, devices)


def opcodes(executable: Any) -> frozenset[str]:
    """The names of all HLO operations of a compiled program: ``kWhile``, ``kCustomCall`` ..."""
    return frozenset(
        instruction.opcode.name
        for module in executable.xla_executable.hlo_modules()
        for computation in module.computations()
        for instruction in computation.instructions()
    )


def bytes_accessed(executable: Any) -> int | None:
    """Memory a run reads and writes by XLA's reckoning, None where it tells nothing.

    Less than the arguments' size where a program looks at a part of them only.
    """
    try:
        found = executable.xla_executable.cost_analysis()
    except Exception:  # the platforms that do not tell raise what they like
        return None
    figures = found[0] if isinstance(found, list) else found
    told = (figures or {}).get("bytes accessed", 0)
    return int(told) or None


def temporary_bytes(executable: Any) -> int:
    """Memory a run takes beside its inputs and outputs."""
    return int(executable.xla_executable.get_compiled_memory_stats().temp_size_in_bytes)


def initialize_custom_calls() -> None:
    """Let programs call LAPACK that this process did not trace.

    Tracing jax.numpy.linalg does it otherwise; without it such a call jumps to address 0.  Takes
    60 ms the first time, because it imports scipy.
    """
    _lapack.initialize()


# Jaxprs


def is_literal(var: Any) -> bool:
    """Whether an input of an equation is a number rather than a variable."""
    return isinstance(var, core.Literal)


def evaluate(equation: Any, values: Sequence[Any]) -> list[Any]:
    """What an equation of a jaxpr gives for values of its inputs."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        found = equation.primitive.bind(*values, **params)
    return list(found) if equation.primitive.multiple_results else [found]


# Primitives of our own

Primitive: Any = core.Primitive


def linear_identity(name: str, transpose: Callable[..., Any]) -> Any:
    """A primitive that gives what it takes, and says by ``transpose`` what comes back."""
    primitive = Primitive(name)
    primitive.def_impl(lambda x, **_: x)
    primitive.def_abstract_eval(lambda x, **_: x)
    mlir.register_lowering(primitive, lambda _, x, **__: [x])
    ad.deflinear2(primitive, transpose)  # type: ignore[no-untyped-call]  # jax has no types here
    batching_rules.defvectorized(primitive)  # type: ignore[no-untyped-call]  # as above
    return primitive


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is a symbolic zero."""
    return isinstance(tangent, ad.Zero)  # type: ignore[attr-defined]  # without __all__


def shaped(shape: Sequence[int], dtype: Any) -> core.ShapedArray:
    """The abstract value of an array."""
    return core.ShapedArray(tuple(shape), dtype)


def register(
    primitive: Any,
    text_of: Callable[..., str],
    jvp: Callable[..., Any] | None = None,
    batching: Callable[..., Any] | None = None,
) -> None:
    """Let a primitive lower to the StableHLO module that ``text_of`` writes for its parameters.

    ``text_of`` gets the inputs' abstract values as ``avals`` too, where it takes them.
    """
    takes_avals = "avals" in inspect.signature(text_of).parameters

    def lower(context: Any, *operands: Any, **params: Any) -> Any:
        extra = {"avals": context.avals_in} if takes_avals else {}
        module = ir.Module.parse(text_of(**params, **extra))
        main: Any = next(iter(module.body.operations))
        outputs = main.type.results
        name = mlir.merge_mlir_modules(context.module_context.module, "imported", module)
        return func.CallOp(outputs, ir.FlatSymbolRefAttr.get(name), operands).results

    def evaluate(*operands: Any, **params: Any) -> Any:
        return jax.jit(lambda *args: primitive.bind(*args, **params))(*operands)

    primitive.def_impl(evaluate)
    mlir.register_lowering(primitive, lower)
    if jvp is not None:
        ad.primitive_jvps[primitive] = jvp
    if batching is not None:
        batching_rules.primitive_batchers[primitive] = batching
