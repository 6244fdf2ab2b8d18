"""Pictures of modules: what is drawn together, and what can stand in them."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

from jaxfs.compiler.job_protocol import Draw
from jaxfs.compiler.jobs.draw import draw_artifact
from jaxfs.errors import NotSupported
from jaxfs.jaxcompat import mlir
from jaxfs.stablehlo.graph import MOST_BOXES, MOST_EDGES, draw
from jaxfs.stablehlo.graph.build import Detail, build
from jaxfs.stablehlo.graph.merge import fuse, gather
from jaxfs.stablehlo.graph.model import Graph
from jaxfs.stablehlo.module.canonicalize import artifact
from jaxfs.stablehlo.module.entry_function import read_signature
from jaxfs.stablehlo.module.parse import parse_text
from jaxfs.stablehlo.module.walk import functions
from jaxfs.types.signature import Signature

CLOSED = Detail(calls=False, regions=False)
MANY = 10_000
SVG = "{http://www.w3.org/2000/svg}"


def loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in weights:
        x = jax.nn.gelu(jax.nn.softmax(x @ w)) + x
    return jax.lax.fori_loop(0, 3, lambda _, y: jnp.where(y > 0, y * 2, jnp.sin(y)), x).sum()


def module_of(context: Any, text: str) -> tuple[Any, Signature]:
    module = parse_text(context, text)
    return module, read_signature(functions(module)["main"])


@pytest.fixture(scope="module")
def context() -> Any:
    return mlir.make_context()


@pytest.fixture(scope="module")
def network(context: Any) -> tuple[Any, Signature]:
    """With functions, a loop, values that are used twice, and many inputs."""
    weights = [jnp.ones((4, 4))] * 60
    return module_of(context, jax.jit(jax.grad(loss)).lower(weights, jnp.ones((2, 4))).as_text())


def assert_is_whole(graph: Graph, operations: int) -> None:
    """Every edge goes forward, and everything is counted in one box."""
    place = {box: number for number, box in enumerate(graph.boxes)}
    assert all(place[source] < place[target] for source, target in graph.edges)
    drawn = sum(box.operations for box in graph.boxes if box.kind == "operations")
    assert drawn == operations


@pytest.mark.parametrize("calls, regions", [*itertools.product((True, False), repeat=2)])
def test_what_is_drawn_together_makes_no_circle(
    network: tuple[Any, Signature], *, calls: bool, regions: bool
) -> None:
    module, signature = network
    built = build(module, signature, Detail(calls=calls, regions=regions), MANY)
    whole = sum(box.operations for box in built.boxes if box.kind == "operations")
    assert_is_whole(built, whole)
    before = len(built.boxes)
    fused = fuse(built)
    assert len(fused.boxes) < before
    assert_is_whole(fused, whole)


@pytest.mark.parametrize("most", [150, 20, 1])
def test_neighbours_drawn_together_make_no_circle(
    network: tuple[Any, Signature], most: int
) -> None:
    fused = fuse(build(*network, CLOSED, MANY))
    whole = sum(box.operations for box in fused.boxes if box.kind == "operations")
    gathered = gather(fused, most)
    assert_is_whole(gathered, whole)
    assert len([box for box in gathered.boxes if box.kind == "operations"]) <= most


def test_a_tangle_is_drawn_in_fewer_boxes(context: Any) -> None:
    kind, random = "tensor<2x2xf32>", Random(0)
    steps = [
        f"%{n + 1} = stablehlo.dot_general %{random.randrange(n + 1)}, %{random.randrange(n + 1)},"
        f" contracting_dims = [1] x [0] : ({kind}, {kind}) -> {kind}\n"
        for n in range(1000)
    ]
    module, signature = module_of(
        context,
        f"func.func @main(%0: {kind}) -> {kind} {{ {''.join(steps)} return %1000 : {kind} }}",
    )
    with context:
        picture = ElementTree.fromstring(draw(module, signature))
    kinds = Counter(group.get("class") for group in picture.iter(f"{SVG}g"))
    assert 10 < kinds["heavy"] < MOST_BOXES / 2
    assert kinds["flow"] <= MOST_EDGES


def test_what_runs_on_each_device_is_a_cluster(context: Any) -> None:
    module, signature = module_of(
        context,
        """
        module attributes {mhlo.num_partitions = 2 : i32} {
          sdy.mesh @mesh = <["d"=2]>
          func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
            %0 = sdy.manual_computation(%x) in_shardings=[<@mesh, [{"d"}, {}]>]
                out_shardings=[<@mesh, [{"d"}, {}]>] manual_axes={"d"} (%y: tensor<1x4xf32>) {
              %1 = stablehlo.sine %y : tensor<1x4xf32>
              sdy.return %1 : tensor<1x4xf32>
            } : (tensor<2x4xf32>) -> tensor<2x4xf32>
            return %0 : tensor<2x4xf32>
          }
        }
        """,
    )
    with context:
        built = build(module, signature, Detail(), MANY)
    assert [(box.kind, box.words[0]) for box in built.boxes] == [
        ("input", "in 0"),
        ("cluster", "on each device"),
        ("operations", "sine"),
        ("output", "out 0"),
    ]


def test_any_name_can_stand_in_a_picture(context: Any) -> None:
    name = r"a\01<b>&\22 \EF\BF\BF"
    module, signature = module_of(
        context,
        f'func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {{ %0 = func.call @"{name}"(%x)'
        " : (tensor<2xf32>) -> tensor<2xf32>\n return %0 : tensor<2xf32> }\n"
        f'func.func private @"{name}"(%x: tensor<2xf32>) -> tensor<2xf32> {{'
        " %0 = stablehlo.sine %x : tensor<2xf32>\n return %0 : tensor<2xf32> }",
    )
    with context:
        text = draw(module, signature).decode()
    titles = [e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("title")]
    assert any(title is not None and "<b>&" in title for title in titles)


def test_functions_that_call_functions_without_end_in_sight_are_refused_in_words(
    context: Any,
) -> None:
    depth = 3000
    chain = [
        f"func.func private @f{n}(%x: tensor<2xf32>) -> tensor<2xf32> {{ %0 = func.call @f{n + 1}"
        "(%x) : (tensor<2xf32>) -> tensor<2xf32>\n return %0 : tensor<2xf32> }"
        for n in range(depth)
    ]
    end = (
        f"func.func private @f{depth}(%x: tensor<2xf32>) -> tensor<2xf32>"
        " { return %x : tensor<2xf32> }"
    )
    main = (
        "func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> { %0 = func.call @f0(%x)"
        " : (tensor<2xf32>) -> tensor<2xf32>\n return %0 : tensor<2xf32> }"
    )
    module, signature = module_of(context, "\n".join([main, *chain, end]))
    with context:
        data = artifact(module)
    with pytest.raises(NotSupported, match="too deeply"):
        draw_artifact(context, data, Draw(signature))
