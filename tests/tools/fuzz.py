"""Damages good programs for a while, and checks that only throw-away processes suffer.

    python -m tests.tools.fuzz --seconds 120 --seed 1 --report docs/reports/fuzz.md

Each mutant is traced and, where it is accepted, compiled.  Whatever it is, an answer must come in
time, a refusal must be one a user can act on, and the zygote must live.  Mutants depend on the seed
and their number only; the first that breaks a rule is kept, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import trio

from jaxfs.compiler.client.client import CompilerClient, open_compiler
from jaxfs.errors import Invalid, JaxfsError, NoSpace, TimedOut
from tests.compiler.conftest import SAXPY, compile_cpu, trace
from tests.hostile import control, exports, native
from tests.hostile.files import stored
from tests.hostile.mutations import BINARY, TEXT, mutated

DEADLINE_S = 10.0
SLACK_S = 5.0
MEMORY_BYTES = 2 << 30
WORKERS = 2
KINDS_OF_REFUSAL = (Invalid, NoSpace, TimedOut)
SIGNAL = re.compile(r"crashed on this program \((\w+)\)")
CHOLESKY = native.lapack(
    "lapack_spotrf_ffi", native.SQUARE, f"{native.SQUARE}; tensor<i32>", "uplo = 76 : ui8"
)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "text": (stored("mlir"), SAXPY.encode(), control.ENDLESS.encode(), CHOLESKY.encode()),
    "bytecode": (stored("mlirbc"),),
    "portable artifact": (stored("portable"), exports.ONE_INPUT),
    "jax.export": (stored("export"), exports.export()),
}


class Broken(Exception):
    """A rule that must hold did not."""


@attrs.define
class Tally:
    """What came of the mutants, by kind of source."""

    ends: dict[str, Counter[str]] = attrs.field(factory=lambda: {kind: Counter() for kind in SEEDS})
    crashes: Counter[str] = attrs.field(factory=Counter)
    slowest_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(counts.total() for counts in self.ends.values())

    def note(self, kind: str, end: str, signal: str, elapsed_s: float) -> None:
        self.ends[kind][end] += 1
        if signal:
            self.crashes[signal] += 1
        self.slowest_s = max(self.slowest_s, elapsed_s)

    def table(self) -> str:
        """Markdown: a row a kind of source, a column an outcome; then the signals."""
        ends = sorted(set().union(*self.ends.values()))
        rows = [["", *ends], ["---"] * (len(ends) + 1)]
        rows += [[kind, *(str(n[end]) for end in ends)] for kind, n in self.ends.items()]
        signals = ", ".join(f"{name} {n}" for name, n in self.crashes.most_common()) or "none"
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"{table}\n\nThrow-away processes that crashed: {signals}.\n"


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Mutant ``number``: its kind and bytes."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(list(SEEDS))
    other = rng.choice(SEEDS[rng.choice(list(SEEDS))])
    mutations = TEXT if kind == "text" else BINARY
    source = rng.choice(SEEDS[kind])
    return kind, mutated(source, other, rng.getrandbits(32), mutations, rng.choice((1, 1, 3)))


async def judge(client: CompilerClient, data: bytes) -> tuple[str, str]:
    """How a mutant ended and the signal its process died by.  Raises Broken."""
    zygote = client.pid
    stage, end, signal = "trace", "compiled", ""
    start = time.monotonic()
    try:
        traced, artifact, _ = await trace(client, data, deadline_s=DEADLINE_S)
        stage, start = "compile", time.monotonic()
        await compile_cpu(client, artifact, traced.signature, deadline_s=DEADLINE_S)
    except JaxfsError as error:
        end, signal = refusal(stage, error)
    if time.monotonic() - start > DEADLINE_S + SLACK_S:
        raise Broken(f"the {stage} took {time.monotonic() - start:.1f} s")
    if client.pid != zygote:
        raise Broken(f"the zygote died in a {stage}")
    return end, signal


def refusal(stage: str, error: JaxfsError) -> tuple[str, str]:
    """How an error counts, and the signal in it.  Raises Broken where nobody can act on it."""
    if not isinstance(error, KINDS_OF_REFUSAL) or not error.reason:
        raise Broken(f"the {stage} failed with {error.errno_name} {error.reason!r}") from error
    crash = SIGNAL.search(error.reason)
    kind = "crash" if crash else error.errno_name
    return f"{stage}: {kind}", crash[1] if crash else ""


async def work(
    client: CompilerClient, seed: int, numbers: Iterator[int], end: float, tally: Tally, keep: Path
) -> None:
    """Try mutants until the time is over."""
    while time.monotonic() < end:
        number = next(numbers)
        kind, data = mutant(seed, number)
        start = time.monotonic()
        try:
            tally.note(kind, *await judge(client, data), time.monotonic() - start)
        except Broken as broken:
            path = keep / f"mutant-{seed}-{number}"
            path.write_bytes(data)
            raise Broken(f"{broken}; the mutant ({kind}) is {path}") from None


async def fuzz(seed: int, seconds: float, keep: Path) -> Tally:
    """Run for some seconds.  Raises Broken at the first broken rule."""
    tally, numbers = Tally(), itertools.count()
    async with open_compiler(WORKERS, memory_bytes=MEMORY_BYTES) as client:
        await client.start()
        end = time.monotonic() + seconds
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(work, client, seed, numbers, end, tally, keep)
    return tally


def report(tally: Tally, seed: int, seconds: float) -> str:
    """docs/reports/fuzz.md."""
    return (
        "# The last run of the fuzzer\n\n"
        "`make fuzz` damages good programs (bits, bytes, sizes, cuts, splices, tokens), traces\n"
        "them and compiles what is accepted. An answer must come in time, a refusal must be\n"
        "`EINVAL`, `ENOSPC` or `ETIMEDOUT` with a reason, and the zygote must live.\n\n"
        f"{tally.count} mutants in {seconds:g} s (seed {seed}), the slowest answer after "
        f"{tally.slowest_s:.1f} s, no rule broken:\n\n{tally.table()}"
    )


def broken_rules(group: BaseExceptionGroup[Broken]) -> list[str]:
    """What was broken, out of the groups that nurseries wrap around it."""
    return [
        line
        for error in group.exceptions
        for line in (
            broken_rules(error) if isinstance(error, BaseExceptionGroup) else [f"broken: {error}"]
        )
    ]


def main() -> int:
    """The exit status: 0 where every rule held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    keep = Path(tempfile.mkdtemp(prefix="jaxfs-fuzz-"))
    try:
        tally = trio.run(fuzz, args.seed, args.seconds, keep)
    except BaseExceptionGroup as group:
        broken, others = group.split(Broken)
        if broken is None or others is not None:
            raise
        print(*broken_rules(broken), sep="\n", file=sys.stderr)
        return 1
    keep.rmdir()
    text = report(tally, args.seed, args.seconds)
    print(text)
    if args.report:
        args.report.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
