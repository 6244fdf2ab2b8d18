"""``python -m tests.soak.third_user MOUNT UID SECONDS``: uses a mount, and measures it.

Started by root, it becomes the user.  Prints ``ready`` when its own programs are there, begins when
a line comes on standard input, and prints a `Usage` as JSON in the end.  A step that has not ended
by then counts with the time that it has taken so far.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import msgspec
import numpy as np

from tests.e2e.programs import SECONDS as TURNS_OF_A_SECOND
from tests.e2e.programs import SPIN
from tests.soak.attacks.attacker import write_file

TEN_MS = TURNS_OF_A_SECOND // 100
STEPS = ("stat", "ls", "compile", "call")
GRACE_S = 20.0
STAT_PAUSE_S, CALL_PAUSE_S, COMPILE_PAUSE_S = 0.005, 0.05, 0.5
PRODUCT = """
func.func public @main(%x: tensor<512x512xf32>) -> tensor<512xf32> {
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %p = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0]
      : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32>
  %y = stablehlo.reduce(%p init: %zero) applies stablehlo.maximum across dimensions = [1]
      : (tensor<512x512xf32>, tensor<f32>) -> tensor<512xf32>
  return %y : tensor<512xf32>
}
"""
TINY = """
func.func public @main(%x: tensor<f32>) -> tensor<f32> {{
  %c = stablehlo.constant dense<{}.0> : tensor<f32>
  %y = stablehlo.add %x, %c : tensor<f32>
  return %y : tensor<f32>
}}
"""


class Usage(msgspec.Struct):
    """What the third user met.

    Attributes:
        took_s: Seconds of each step, by its kind, one of ``STEPS``.
        refused: How many steps failed, by the name of their errno; none should.
        wrong: Answers, sizes or lines of ``error_log`` that are not right.
        stuck: Steps that did not end.
        reasons: The first words of refusals and wrong answers.
    """

    took_s: dict[str, list[float]] = msgspec.field(default_factory=lambda: {k: [] for k in STEPS})
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    wrong: int = 0
    stuck: int = 0
    reasons: list[str] = msgspec.field(default_factory=list)


@attrs.define
class ThirdUser:
    """Steps in threads of their own, one for each kind.

    Attributes:
        mount: Where jaxfs is mounted.
        usage: What it met.
        is_on: Whether it goes on.
        pending: What is under way, by thread: the kind of step, and when it began.
    """

    mount: Path
    usage: Usage = attrs.field(factory=Usage)
    is_on: bool = True
    pending: dict[int, tuple[str, float]] = attrs.field(factory=dict)

    def prepare(self) -> None:
        """Writes programs, a result and an error of its own."""
        for name, text in (("spin", SPIN), ("product", PRODUCT)):
            write_file(self.mount / f"programs/third_{name}.mlir", text.encode())
        self._call_spin("third_kept", 12345)
        self._call_product(1)
        try:
            write_file(self.mount / "arrays/third_bad", b"not an array")
        except OSError:
            return
        raise RuntimeError("the mount took an array that is none")

    def threads(self) -> list[threading.Thread]:
        """Returns them, not started yet."""
        loops = (self._looks, self._calls, self._products, self._compiles, self._reads)
        return [threading.Thread(target=loop, daemon=True) for loop in loops]

    @contextmanager
    def _step(self, kind: str) -> Iterator[None]:
        """Measures a step, and counts how it fails."""
        thread, before_s = threading.get_ident(), time.monotonic()
        self.pending[thread] = (kind, before_s)
        try:
            yield
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "OSError")
            self.usage.refused[name] = self.usage.refused.get(name, 0) + 1
            self._note(f"{kind}: {error}")
        finally:
            del self.pending[thread]
            if kind:
                self.usage.took_s[kind].append(time.monotonic() - before_s)

    def _note(self, reason: str) -> None:
        if len(self.usage.reasons) < 20:
            self.usage.reasons.append(reason)

    def _expect(self, found: object, right: object, what: str) -> None:
        if found != right:
            self.usage.wrong += 1
            self._note(f"{what} is {str(found)[:200]}, right is {str(right)[:200]}")

    def _looks(self) -> None:
        programs = self.mount / "programs"
        paths = (self.mount / "version", programs / "third_spin.mlir", programs / "third_spin/call")
        while self.is_on:
            for path in paths:
                with self._step("stat"):
                    path.stat()
                time.sleep(STAT_PAUSE_S)
            with self._step("ls"):
                self._expect("third_spin" in os.listdir(programs), True, "its name in programs/")

    def _calls(self) -> None:
        number = 0
        while self.is_on:
            number += 1
            with self._step("call"):
                self._call_spin(f"third_{number}", TEN_MS + number)
            with self._step(""):
                (self.mount / f"results/third_{number}").unlink()
            time.sleep(CALL_PAUSE_S)

    def _call_spin(self, call_id: str, turns: int) -> None:
        raw = np.int64(turns).tobytes()
        write_file(self.mount / f"programs/third_spin/calls/{call_id}.raw", raw)
        found = (self.mount / f"results/{call_id}.raw").read_bytes()
        self._expect(found, raw, f"results/{call_id}")

    def _products(self) -> None:
        number = 0
        while self.is_on:
            number = number % 100 + 1
            with self._step("call"):
                self._call_product(number)
            time.sleep(CALL_PAUSE_S)

    def _call_product(self, number: int) -> None:
        fd = os.open(self.mount / "programs/third_product/call.raw", os.O_RDWR)
        try:
            os.write(fd, np.full((512, 512), number, np.float32).tobytes())
            found = os.read(fd, 4 * 512)
        finally:
            os.close(fd)
        right = np.full(512, 512 * number * number, np.float32).tobytes()
        self._expect(found, right, f"the product {number}")

    def _compiles(self) -> None:
        number = int(time.time()) % 1_000_000
        while self.is_on:
            number += 1
            program = self.mount / f"programs/third_tiny_{number}"
            with self._step("compile"):
                write_file(program.with_suffix(".mlir"), TINY.format(number).encode())
            with self._step(""):
                write_file(program / f"calls/third_tiny_{number}", b"1")
                text = (self.mount / f"results/third_tiny_{number}.txt").read_text()
                self._expect(float(text or "nan"), number + 1.0, f"the tiny program {number}")
                (self.mount / f"results/third_tiny_{number}").unlink()
                program.with_suffix(".mlir").unlink()
            time.sleep(COMPILE_PAUSE_S)

    def _reads(self) -> None:
        """Its kept result, and ``error_log``: its own error and no other's."""
        while self.is_on:
            with self._step(""):
                found = (self.mount / "results/third_kept.txt").read_text().strip()
                self._expect(found, "12345", "results/third_kept")
                lines = (self.mount / "error_log").read_text().splitlines()
                self._expect(any("third_bad" in line for line in lines), True, "its error kept")
                others = [line for line in lines if "third_" not in line]
                self._expect(others, [], "the rest of error_log")
            time.sleep(CALL_PAUSE_S)


def main(mount: str, uid: int, seconds: float) -> None:
    """Prints what it met; does not wait for steps that hang."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    user = ThirdUser(Path(mount))
    user.prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    threads = user.threads()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    user.is_on = False
    end_s = time.monotonic() + GRACE_S
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    for kind, began_s in list(user.pending.values()):
        user.usage.stuck += 1
        if kind:
            user.usage.took_s[kind].append(time.monotonic() - began_s)
    print(json.dumps(msgspec.to_builtins(user.usage)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
