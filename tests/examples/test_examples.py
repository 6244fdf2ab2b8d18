"""The examples, run as their README says, on a real mount, against what jax computes alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxfs.stablehlo import import_module
from tests.conftest import EXAMPLES, SAXPY, Mount

DIGITS = EXAMPLES / "digits"
IMAGES, LABELS = DIGITS / "images.npy", DIGITS / "labels.txt"
LEARN, LEARN_STEPS = EXAMPLES / "learn", 300
ROOT = EXAMPLES.parent


def attempt(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def run(*command: str | Path, **environment: str) -> str:
    """What an example prints; it must succeed."""
    done = attempt(*command, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def needs_static_libc(work: Path) -> None:
    """Some systems package libc.a apart from the compiler."""
    (work / "probe.c").write_text("int main(void) { return 0; }\n")
    if attempt("cc", "-static", "-o", work / "probe", work / "probe.c").returncode != 0:
        pytest.skip("there is no static C library")


def summary(digits: list[int]) -> str:
    """What an example that read ``digits`` says of itself."""
    labels = np.loadtxt(LABELS, dtype=int)
    return f"{np.sum(labels == digits)} of {len(labels)} digits right"


@pytest.fixture(scope="module")
def by_jax() -> Any:
    """The examples' answers, from a process without jaxfs's engine."""
    paths = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return json.loads(run(sys.executable, "-m", "tests.examples.by_jax", EXAMPLES, **paths))


@pytest.fixture(params=["client", "client-static"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    needs("make")
    needs("cc")
    if request.param == "client-static":
        needs_static_libc(tmp_path)
    for source in ("client.c", "Makefile"):
        shutil.copy(EXAMPLES / "c" / source, tmp_path)
    run("make", "-C", tmp_path, request.param)
    built: Path = tmp_path / request.param
    return built


@pytest.fixture(scope="module")
def equinox_pickle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("equinox") / "net.pkl"
    told = run(sys.executable, EXAMPLES / "equinox/train.py", made, JAX_PLATFORMS="cpu")
    assert float(told.split("%")[0]) > 90
    return made


def test_pickled_equinox_network_is_served_from_bash(mount: Mount, equinox_pickle: Path) -> None:
    network = cloudpickle.loads(equinox_pickle.read_bytes())
    scores = [np.asarray(network(image)) for image in np.load(IMAGES)]
    told = run(EXAMPLES / "equinox.sh", mount.path, equinox_pickle)
    assert told.strip() == summary([int(np.argmax(score)) for score in scores])


def test_pytorch_loss_is_batched_and_differentiated_from_bash(mount: Mount) -> None:
    loss = import_module((EXAMPLES / "torch/digits_loss.mlir").read_text())
    images, labels = np.load(IMAGES), np.eye(10, dtype=np.float32)[np.loadtxt(LABELS, dtype=int)]

    def mean(images: Any) -> Any:
        return jax.vmap(loss)(images, labels)[0].mean()

    changed = images - 0.5 * len(images) * jax.grad(mean)(images)
    told = run(EXAMPLES / "torch.sh", mount.path)
    found = [float(number) for number in re.findall(r"\d+\.\d+", told)]
    assert found == pytest.approx([float(mean(images)), float(mean(changed))], abs=2e-4)
    assert found[1] < found[0] / 2


def test_shell_trains_as_jax_does(mount: Mount) -> None:
    imported = import_module((EXAMPLES / "train/loss.mlir").read_text())
    images, labels = np.load(IMAGES), np.eye(10, dtype=np.float32)[np.loadtxt(LABELS, dtype=int)]

    def loss(weights: Any) -> Any:
        return imported(weights, images, labels)[0]

    start = weights = np.zeros((64, 10), np.float32)
    for _ in range(25):
        weights = weights - np.float32(0.5) * jax.grad(loss)(weights)
    told = run(EXAMPLES / "train.sh", mount.path, "25")
    found = [float(number) for number in re.findall(r"\d+\.\d+", told)]
    assert found == pytest.approx([float(loss(start)), float(loss(weights))], abs=1e-4)
    digits = np.argmax(images @ np.asarray(weights), axis=1).tolist()
    assert told.splitlines()[-1] == summary(digits)
    assert os.listdir(mount.path / "arrays") == os.listdir(mount.path / "results") == []


@pytest.fixture
def learnt() -> float:
    """Percent that are right after LEARN_STEPS steps of the loop in JAX, from the same weights."""
    init, step, accuracy = (
        import_module((LEARN / f"{name}.mlir").read_text()) for name in ("init", "step", "accuracy")
    )
    data = [load_file(LEARN / f"{name}.safetensors") for name in ("train", "test")]
    train, test = ((one["images"], one["labels"]) for one in data)
    params, stepped = init(np.uint32(1)), jax.jit(step)
    for _ in range(LEARN_STEPS):
        params = stepped(*params, *train)[:4]
    return 100 * float(accuracy(*params, *test)[0])


def told_accuracy(told: str) -> float:
    return float(told.splitlines()[-1].split()[0])


def test_shell_learns_digits_from_random_weights(mount: Mount, learnt: float) -> None:
    told = run(EXAMPLES / "learn.sh", mount.path, str(LEARN_STEPS))
    losses = [float(line.split()[1]) for line in told.splitlines()[:-1]]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 10
    assert told_accuracy(told) == pytest.approx(learnt, abs=0.35)  # one digit of 360 may round
    assert told_accuracy(told) >= 95
    assert os.listdir(mount.path / "arrays") == os.listdir(mount.path / "results") == []


def test_c_learns_digits_without_jax(mount: Mount, tmp_path: Path, learnt: float) -> None:
    needs("make")
    needs("cc")
    for source in ("learn.c", "Makefile"):
        shutil.copy(EXAMPLES / "c" / source, tmp_path)
    run("make", "-C", tmp_path, "learn")
    for name in ("init", "step", "accuracy"):
        mount.add(f"{name}.mlir", (LEARN / f"{name}.mlir").read_bytes())
    for name in ("train", "test"):
        shutil.copyfile(LEARN / f"{name}.safetensors", mount.path / "arrays" / name)
    told = run(tmp_path / "learn", mount.path, str(LEARN_STEPS))
    assert re.match(rf"{LEARN_STEPS} steps: \d+ us a step", told)
    assert told_accuracy(told) == pytest.approx(learnt, abs=0.35)
    assert sorted(os.listdir(mount.path / "arrays")) == ["test", "train"]
    assert os.listdir(mount.path / "results") == []


def test_second_program_takes_a_result_of_the_first_by_name(mount: Mount, by_jax: Any) -> None:
    told = run(EXAMPLES / "pipeline.sh", mount.path, "16")
    assert told.strip() == summary(by_jax["dimmed"]["16"])
    assert os.listdir(mount.path / "results") == []


@pytest.fixture
def conv_call(mount: Mount) -> Path:
    mount.sh(f"cp {DIGITS}/digits_conv.mlir programs/")
    return mount.path / "programs/digits_conv/call.raw"


@pytest.fixture
def with_mountctl(tmp_path: Path) -> dict[str, str]:
    """An environment whose ``mountctl`` is this checkout's and whose TMPDIR is empty."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    mountctl = tmp_path / "bin/mountctl"
    mountctl.write_text(f'#!/bin/sh\nexec {sys.executable} -m mountctl.cli "$@"\n')
    mountctl.chmod(0o755)
    return {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path / "tmp"),
    }


