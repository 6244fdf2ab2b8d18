"""Modules for several devices: what is refused, and where."""

from __future__ import annotations

from typing import Any

import pytest

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.partitions import MAX_DEVICES
from tests.compiler.conftest import BlockingTracer, compile_cpu

VECTOR = "tensor<8xf32>"
MESH = '  sdy.mesh @mesh = <["x"=4]>\n'
ALL_FOUR = "dense<[[0, 1, 2, 3]]> : tensor<1x4xi64>"
IN_FOUR = '"{devices=[4]<=[4]}"'


def module(body: str, gives: str = VECTOR, attributes: str = "", mesh: str = MESH) -> str:
    """A program for four devices; ``attributes`` are those of its input."""
    return (
        f"module attributes {{mhlo.num_partitions = 4 : i32}} {{\n{mesh}"
        f"func.func public @main(%x: {VECTOR} {attributes}) -> {gives} {{\n{body}\n"
        f"return %r : {gives.partition(' ')[0].strip('(')}\n}}\n}}\n"
    )


def on_each(body: str, part: str = "tensor<2xf32>") -> str:
    """What each device does with its part ``%y`` for a ``%z``."""
    return (
        '%r = sdy.manual_computation(%x) in_shardings=[<@mesh, [{"x"}]>]'
        f' out_shardings=[<@mesh, [{{"x"}}]>] manual_axes={{"x"}} (%y: {part}) {{\n{body}\n'
        f"sdy.return %z : {part}\n}} : ({VECTOR}) -> {VECTOR}"
    )


def total(groups: str) -> str:
    return on_each(f"""
%z = "stablehlo.all_reduce"(%y) <{{
    channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>,
    replica_groups = {groups}, use_global_device_ids}}> ({{
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %s = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %s : tensor<f32>
}}) : (tensor<2xf32>) -> tensor<2xf32>""")


def custom(*calls: tuple[str, str, str, str]) -> str:
    """Custom calls one after another: target, sharding, type before and after."""
    names = ["%x", *(f"%c{i}" for i in range(len(calls) - 1)), "%r"]
    return "\n".join(
        f"{names[i + 1]} = stablehlo.custom_call @{target}({names[i]})"
        f" {{mhlo.sharding = {sharding}}} : ({before}) -> {after}"
        for i, (target, sharding, before, after) in enumerate(calls)
    )


