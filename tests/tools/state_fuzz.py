"""Damages state directories, and checks that nothing is wrong, nothing fails, and all heals.

    python -m tests.tools.state_fuzz --states 500 --seed 1 --report docs/reports/fuzz_state

A state directory with every kind of entry is made once, with the real compiler and engine.  Each
state is a copy of it in which one file is damaged, each file in turn; it is mounted in process,
everything is listed and called, and what is missing or fails is written again.  Then it is mounted
once more: now everything has to be there.  States depend on the seed and their number only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import trio

from jaxfs.compiler.client.client import open_compiler
from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.client.engines import SharedEngine
from jaxfs.engine.client.spare_worker import SpareWorker
from jaxfs.engine.protocol import EngineOptions
from jaxfs.errors import JaxfsError
from jaxfs.ipc.shared_memory import Pool
from jaxfs.options import Options
from jaxfs.testing import FakeCompiler, FakeEngines, InProcessMount, open_vfs
from tests import fixtures

KEEP = Options(keep_arrays=True)
FOURS = "[1,2,3,4] [1,1,1,1]"
CALLS = {  # exact in f32, however they are added
    "programs/text": FOURS,
    "programs/bytecode": FOURS,
    "programs/exported": FOURS,
    "programs/poly": FOURS,
    "programs/dynamic": "[[1,2,3]]",
    "programs/loss": "[4,5,6]",  # its weights are bound
    "programs/alias": FOURS,
    "transformations/grad:argnums=1/text_loss": "[1,2,3] [4,5,6]",
}
SOURCES = {
    "text.mlir": "text.mlir",
    "bytecode.mlirbc": "bytecode.mlirbc",
    "exported.jaxexport": "exported.jaxexport",
    "poly.pkl": "poly.pkl",
    "dynamic.mlir": "dynamic.mlir",
    "loss.mlir": "loss.mlir",
    "text_loss.mlir": "loss.mlir",
}
ARRAYS = {"w": "[1.0, 2.0, 3.0]", "large": json.dumps([float(n % 8) for n in range(20_000)])}
WEIGHTS = "../../../arrays/w"


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(max(1, len(data)))])


def replace(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def swap(path: Path, rng: random.Random) -> None:
    """Two files of the same folder, or of the same name, change places."""
    others = sorted({*path.parent.iterdir(), *path.parents[1].glob(f"*/{path.name}")} - {path})
    others = [other for other in others if other.is_file()]
    if not others:
        cut(path, rng)
        return
    other = rng.choice(others)
    data = other.read_bytes()
    other.write_bytes(path.read_bytes())
    path.write_bytes(data)


def turn_into_folder(path: Path, rng: random.Random) -> None:
    del rng
    path.unlink()
    path.mkdir()
    (path / "file").write_text("something\n")


DAMAGE: dict[str, Callable[[Path, random.Random], object]] = {
    "a flipped bit": flip,
    "cut": cut,
    "random bytes": replace,
    "deleted": lambda path, _rng: path.unlink(),
    "empty": lambda path, _rng: path.write_bytes(b""),
    "swapped": swap,
    "mode 0": lambda path, _rng: path.chmod(0),
    "a folder": turn_into_folder,
}


@attrs.define
class Figures:
    """What came of the states.

    Attributes:
        states: How many there were.
        files: How many files of the directory were damaged at least once.
        wrong: Answers that were wrong, as ``state: path``.
        failed_mounts: Mounts that failed, likewise.
        unhealed: What neither the next use nor writing it again has healed.
        rewritten: How many states had something that had to be written again.
        by_damage: States by the kind of damage, and of these the rewritten ones.
        slowest_s: The longest state.
    """

    states: int = 0
    files: int = 0
    wrong: list[str] = attrs.field(factory=list)
    failed_mounts: list[str] = attrs.field(factory=list)
    unhealed: list[str] = attrs.field(factory=list)
    rewritten: int = 0
    by_damage: Counter[str] = attrs.field(factory=Counter)
    by_rewritten: Counter[str] = attrs.field(factory=Counter)
    slowest_s: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every promise held."""
        return not (self.wrong or self.failed_mounts or self.unhealed)

    @property
    def healed_percent(self) -> float:
        """How many of the states were whole after the next use or rewrite."""
        bad = {line.partition(":")[0] for line in self.unhealed + self.failed_mounts}
        return 100 * (1 - len(bad) / max(1, self.states))


