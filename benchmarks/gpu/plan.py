"""Every check: what it measures, its target, its limit, and the process that it runs in.

The order is by worth: a run that uses up its budget leaves the last ones out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ORDER = "ABDCEFGH"  # of the parts
BUDGET_S = 290.0
Jax = Literal["device", "cpu", "any"]  # what JAX sees in the process itself


@dataclass(frozen=True)
class Group:
    """Checks that share a process, and with it an engine or a mount.

    Attributes:
        module: Below ``benchmarks.gpu.checks``; its CHECKS has the functions.
        jax: The device is left to the engines in most groups.
    """

    module: str
    jax: Jax = "cpu"


MACHINE = Group("machine", "device")
START = Group("start", "any")
LOWER = Group("lower", "cpu")
PLAIN = Group("baseline", "device")
CALLS = Group("calls")
AHEAD = Group("ahead_of_time")
HARM = Group("harm")
POISON = Group("poison")
SHARING = Group("sharing")
MOUNT = Group("mount", "any")
TESTS = Group("tests", "any")
MEMCHECK = Group("memcheck", "device")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: A letter, which is its part, and a number.
        what: A phrase.
        target: In words.
        limit_s: It is ended after so many seconds.
        group: Where it runs.
        may_skip: What a machine without a GPU lacks for it; empty if it can run anywhere.
    """

    name: str
    what: str
    target: str
    limit_s: float
    group: Group
    may_skip: str = ""

    @property
    def part(self) -> str:
        """The letter of its part."""
        return self.name[0]


RECORD = "recorded"
CHECKS = (
    Check("A0", "driver, devices, memory figures, kernel", RECORD, 30, MACHINE),
    Check("A1", "engine starts by each name of the platform", "each, in 8 s", 60, START),
    Check("P1", "programs lowered as the compiler does", "all", 60, LOWER),
    Check("P2", "plain JAX: the other side of the ratios", RECORD, 75, PLAIN),
    Check("B0", "13 programs beside plain JAX", "error < 1e-3, bf16 2e-2", 75, CALLS),
    Check("B1", "call of f32[8]", "<= 1.5x plain, or + 40 us", 15, CALLS),
    Check("B2", "product of matrices, scalar out, named inputs", "<= 1.15x plain", 20, CALLS),
    Check("B3", "product of matrices, 128 MiB out", "<= 1.2x device time until read", 20, CALLS),
    Check("B4", "256 MiB from the device", ">= 20 GB/s", 15, CALLS),
    Check("B5", "256 MiB to the device, unnamed and named", "<= 1.2x plain, both", 20, CALLS),
    Check("B6", "training, 64 MiB of weights, a chain", "<= 1.3x plain", 20, CALLS),
    Check("B6e", "training, each step waited for", "<= 0.5 ms", 20, CALLS),
    Check("B6d", "training, a chain of donated weights", "<= 1.3x plain", 20, CALLS),
    Check("B7", "engine's own memory after keeping 20 arrays", "grows < 100 MiB", 20, CALLS),
    Check("D1", "compile for this card without the card", "4 programs", 30, AHEAD),
    Check("D2", "engine loads these, results", "right", 30, AHEAD),
    Check("D3", "product of matrices: without / with autotuning", "<= 1.1x", 30, AHEAD),
    Check("D4", "compiled for another H100, loads here", RECORD, 30, AHEAD, "the CUDA plugin"),
    Check("C1", "engine started again: load of all programs", "< 1 s", 45, HARM),
    Check("C2", "256 GiB output", "ENOSPC in 1 s, the engine lives", 20, HARM),
    Check("C3", "run of 60 % of memory, cache of named arrays full", "it runs", 45, HARM),
    Check("C4", "endless loop: others run, others compile", "all", 45, HARM),
    Check("C5", "endless loop killed: next call", "< 8 s, right", 30, HARM),
    Check("C6", "small calls behind a run of 2 s: statistics answer", "< 0.5 s", 30, HARM),
    Check("C7", "words of a poisoned context, plain JAX", RECORD, 30, POISON, "libcuda"),
    Check("C7e", "poisoned engine ends, next call", "right, restarted", 60, POISON),
    Check("E1", "4 users at once, 50 small calls each", "right", 15, SHARING),
    Check("E2", "2 engines on the card", "right", 30, SHARING),
    Check("F0", "examples/demo.sh", "passes", 40, MOUNT, "/dev/fuse"),
    Check("F1", "mount, call from a shell", "right", 40, MOUNT, "/dev/fuse"),
    Check("F2", "examples/train.sh, 100 steps", "learns", 40, MOUNT, "/dev/fuse"),
    Check("F3", "dd of a 256 MiB result", ">= 1 GB/s", 30, MOUNT, "/dev/fuse"),
    Check("F4", "devices/*/: all files can be read", "all, health ok", 15, MOUNT, "/dev/fuse"),
    Check("F5", "endless loop: others compile and call", "all, in 10 s", 30, MOUNT, "/dev/fuse"),
    Check("G1", "pytest -m gpu", "passes", 90, TESTS, "pytest"),
    Check("H1", "memcheck of library calls, odd operands", "0 errors", 60, MEMCHECK),
)
BY_NAME = {check.name: check for check in CHECKS}
NEEDS = {"B": ("P1", "P2"), "D": ("P1", "P2"), "C": ("P1",), "E": ("P1",)}


def selected(parts: str) -> list[Check]:
    """Returns the checks of some parts, with what these need, in the order they run.

    >>> [check.name for check in selected("E")]
    ['P1', 'E1', 'E2']
    """
    wanted = [part for part in ORDER if part in parts.upper()]
    needed = {name for part in wanted for name in NEEDS.get(part, ())}
    found = [check for check in CHECKS if check.part == "A" and "A" in wanted]
    found += [check for check in CHECKS if check.name in needed]
    return found + [
        check for part in wanted if part != "A" for check in CHECKS if check.part == part
    ]


def batches(checks: Iterable[Check]) -> list[list[Check]]:
    """Returns the checks in processes: neighbours of one group."""
    found: list[list[Check]] = []
    for check in checks:
        if found and found[-1][0].group is check.group:
            found[-1].append(check)
        else:
            found.append([check])
    return found