def test_flax_model_is_served_from_bash(mount: Mount, by_jax: Any) -> None:
    printed = run("bash", EXAMPLES / "digits.sh", mount.path).splitlines()
    assert printed[-2:] == [" ".join(map(str, by_jax["digits"])), summary(by_jax["digits"])]
    assert mount.keyed("programs/digits/status")["source_format"] == "jax_export"


def test_digits_example_mounts_for_itself_and_leaves_nothing(
    with_mountctl: dict[str, str], by_jax: Any
) -> None:
    printed = run("bash", EXAMPLES / "digits.sh", **with_mountctl)
    assert summary(by_jax["digits"]) in printed
    assert os.listdir(with_mountctl["TMPDIR"]) == []


def test_digits_example_that_cannot_mount_fails_and_leaves_nothing(
    with_mountctl: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "bin/mountctl").write_text("#!/bin/sh\nexit 3\n")
    assert attempt("bash", EXAMPLES / "digits.sh", **with_mountctl).returncode == 3
    assert os.listdir(with_mountctl["TMPDIR"]) == []


def test_trained_models_are_good(by_jax: Any) -> None:
    labels = np.loadtxt(LABELS, dtype=int)
    assert np.mean(labels == by_jax["digits"]) > 0.9
    assert np.mean(labels == by_jax["digits_conv"]) > 0.9