class Fuzzer:
    """One real compiler and engine, and a mount in process for each state."""

    def __init__(self, compiler: Any, engine: LocalEngine, root: Path) -> None:
        self._compiler = compiler
        self._engine = engine
        self._root = root
        self._sources = _sources()
        self._answers: dict[str, bytes] = {}
        self.pristine = root / "pristine"

    @contextlib.asynccontextmanager
    async def mount(self, state: Path) -> AsyncIterator[InProcessMount]:
        """A mount of a state directory, for which the engine loads all executables again."""
        connection = self._engine._dispatcher.connection
        if connection is not None:
            connection._numbers.clear()  # a fresh worker for each state would take seconds
        compiler = cast(FakeCompiler, self._compiler)
        async with trio.open_nursery() as nursery:
            options = EngineOptions()
            spare = SpareWorker(options, nursery)
            engines = cast(FakeEngines, _KeptEngines(self._engine, options, spare, nursery))
            async with open_vfs(KEEP, state_dir=state, engines=engines, compiler=compiler) as mount:
                yield mount

    async def make(self) -> None:
        """Makes the pristine state directory, and the right answers."""
        self.pristine.mkdir()
        async with self.mount(self.pristine) as mount:
            await self._write_missing(mount, set(CALLS))
            await mount.client.chmod("programs/text.mlir", 0o640)
            for place in CALLS:
                self._answers[place] = await self._ask(mount, place)
            await mount.client.read("programs/text/graph.svg")
        async with self.mount(self.pristine) as mount:  # what a restart writes
            assert not await self._failing(mount, Figures(), "pristine")

    async def _ask(self, mount: InProcessMount, place: str) -> bytes:
        path = "programs/text" if place == "programs/alias" else place
        if path != place:
            mount.client.readlink(place)
        return await mount.client.ask(f"{path}/call", CALLS[place])

    async def _failing(self, mount: InProcessMount, figures: Figures, label: str) -> set[str]:
        """Returns what does not answer; notes what answers wrongly."""
        failing = set[str]()
        mount.client.listing("programs")
        mount.client.listing("arrays")
        for place, answer in self._answers.items():
            try:
                found = await self._ask(mount, place)
            except (JaxfsError, FileNotFoundError):
                failing.add(place)
                continue
            if found != answer:
                figures.wrong.append(f"{label}: {place}: {found[:60]!r}")
        for name, text in ARRAYS.items():
            try:
                values = json.loads(await mount.client.read(f"arrays/{name}.json"))
            except (JaxfsError, FileNotFoundError):
                failing.add(f"arrays/{name}")
                continue
            if values != json.loads(text):
                figures.wrong.append(f"{label}: arrays/{name}")
        for name, source in self._sources.items():
            try:
                data = await mount.client.read(f"programs/{name}")
            except (JaxfsError, FileNotFoundError):
                failing.add(f"programs/{name.partition('.')[0]}")
                continue
            if data not in (source, b""):
                figures.wrong.append(f"{label}: programs/{name}: another source")
            elif not data:
                failing.add(f"programs/{name.partition('.')[0]}")
        return failing

    async def _write_missing(self, mount: InProcessMount, failing: set[str]) -> None:
        """Writes what fails again, as its user would."""
        for name, text in ARRAYS.items():
            if f"arrays/{name}" in failing or not mount.client.exists(f"arrays/{name}"):
                await mount.client.write(f"arrays/{name}", text)
        names = {place.rpartition("/")[2] for place in failing}
        for name, source in self._sources.items():
            if name.partition(".")[0] in names:
                await mount.client.write(f"programs/{name}", source)
        if not mount.client.exists("programs/loss/inputs/0") and "loss" in names:
            mount.client.symlink(WEIGHTS, "programs/loss/inputs/0")
        if "alias" in names and not mount.client.exists("programs/alias"):
            mount.client.symlink("text", "programs/alias")

    async def judge(self, label: str, state: Path, figures: Figures) -> bool:
        """Mounts a damaged state twice; returns whether something had to be written again."""
        try:
            async with self.mount(state) as mount:
                failing = await self._failing(mount, figures, label)
                if failing:
                    await self._write_missing(mount, failing)
                    left = await self._failing(mount, figures, label)
                    figures.unhealed += [f"{label}: {place}" for place in sorted(left)]
            async with self.mount(state) as mount:
                left = await self._failing(mount, figures, label)
                figures.unhealed += [f"{label}: {place} after a remount" for place in sorted(left)]
        except Exception as error:  # whatever it is, a user would have no mount
            figures.failed_mounts.append(f"{label}: {error!r}")
            return False
        return bool(failing)

    async def run(self, states: int, seed: int) -> Figures:
        """Damages, mounts and heals one state after another."""
        figures = Figures()
        files = sorted(
            path.relative_to(self.pristine)
            for path in self.pristine.rglob("*")
            if path.is_file() and path.name != "lock"
        )
        order = random.Random(seed).sample(files, len(files))
        figures.files = min(states, len(files))
        for number in range(states):
            rng, started = random.Random(f"{seed} {number}"), time.monotonic()
            file, kind = order[number % len(order)], rng.choice(list(DAMAGE))
            state = self._root / f"state-{number}"
            shutil.copytree(self.pristine, state, symlinks=True)
            DAMAGE[kind](state / file, rng)
            was_rewritten = await self.judge(f"{number} ({kind}, {file})", state, figures)
            figures.states += 1
            figures.rewritten += was_rewritten
            figures.by_damage[kind] += 1
            figures.by_rewritten[kind] += was_rewritten
            figures.slowest_s = max(figures.slowest_s, time.monotonic() - started)
            remove_state(state)
        return figures


