"""Pictures of modules: fusion and coarsening keep them whole, and any name fits in."""

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
from jaxfs.stablehlo.graph import MAX_EDGES, MAX_NODES, draw
from jaxfs.stablehlo.graph.build import Expansion, build
from jaxfs.stablehlo.graph.merge import coarsen, fuse
from jaxfs.stablehlo.graph.model import Graph
from jaxfs.stablehlo.module.canonicalize import artifact
from jaxfs.stablehlo.module.entry_function import read_signature
from jaxfs.stablehlo.module.parse import parse_text
from jaxfs.stablehlo.module.walk import functions
from jaxfs.types.signature import Signature

CLOSED = Expansion(calls=False, regions=False)
MANY = 10_000
SVG = "{http://www.w3.org/2000/svg}"


def loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in weights:
        x = jax.nn.gelu(jax.nn.softmax(x @ w)) + x
    x = jax.lax.fori_loop(0, 3, lambda _, y: jnp.where(y > 0, y * 2, jnp.sin(y)), x)
    return x.sum()


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
    """Checks that every edge goes forward, and that each operation is counted in one node."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    assert all(place[source] < place[target] for source, target in graph.edges)
    drawn = sum(node.operations for node in graph.nodes if node.kind == "operations")
    assert drawn == operations


@pytest.mark.parametrize(("calls", "regions"), [*itertools.product((True, False), repeat=2)])
def test_fusion_makes_no_cycle(
    network: tuple[Any, Signature], *, calls: bool, regions: bool
) -> None:
    module, signature = network
    built = build(module, signature, Expansion(calls=calls, regions=regions), MANY)
    whole = sum(node.operations for node in built.nodes if node.kind == "operations")
    assert_is_whole(built, whole)
    before = len(built.nodes)
    fused = fuse(built)
    assert len(fused.nodes) < before
    assert_is_whole(fused, whole)


@pytest.mark.parametrize("most", [150, 20, 1])
def test_coarsening_makes_no_cycle(network: tuple[Any, Signature], most: int) -> None:
    fused = fuse(build(*network, CLOSED, MANY))
    whole = sum(node.operations for node in fused.nodes if node.kind == "operations")
    coarsened = coarsen(fused, most)
    assert_is_whole(coarsened, whole)
    assert len([node for node in coarsened.nodes if node.kind == "operations"]) <= most


def test_a_graph_with_many_edges_is_drawn_in_fewer_nodes(context: Any) -> None:
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
    assert 10 < kinds["heavy"] < MAX_NODES / 2
    assert kinds["flow"] <= MAX_EDGES


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
        built = build(module, signature, Expansion(), MANY)
    assert [(node.kind, node.labels[0]) for node in built.nodes] == [
        ("input", "in 0"),
        ("cluster", "on each device"),
        ("operations", "sine"),
        ("output", "out 0"),
    ]


def test_a_picture_can_have_any_name(context: Any) -> None:
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


def test_calls_that_nest_too_deeply_are_refused(
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
