"""``check``: a program beside StableHLO's reference interpreter."""

from __future__ import annotations

import errno

import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.test_transform import LOSS

ERF = """
func.func public @main(%x: tensor<8xf32>, %b: tensor<8xi1>) -> (tensor<8xf32>, tensor<8xi1>) {
  %y = chlo.erf %x : tensor<8xf32> -> tensor<8xf32>
  %n = stablehlo.not %b : tensor<8xi1>
  return %y, %n : tensor<8xf32>, tensor<8xi1>
}
"""


def figures(mount: Mount, program: str) -> list[dict[str, str]]:
    lines = (mount.path / program / "check").read_text().splitlines()
    return [dict(word.split("=", 1) for word in line.split()[1:]) for line in lines]


def test_a_program_is_compared_with_the_reference_interpreter(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("echo '[1,2,3,4] [0.1,0.2,0.3,0.4]' > programs/saxpy/check")
    (found,) = figures(mount, "programs/saxpy")
    assert float(found["max_abs_difference"]) < 1e-6
    assert float(found["max_abs_value"]) == pytest.approx(8.4)


def test_random_inputs_are_drawn_for_every_output(mount: Mount) -> None:
    mount.add("erf.mlir", ERF)
    mount.sh("echo random > programs/erf/check")
    first, second = figures(mount, "programs/erf")
    assert 0 <= float(first["max_abs_difference"]) < 1e-5
    assert second["max_abs_difference"] == "0"


def test_a_transformed_program_is_compared_too(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    mount.sh("echo random > transformations/grad/loss/check")
    (found,) = figures(mount, "transformations/grad/loss")
    assert float(found["max_abs_difference"]) < 1e-5


def test_wrong_inputs_are_refused_as_in_a_call(mount: Mount) -> None:
    program = mount.add("saxpy.mlir", SAXPY)
    with pytest.raises(OSError) as caught:
        (program / "check").write_text("1 2 3")
    assert caught.value.errno == errno.EINVAL
    assert (program / "check").read_text().startswith("EINVAL: expected 2 inputs")