def remove_state(folder: Path) -> None:
    """Removes a state that was judged, whatever its modes are."""
    shutil.rmtree(folder, ignore_errors=True)


class _KeptEngines(SharedEngine):
    """The shared engine, which outlives the mounts."""

    async def close(self) -> None:
        """Leaves the engine as it is."""


def _sources() -> dict[str, bytes]:
    """Returns the programs by file name."""
    script = Path(fixtures.__file__).with_name("state_sources.py")
    with tempfile.TemporaryDirectory() as made, script.open() as stdin:
        subprocess.run([sys.executable, "-", made], stdin=stdin, check=True)
        return {name: Path(made, source).read_bytes() for name, source in SOURCES.items()}


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="jaxfs-state-fuzz-"))
    try:
        yield root
    finally:
        remove_state(root)


async def fuzz(states: int, seed: int) -> Figures:
    """Returns the figures of so many states."""
    with _scratch() as root:
        async with (
            open_compiler() as compiler,
            open_local_engine(EngineOptions(platform="cpu"), Pool()) as engine,
        ):
            fuzzer = Fuzzer(compiler, engine, root)
            await fuzzer.make()
            return await fuzzer.run(states, seed)


def report(figures: Figures, seed: int) -> str:
    """docs/reports/fuzz_state.md."""
    rows = "".join(
        f"| {kind} | {count} | {figures.by_rewritten[kind]} |\n"
        for kind, count in sorted(figures.by_damage.items())
    )
    return (
        "# The last run of the state fuzzer\n\n"
        "`make fuzz` also damages state directories: one file of each, each file in turn. The\n"
        "directory is mounted, everything is listed, read and called, what is missing or fails is\n"
        "written again, and it is mounted once more.\n\n"
        "| | |\n| --- | --- |\n"
        f"| states (seed {seed}) | {figures.states} |\n"
        f"| files damaged | {figures.files} |\n"
        f"| wrong answers | {len(figures.wrong)} |\n"
        f"| failed mounts | {len(figures.failed_mounts)} |\n"
        f"| healed by the next use or by writing it again | {figures.healed_percent:g} % |\n"
        f"| slowest state | {figures.slowest_s:.1f} s |\n\n"
        f"| damage | states | of these, something had to be written again |\n"
        f"| --- | --- | --- |\n{rows}"
    )


def main() -> int:
    """Returns the exit status: 0 where every promise held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--states", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the figures to this path, .md and .json")
    args = parser.parse_args()
    figures = trio.run(fuzz, args.states, args.seed)
    text = report(figures, args.seed)
    print(text)
    for line in (*figures.wrong, *figures.failed_mounts, *figures.unhealed):
        print(f"broken: {line}", file=sys.stderr)
    if args.report:
        args.report.with_suffix(".md").write_text(text)
        found = {**attrs.asdict(figures), "seed": args.seed}
        args.report.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