@pytest.mark.parametrize("name", ["digits.jaxexport", "digits_conv.mlir"])
def test_kept_model_names_no_directory_of_the_machine_that_made_it(name: str) -> None:
    assert re.findall(rb"(?:/[\w.-]+)+/[\w-]+\.py\b", (DIGITS / name).read_bytes()) == []


def test_lowered_conv_net_is_served_from_c(client: Path, conv_call: Path, by_jax: Any) -> None:
    digits = by_jax["digits_conv"]
    printed = run(client, conv_call, IMAGES, LABELS).splitlines()
    assert printed == [" ".join(map(str, digits)) + " ", summary(digits)]


def test_raw_reply_is_what_the_reference_interpreter_says(conv_call: Path, by_jax: Any) -> None:
    with open(conv_call, "r+b", buffering=0) as call:
        call.write(np.load(IMAGES)[0].tobytes())
        scores = np.frombuffer(call.read(40), np.float32)
    np.testing.assert_allclose(scores, by_jax["digits_conv_scores"], rtol=1e-4, atol=1e-4)


def test_c_client_times_calls(client: Path, conv_call: Path) -> None:
    printed = run(client, "-n", "200", conv_call, "256", "40")
    assert re.fullmatch(r"200 calls: p50 [\d.]+ us, p99 [\d.]+ us\n", printed)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES, "/nonexistent", "No such file"),
        (IMAGES, "/dev/null", "no labels"),
        (LABELS, LABELS, "not a .npy file"),
    ],
)
def test_c_client_tells_what_is_wrong(
    client: Path, conv_call: Path, images: Path, labels: str | Path, says: str
) -> None:
    done = attempt(client, conv_call, images, labels)
    assert done.returncode == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("interpreter", "arguments"),
    [
        ("Rscript", ("{examples}/saxpy.R", "{jax}")),
        ("awk", ("-v", "jax={jax}", "-f", "{examples}/saxpy.awk")),
        ("go", ("run", "{examples}/saxpy.go", "{jax}")),
        ("lua", ("{examples}/saxpy.lua", "{jax}")),
        ("node", ("{examples}/saxpy.mjs", "{jax}")),
        ("perl", ("{examples}/saxpy.pl", "{jax}")),
    ],
)
def test_any_language_that_opens_files_can_call(
    mount: Mount, by_jax: Any, tmp_path: Path, interpreter: str, arguments: tuple[str, ...]
) -> None:
    needs(interpreter)
    mount.add("saxpy.mlir", SAXPY)
    words = [word.format(jax=mount.path, examples=EXAMPLES) for word in arguments]
    said = run(interpreter, *words, GOCACHE=str(tmp_path / "go"))
    assert said == " ".join(map(str, by_jax["saxpy"])) + "\n"


def test_make_compiles_and_runs_what_has_changed(mount: Mount, by_jax: Any) -> None:
    needs("make")
    pipeline = str(EXAMPLES / "pipeline.mk")
    command = ["make", "--no-print-directory", "-f", pipeline, f"JAX={mount.path}"]
    table = [
        f"dimmed {dim:>2} times: {summary(digits)}" for dim, digits in by_jax["dimmed"].items()
    ]
    *steps, one, four, sixteen, sixty_four = run(*command, "-j4", MAKEFLAGS="").splitlines()
    assert [one, four, sixteen, sixty_four] == table
    assert sum(step.startswith(("sed ", "cp ")) for step in steps) == 5
    assert run(*command, MAKEFLAGS="").splitlines() == table
    mount.add("dim_4.mlir", (mount.path / "programs/dim_4.mlir").read_bytes())
    *steps, _, _, _, _ = run(*command, MAKEFLAGS="").splitlines()
    assert [Path(step.split()[-1]).name for step in steps if step.startswith("cat ")] == [
        "dimmed_4",
        "classes_4",
    ]


def test_demo_does_the_main_job(with_mountctl: dict[str, str]) -> None:
    text = run("bash", EXAMPLES / "demo.sh", **with_mountctl)
    for expected in ("12.0 24.0 36.0 48.0", "[2.0, 2.0, 2.0, 2.0]", "EINVAL: expected 2 inputs"):
        assert expected in text
    assert os.listdir(with_mountctl["TMPDIR"]) == []
