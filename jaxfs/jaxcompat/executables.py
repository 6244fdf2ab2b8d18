"""Compiles StableHLO with XLA, and loads, serializes and calls the executables.

Private names of jax and jaxlib:

- ``UnloadedMeshExecutable``, ``DeviceList``, ``SingleDeviceSharding``, ``UNSPECIFIED``,
  ``ShapedArray``: compile a module as it is.  The public ways start from a Python function, or give
  no executable that can be serialized.
- ``use_shardy_partitioner``: modules with Shardy's meshes need it on, those of GSPMD off.
- ``_JaxPjrtPickler``, ``_unloaded_executable``: the executable alone.
  ``serialize_executable.serialize`` adds pytrees, which are pickled.
- ``Compiled``, ``ArgInfo``: JAX's C++ dispatch for an executable that no ``jit`` made.
- ``unsafe_call``, ``xla_executable``: run without that dispatch; statistics and HLO of XLA.
- ``discover_pjrt_plugins``: replaced, to save its time.
- ``linalg``: its ``cuda_versions`` is the module that asks cuSOLVER.
- ``_lapack``: registers LAPACK's custom calls in processes that trace nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import tree_util
from jax._src import config as jax_config
from jax._src import core, sharding_impls, stages, xla_bridge
from jax._src.interpreters import pxla
from jax._src.lax import linalg
from jax._src.lib import xla_client  # type: ignore[attr-defined]  # without __all__
from jax.experimental import serialize_executable
from jaxlib import gpu_solver
from jaxlib.lapack import _lapack  # type: ignore[attr-defined]  # private
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat.executable_pickles import unpickle
from jaxfs.jaxcompat.mlir import make_context
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Signature

_COST = ("flops", "bytes accessed", "transcendentals")
_MEMORY = {
    "argument_bytes": "argument_size_in_bytes",
    "output_bytes": "output_size_in_bytes",
    "temp_bytes": "temp_size_in_bytes",
    "alias_bytes": "alias_size_in_bytes",
    "peak_bytes": "peak_memory_in_bytes",
    "code_bytes": "generated_code_size_in_bytes",
}


def skip_plugin_discovery() -> None:
    """Lets jax start its own backends only, and lower for GPUs without their libraries.

    The search for others reads the metadata of every installed package, 10 ms in each job of the
    compiler, and jobs need the CPU alone.  Where the CUDA plugin is installed, jax asks cuSOLVER
    for its version to lower ``eig``, which fails without a GPU.
    """
    bridge: Any = xla_bridge
    bridge.discover_pjrt_plugins = lambda: None
    vars(linalg)["cuda_versions"] = None


def use_cpu(device_count: int) -> Sequence[jax.Device]:
    """Starts the CPU backend with ``device_count`` devices; only once in a process."""
    config: Any = jax.config  # its update has no types
    config.update("jax_platforms", "cpu")
    config.update("jax_num_cpu_devices", device_count)
    config.update("jax_enable_x64", True)
    return jax.devices("cpu")


def _shaped(aval: Aval) -> core.ShapedArray:
    return core.ShapedArray(aval.shape, aval.row.numpy)


def compile_artifact(artifact: bytes, signature: Signature, devices: Sequence[jax.Device]) -> Any:
    """Compiles a portable artifact, as ``compile_module`` does."""
    with make_context() as context, ir.Location.unknown(context):
        module = stablehlo.deserialize_portable_artifact(context, artifact)
        return compile_module(module, signature, devices)


def compile_module(module: Any, signature: Signature, devices: Sequence[jax.Device]) -> Any:
    """Compiles a StableHLO module as it is, for all of ``devices``, one for each partition.

    Returns:
        A loaded executable.  The compiler chooses how arrays are spread over the devices if the
        module does not determine it.
    """
    inputs = [_shaped(aval) for aval in signature.input_avals]
    outputs = [_shaped(aval) for aval in signature.output_avals]
    if "sym_name" not in module.operation.attributes:  # jax's compile cache asks for it
        with module.context:
            module.operation.attributes["sym_name"] = ir.StringAttr.get("main")
    if len(devices) == 1:
        sharding: Any = sharding_impls.SingleDeviceSharding(devices[0])
        return _from_hlo(module, inputs, outputs, sharding, devices)
    # Shardy's meshes are operations, GSPMD's shardings are attributes
    has_meshes = any(op.operation.name == "sdy.mesh" for op in module.body.operations)
    with jax_config.use_shardy_partitioner(has_meshes):
        return _from_hlo(module, inputs, outputs, _UNSPECIFIED, devices)


_UNSPECIFIED: Any = vars(sharding_impls)["UNSPECIFIED"]  # imported there


def _from_hlo(
    module: Any,
    inputs: Sequence[core.ShapedArray],
    outputs: Sequence[core.ShapedArray],
    sharding: Any,
    devices: Sequence[jax.Device],
) -> Any:
    return pxla.UnloadedMeshExecutable.from_hlo(
        name="main",
        hlo=module,
        global_in_avals=inputs,
        global_out_avals=outputs,
        in_shardings=[sharding] * len(inputs),
        out_shardings=[sharding] * len(outputs),
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
    """Returns XLA's object: memory statistics, cost analysis, HLO modules."""
    return executable.xla_executable


