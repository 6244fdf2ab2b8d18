"""Compile StableHLO with XLA, and load, serialize and call what comes out."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import tree_util
from jax._src import config as jax_config
from jax._src import core, sharding_impls, stages, xla_bridge
from jax._src.interpreters import pxla
from jax._src.lib import xla_client  # type: ignore[attr-defined]  # without __all__
from jax.experimental import serialize_executable
from jaxlib.lapack import _lapack  # type: ignore[attr-defined]  # private
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat.mlir import make_context
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Signature


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