SAME = f"%r = stablehlo.add %x, %x : {VECTOR}"
NINE = "tensor<9xf32>"
REFUSED_IN_TRACE = {
    "a replica too far": (module(total("dense<[[0, 1, 2, 4]]> : tensor<1x4xi64>")), "replica"),
    "a replica twice": (module(total("dense<[[0, 1], [1, 0]]> : tensor<2x2xi64>")), "replica"),
    "a part of another size": (
        module(on_each(f"%z = stablehlo.add %y, %y : {NINE}", NINE)),
        "Expected local shape",
    ),
    "a mesh that is not there": (
        module(f'%r = sdy.sharding_constraint %x <@none, [{{"x"}}]> : {VECTOR}'),
        "unknown mesh",
    ),
    "two sizes": (module(SAME, mesh='sdy.mesh @mesh = <["x"=3]>'), "4 devices, with meshes of"),
    "too many": (
        module(SAME, mesh="").replace("= 4 :", "= 10000 :"),
        f"for 10000 devices; it can be 1 to {MAX_DEVICES}",
    ),
    "past 64 bits": (
        module(SAME, mesh=f'sdy.mesh @mesh = <["x"={1 << 40}]>').replace("= 4 :", "= 1 :"),
        f"for {1 << 40} devices",
    ),
    "fewer than one": (module(SAME, mesh="").replace("= 4 :", "= -4 :"), "for -4 devices"),
    "no number": (module(SAME, mesh="").replace("= 4 : i32", '= "4"'), "is no number"),
    "a permutation too far": (
        module(
            on_each(
                '%z = "stablehlo.collective_permute"(%y) <{channel_handle ='
                " #stablehlo.channel_handle<handle = 1, type = 1>, source_target_pairs ="
                " dense<[[0, 4]]> : tensor<1x2xi64>}> : (tensor<2xf32>) -> tensor<2xf32>"
            )
        ),
        "names other devices than 0 to 3; the program runs on 4 devices",
    ),
}
REFUSED_BY_COMPILER = {
    "too few replicas": module(total("dense<[[0, 1]]> : tensor<1x2xi64>")),
    "a sharding that changes the shape": module(
        custom(("Sharding", IN_FOUR, VECTOR, NINE)), NINE, mesh=""
    ),
    "a sharding of more devices": module(
        custom(("Sharding", '"{devices=[8]<=[8]}"', VECTOR, VECTOR)), mesh=""
    ),
    "a sharding that is none": module(custom(("Sharding", '"x"', VECTOR, VECTOR)), mesh=""),
    "parts larger than the whole": module(
        custom(
            ("Sharding", IN_FOUR, VECTOR, VECTOR),
            ("SPMDFullToShardShape", '"{manual}"', VECTOR, NINE),
            ("SPMDShardToFullShape", IN_FOUR, NINE, "tensor<36xf32>"),
        ),
        "tensor<36xf32>",
        mesh="",
    ),
    "a whole larger than its parts": module(
        custom(
            ("Sharding", IN_FOUR, VECTOR, VECTOR),
            ("SPMDFullToShardShape", '"{manual}"', VECTOR, "tensor<2xf32>"),
            ("SPMDShardToFullShape", IN_FOUR, "tensor<2xf32>", "tensor<999xf32>"),
        ),
        "tensor<999xf32>",
        mesh="",
    ),
    "an input of other devices": module(
        SAME, attributes='{mhlo.sharding = "{devices=[3]<=[3]}"}', mesh=""
    ),
    "an output that is never whole": module(
        SAME,
        f'({VECTOR} {{mhlo.sharding = "{{manual}}"}})',
        '{mhlo.sharding = "{manual}"}',
        mesh="",
    ),
}


@pytest.mark.parametrize("name", REFUSED_IN_TRACE)
def test_a_module_that_devices_cannot_share_is_refused(tracer: BlockingTracer, name: str) -> None:
    source, reason = REFUSED_IN_TRACE[name]
    with pytest.raises(Invalid, match=reason):
        tracer.trace(source)


def compiled(tracer: BlockingTracer, source: str, ids: tuple[int, ...] = (0, 1, 2, 3)) -> Any:
    traced, artifact, _ = tracer.trace(source)
    assert traced.partitions == 4
    return tracer.run(compile_cpu, artifact, traced.signature, (ids, 4))


@pytest.mark.parametrize("name", REFUSED_BY_COMPILER)
def test_the_compiler_refuses_what_does_not_fit_together(tracer: BlockingTracer, name: str) -> None:
    with pytest.raises(Invalid, match=r"the compiler refused|no whole array"):
        compiled(tracer, REFUSED_BY_COMPILER[name])


def test_an_artifact_is_compiled_for_as_many_devices_as_it_is_for(tracer: BlockingTracer) -> None:
    source = module(total(ALL_FOUR))
    found, _, hlo = compiled(tracer, source)
    assert b"all-reduce" in hlo
    assert b"num_partitions=4" in hlo
    assert found.memory["argument_bytes"] == 8
    with pytest.raises(Invalid, match="the artifact and its signature do not agree"):
        compiled(tracer, source, (0, 1))


def test_a_compile_may_start_the_threads_of_many_devices(tracer: BlockingTracer) -> None:
    count = 128
    source = module(SAME, mesh="").replace("= 4 :", f"= {count} :")
    traced, artifact, _ = tracer.trace(source)
    ids = tuple(range(count))
    _, _, hlo = tracer.run(compile_cpu, artifact, traced.signature, (ids, count))
    assert b"num_partitions=128" in hlo