def serialize(executable: Any) -> bytes:
    """Returns bytes that ``deserialize`` takes in a process with the same devices."""
    file = io.BytesIO()
    serialize_executable._JaxPjrtPickler(file).dump(executable._unloaded_executable)
    return file.getvalue()


def deserialize(data: bytes, devices: Sequence[jax.Device]) -> Any:
    """Returns the executable of ``serialize``'s bytes: native code, so only from trusted files.

    Raises:
        pickle.UnpicklingError: They would do more than to make an executable.
    """
    return unpickle(data, devices).load()


def compile_nothing(devices: Sequence[jax.Device]) -> bytes:
    """Returns the serialized executable of a program that only copies a number.

    It records the features of this machine's CPU, as XLA finds them.
    """
    lowered = jax.jit(lambda x: -x, device=devices[0]).lower(jax.ShapeDtypeStruct((), "float32"))
    data, _, _ = serialize_executable.serialize(lowered.compile())
    return bytes(data)


def make_callable(executable: Any, signature: Signature) -> Callable[..., Sequence[jax.Array]]:
    """Returns a function of numpy or jax arrays, by JAX's C++ dispatch (5-7 us a call).

    It checks nothing: XLA silently reinterprets a wrong dtype of the same size, so callers check
    before.
    """
    inputs = [stages.ArgInfo(_shaped(aval), False) for aval in signature.input_avals]
    in_tree = tree_util.tree_structure((tuple(0 for _ in inputs), {}))
    out_tree = tree_util.tree_structure([0] * len(signature.outputs))
    args_info = tree_util.tree_unflatten(in_tree, inputs)
    return stages.Compiled(executable, [], args_info, out_tree, no_kwargs=True)


def make_concurrent_callable(executable: Any) -> Callable[..., Sequence[jax.Array]]:
    """Returns a function as ``make_callable`` does, 8 us slower, for programs that may run long.

    With the C++ dispatch all calls wait for the end of the first one: one that never ends would
    stop every later call of the same program.
    """
    call: Callable[..., Sequence[jax.Array]] = executable.unsafe_call
    return call


def opcodes(executable: Any) -> frozenset[str]:
    """Returns the names of all HLO operations of an executable: ``kWhile``, ``kCustomCall`` ..."""
    return frozenset(
        instruction.opcode.name
        for module in executable.xla_executable.hlo_modules()
        for computation in module.computations()
        for instruction in computation.instructions()
    )


def bytes_accessed(executable: Any) -> int | None:
    """Returns the memory in bytes that a run reads and writes, as XLA estimates it.

    It is less than the size of the arguments for a program that reads a part of them only, and
    None on platforms without an estimate.
    """
    try:
        analysis = executable.xla_executable.cost_analysis()
    except Exception:  # platforms without an analysis raise different exceptions
        return None
    figures = analysis[0] if isinstance(analysis, list) else analysis
    return int((figures or {}).get("bytes accessed", 0)) or None


def cost_figures(raw: Any) -> dict[str, float]:
    """Returns XLA's estimates for an executable of its own, such as flops.

    Some jaxlib have them in a list of one.  An executable for a GPU has none before it is loaded.
    """
    try:
        found = raw.cost_analysis()
    except jax.errors.JaxRuntimeError:  # UNIMPLEMENTED
        return {}
    figures = (found[0] if isinstance(found, list) else found) or {}
    return {name.replace(" ", "_"): float(figures[name]) for name in _COST if name in figures}


def memory_figures(raw: Any) -> dict[str, int]:
    """Returns the memory in bytes that a run takes on each device, by XLA's analysis."""
    stats = raw.get_compiled_memory_stats()
    return {name: int(getattr(stats, attribute)) for name, attribute in _MEMORY.items()}


def temporary_bytes(executable: Any) -> int:
    """Returns the memory in bytes that a run takes beside its inputs and outputs."""
    return int(executable.xla_executable.get_compiled_memory_stats().temp_size_in_bytes)


def initialize_custom_calls() -> None:
    """Registers LAPACK's custom calls, for programs that this process did not trace.

    Those of GPUs that compute on the host too: each of ``cuhybrid_*`` calls LAPACK.

    Tracing jax.numpy.linalg registers them otherwise; without it such a call jumps to address 0.
    Takes 60 ms the first time, because it imports scipy.
    """
    _lapack.initialize()
    gpu_solver.initialize_hybrid_kernels()  # does nothing without a GPU's plugin
