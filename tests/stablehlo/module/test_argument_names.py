"""Names in a signature are readable and can stand in a file name."""

from __future__ import annotations

import pytest

from jaxfs.stablehlo.module.argument_names import argument_names, dotted, result_name, unique


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x", "x"),
        ("params['w']", "params.w"),
        ("batch[0].y", "batch.0.y"),
        ("p['layer 1']['kernel']", "p.layer_1.kernel"),
        ("tree[<flat index 2>]", "tree.2"),
        ("../../etc", "etc"),
        ("p['a/b']", "p.a_b"),
        ("ünïcode", "n_code"),
        ("", ""),
        ("a" * 101, ""),
    ],
)
def test_key_paths_become_dotted_words(path: str, name: str) -> None:
    assert dotted(path) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [("result", "result"), ("result['a'].b", "a.b"), ("result[1]", "result.1"), ("", "")],
)
def test_results_drop_the_word_result_where_a_name_follows(path: str, name: str) -> None:
    assert result_name(path) == name


def test_names_are_told_apart() -> None:
    assert unique(["x", "x", "", "", "x_2", "x"]) == ["x", "x_2", "", "", "x_2_2", "x_3"]


def test_argument_names_are_found_beside_attributes_and_strings() -> None:
    text = """
    func.func private @other(%a: tensor<2xf32>) { return }
    func.func public @main(%weights: tensor<2xcomplex<f32>> {k = "x) %no: y", m = {n = -1}},
                           %arg1: tensor<f32>, %0: tensor<f32>) -> (tensor<f32>) {
      %inner: tensor<f32>
    """
    assert argument_names(text) == ["weights", "", ""]
