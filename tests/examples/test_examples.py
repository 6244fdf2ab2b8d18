"""The examples, run as their README says, on a real mount."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, SAXPY, Mount

DIGITS = EXAMPLES / "digits"


def run(*command: str | Path, **environment: str) -> str:
    """What an example prints; it must succeed."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def share_right(text: str) -> float:
    found = re.search(r"(\d+) of (\d+) digits right", text)
    assert found is not None, text
    return int(found[1]) / int(found[2])


@pytest.fixture
def client(tmp_path: Path) -> Path:
    needs("cc")
    shutil.copytree(EXAMPLES / "c", tmp_path / "c")
    run("make", "-C", tmp_path / "c", "client")
    return tmp_path / "c/client"


def test_flax_model_is_served_from_bash(mount: Mount) -> None:
    assert share_right(run("bash", EXAMPLES / "digits.sh", mount.path)) > 0.9
    assert mount.keyed("programs/digits/status")["source_format"] == "jax_export"


def test_lowered_conv_net_is_served_from_c(mount: Mount, client: Path) -> None:
    mount.sh(f"cp {DIGITS}/digits_conv.mlir programs/")
    call = mount.path / "programs/digits_conv/call.raw"
    assert share_right(run(client, call, DIGITS / "images.npy", DIGITS / "labels.txt")) > 0.9
    assert "200 calls" in run(client, "-n", "200", call, "256", "40")


def test_c_client_tells_what_is_wrong(mount: Mount, client: Path) -> None:
    mount.add("saxpy.mlir", SAXPY)
    call = mount.path / "programs/saxpy/call.raw"
    done = subprocess.run(
        [client, call, DIGITS / "images.npy", "/nonexistent"], capture_output=True, check=False
    )
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("interpreter", "arguments"),
    [
        ("awk", ("-v", "jax={jax}", "-f", "{examples}/saxpy.awk")),
        ("node", ("{examples}/saxpy.mjs", "{jax}")),
        ("perl", ("{examples}/saxpy.pl", "{jax}")),
    ],
)
def test_any_language_that_opens_files_can_call(
    mount: Mount, interpreter: str, arguments: tuple[str, ...]
) -> None:
    needs(interpreter)
    mount.add("saxpy.mlir", SAXPY)
    words = [word.format(jax=mount.path, examples=EXAMPLES) for word in arguments]
    assert run(interpreter, *words) == "12.0 24.0 36.0 48.0\n"


def test_demo_does_the_main_job(tmp_path: Path) -> None:
    mountctl = tmp_path / "mountctl"
    mountctl.write_text(f'#!/bin/sh\nexec {sys.executable} -m mountctl.cli "$@"\n')
    mountctl.chmod(0o755)
    root = str(EXAMPLES.parent)
    text = run(
        "bash",
        EXAMPLES / "demo.sh",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        PYTHONPATH=root,
    )
    for expected in ("12.0 24.0 36.0 48.0", "[2.0, 2.0, 2.0, 2.0]", "EINVAL: expected 2 inputs"):
        assert expected in text
