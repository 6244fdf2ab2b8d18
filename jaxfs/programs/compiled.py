"""A compiled program: everything that is true of it and never changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from jaxfs.compiler.job_protocol import Compiled, UntypedProgram
from jaxfs.engine.interface import Executable
from jaxfs.programs.build_key import BuildKey
from jaxfs.types.signature import Signature

GRAPH_NAME = "graph-1.svg"  # the number changes when pictures do: they are kept
SMALL_BYTES = 16 << 20  # runs that need no more always fit


@attrs.frozen
class MemoryNeed:
    """The memory of one run in bytes, by the compiler's analysis.

    Attributes:
        inputs: all inputs.
        outputs: all outputs, as they lie in shared memory.
        temporary: buffers that live only during the run; 0 where the compiler gives no figure.
        aliased: outputs that use the memory of donated inputs; 0 likewise.
        packed: inputs and outputs on a device that packs types narrower than a byte; -1 where
            they take what they take in shared memory.
    """

    inputs: int
    outputs: int
    temporary: int
    aliased: int
    packed: int = -1

    @classmethod
    def of(cls, executable: Executable, memory: Mapping[str, int]) -> MemoryNeed:
        """Returns the need of an executable; ``memory`` is as `CompiledProgram` has it."""
        devices = len(executable.device_ids)
        signature = executable.signature
        avals = (*signature.input_avals, *signature.output_avals)
        return cls(
            sum(aval.nbytes for aval in signature.input_avals),
            executable.output_bytes,
            memory.get("temp_bytes", 0) * devices,
            memory.get("alias_bytes", 0) * devices,
            sum(aval.packed_nbytes for aval in avals),
        )

    @property
    def on_device(self) -> int:
        """Bytes of device memory: inputs, outputs and temporary buffers are all there."""
        arrays = self.packed if self.packed >= 0 else self.inputs + self.outputs
        return arrays + self.temporary - self.aliased

    @property
    def beside_device(self) -> int:
        """Bytes of host memory for a run on a device: outputs are copied, and copied once more."""
        return 2 * self.outputs

    @property
    def on_host(self) -> int:
        """Bytes of host memory: inputs are there already and not copied; outputs are copied."""
        return self.temporary + 2 * self.outputs

    @property
    def is_small(self) -> bool:
        """Whether the run always fits, so that the free memory need not be looked up."""
        return max(self.on_device, self.on_host) <= SMALL_BYTES


@attrs.frozen
class BuildOrigin:
    """What a version was built from, so that a damaged file of it can be made again.

    Attributes:
        build_key: what was built.
        user: uid and gid of the program's owner.
        program: the name of the source program.
        device: the name of the first device it runs on.
    """

    build_key: BuildKey
    user: tuple[int, int]
    program: str
    device: str


@attrs.frozen
class CompiledProgram:
    """What a source was compiled to.  A call keeps the one it began with.

    Attributes:
        sha256: of the source.
        source_format: as in `Traced`.
        platforms: those the source is for; empty: any.
        signature: inputs and outputs.
        devices: the names of the devices it runs on, all at once.
        executable: what the engine runs.
        compile_usec: 0 where that is not known.
        cost: XLA's cost analysis; empty where there is none.
        memory: XLA's memory analysis in bytes per device; empty where there is none.
        stablehlo_path: the artifact as text, beside the artifact itself.
        hlo_path: the optimized HLO; the file is missing where the engine compiles.
        need: the memory of one run.
        origin: what it was built from.
        is_small: ``need.is_small``, computed once, because every run asks for it.
    """

    sha256: str
    source_format: str
    platforms: tuple[str, ...]
    signature: Signature
    devices: tuple[str, ...]
    executable: Executable
    compile_usec: int
    cost: dict[str, float]
    memory: dict[str, int]
    stablehlo_path: Path
    hlo_path: Path
    origin: BuildOrigin
    need: MemoryNeed = attrs.field(init=False)
    is_small: bool = attrs.field(init=False)

    @need.default
    def _need(self) -> MemoryNeed:
        return MemoryNeed.of(self.executable, self.memory)

    @is_small.default
    def _is_small(self) -> bool:
        return self.need.is_small

    def with_figures(self, figures: Compiled | None) -> CompiledProgram:
        """Returns the same program with what the compiler reported of it, if that is known."""
        if figures is None:
            return self
        return attrs.evolve(
            self,
            compile_usec=figures.compile_usec,
            cost=figures.cost,
            memory=figures.memory,
        )

    @property
    def device(self) -> str:
        """The names of its devices, separated by spaces."""
        return " ".join(self.devices)

    @property
    def artifact_path(self) -> Path:
        """The StableHLO portable artifact."""
        return self.stablehlo_path.with_name("artifact")

    @property
    def graph_path(self) -> Path:
        """The picture; the file is made when it is first asked for."""
        return self.stablehlo_path.with_name(GRAPH_NAME)


# What a build makes of a source: untyped if its input types come with each call.
ProgramVersion = CompiledProgram | UntypedProgram
