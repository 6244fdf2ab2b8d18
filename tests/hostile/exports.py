"""jax.export artifacts that lie.

A flatbuffer is offsets, which nothing checks before they are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import flatbuffers
import numpy as np
from jax._src.export import serialization_generated as schema

from tests.hostile.case import Case, Stop

DATA = Path(__file__).parent / "data"
F32 = schema.DType.f32
KIND = schema.PyTreeDefKind
NEWEST_CONVENTION = 10
DOUBLINGS = 40
Builder: TypeAlias = Any  # flatbuffers has no types
ONE_INPUT = (DATA / "negate.portable").read_bytes()  # f32[4] -> f32[4]


def vector(builder: Builder, offsets: Iterable[int]) -> int:
    """A vector of tables or strings."""
    items = list(offsets)
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return int(builder.EndVector())


def aval(builder: Builder, sizes: Sequence[str]) -> int:
    shape = vector(builder, [builder.CreateString(size) for size in sizes])
    schema.AbstractValueStart(builder)
    schema.AbstractValueAddShape(builder, shape)
    schema.AbstractValueAddDtype(builder, F32)
    return int(schema.AbstractValueEnd(builder))


def tree(builder: Builder, kind: int, children: Sequence[int] = ()) -> int:
    below = vector(builder, children)
    schema.PyTreeDefStart(builder)
    schema.PyTreeDefAddKind(builder, kind)
    schema.PyTreeDefAddChildren(builder, below)
    return int(schema.PyTreeDefEnd(builder))


def arguments(builder: Builder, count: int, bomb: bool) -> int:
    """``((arguments...), {})``, as jit's input tree; or 2^40 empty tuples."""
    if not bomb:
        leaves = tree(builder, KIND.tuple, [tree(builder, KIND.leaf) for _ in range(count)])
        return tree(builder, KIND.tuple, [leaves, tree(builder, KIND.dict)])
    node = tree(builder, KIND.tuple)
    for _ in range(DOUBLINGS):
        node = tree(builder, KIND.tuple, [node, node])
    return node


def export(
    shapes: Sequence[Sequence[str]] = (("4",),),
    module: bytes = ONE_INPUT,
    convention: int = NEWEST_CONVENTION,
    platforms: Sequence[str | bytes] = ("cpu",),
    devices: int = 1,
    effects: Sequence[str] = (),
    kept: Sequence[int] = (0,),
    outputs: int = 1,
    bomb: bool = False,
) -> bytes:
    """An artifact as jax.export writes it, but for what is said otherwise."""
    builder: Builder = flatbuffers.Builder(1024)
    in_tree = arguments(builder, len(shapes), bomb)
    out_tree = tree(builder, KIND.list, [tree(builder, KIND.leaf) for _ in range(outputs)])
    in_avals = vector(builder, [aval(builder, shape) for shape in shapes])
    out_avals = vector(builder, [aval(builder, ["4"]) for _ in range(outputs)])
    names = vector(builder, [builder.CreateString(name) for name in platforms])
    told = vector(builder, [_effect(builder, name) for name in effects])
    code = builder.CreateByteVector(module)
    numbers = builder.CreateNumpyVector(np.array(kept, np.uint16))
    schema.ExportedStart(builder)
    fields: Iterable[tuple[Callable[[Builder, int], None], int]] = (
        (schema.ExportedAddInTree, in_tree),
        (schema.ExportedAddOutTree, out_tree),
        (schema.ExportedAddInAvals, in_avals),
        (schema.ExportedAddOutAvals, out_avals),
        (schema.ExportedAddPlatforms, names),
        (schema.ExportedAddOrderedEffects, told),
        (schema.ExportedAddMlirModuleSerialized, code),
        (schema.ExportedAddModuleKeptVarIdx, numbers),
        (schema.ExportedAddNrDevices, devices),
        (schema.ExportedAddCallingConventionVersion, convention),
    )
    for add, value in fields:
        add(builder, value)
    builder.Finish(schema.ExportedEnd(builder))
    return bytes(builder.Output())


def _effect(builder: Builder, name: str) -> int:
    word = builder.CreateString(name)
    schema.EffectStart(builder)
    schema.EffectAddTypeName(builder, word)
    return int(schema.EffectEnd(builder))


def damaged_root(offset: int) -> bytes:
    return offset.to_bytes(4, "little") + export()[4:]


def check(what: str, reason: str, **lies: Any) -> Case:
    return Case(what, lambda: export(**lies), Stop.CHECK, reason)


CASES: dict[str, Case] = {
    "export": Case("an honest one", export, Stop.NOBODY, errno=0),
    "export_root_far": Case(
        "a root 2 GB away", lambda: damaged_root(0x7FFFFFFF), Stop.CHECK, "not a program"
    ),
    "export_root_itself": Case(
        "a root that is its own offset", lambda: damaged_root(0), Stop.CHECK, "not a program"
    ),
    "export_root_inside": Case(
        "a root in the middle of something", lambda: damaged_root(41), Stop.CHECK, "not a program"
    ),
    "export_truncated": Case(
        "cut off in its module", lambda: export()[:-200], Stop.CHECK, "not a program"
    ),
    "export_convention_new": check(
        "a calling convention of the future", "calling convention", convention=99
    ),
    "export_convention_old": check(
        "a calling convention of old", "calling convention", convention=1
    ),
    "export_module_garbage": check(
        "a module that is garbage", "cut off or damaged", module=b"ML\xefR" + bytes(64)
    ),
    "export_module_text": check(
        "a module in text", "without a StableHLO module", module=b"module {}"
    ),
    "export_no_module": check("no module", "without a StableHLO module", module=b""),
    "export_many_devices": check("for 8 devices", "for 8 devices", devices=8),
    "export_effects": check("with effects in order", "ordered effects", effects=["print"]),
    "export_other_platform": check("for a TPU", "exported for tpu", platforms=["tpu"]),
    "export_platform_bytes": check(
        "for a platform that is no text", "not a program", platforms=[b"\xff\xfe"]
    ),
    "export_no_platform": check("for no platform", "exported for", platforms=[]),
    "export_inputs_missing": check(
        "fewer inputs than its module", "do not agree", shapes=(), kept=()
    ),
    "export_outputs_more": check("more outputs than its module", "do not agree", outputs=3),
    "export_shape_lies": check(
        "inputs of other shapes than its module's", "do not agree", shapes=[["5"]]
    ),
    "export_shape_symbolic": check(
        "a symbolic shape nobody tells", "come with the call", shapes=[["b"]]
    ),
    "export_shape_huge": check(
        "an input of 10^4999 elements", "over 2^46 elements", shapes=[["9" * 4999]]
    ),
    "export_unused_overflows": check(
        "an input nobody uses, of 2^62 x 8 elements",
        "over 2^46 elements",
        shapes=[["4"], [str(1 << 62), "8"]],
    ),
    "export_unused_rank": check(
        "an input nobody uses, of 70 dimensions", "dimensions", shapes=[["4"], ["1"] * 70]
    ),
    "export_kept_far": check(
        "keeps input 60,000 of 2", "takes inputs [60000] of 2", shapes=[["4"]] * 2, kept=[60000]
    ),
    "export_kept_twice": check(
        "keeps an input twice", "takes inputs [1, 1] of 3", shapes=[["4"]] * 3, kept=[1, 1]
    ),
    "export_tree_bomb": Case(
        "a tree of 2^40 empty tuples",
        lambda: export(bomb=True),
        Stop.CHECK,
        "not a program",
    ),
}
