"""``transformations/``: a path is an expression, ``vmap/grad/loss`` is vmap of grad of loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jaxfs.compiler.transforms.table import TRANSFORMATIONS, help_text, parse
from jaxfs.errors import NotFound
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.program import DerivedProgram
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import Mount, TransformPath
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec

ROOT = "transformations"
STEP = f"{ROOT}/<transformation>"


def _used(system: Mount) -> Iterator[DerivedProgram]:
    """Transformed programs that were called or looked at."""
    for program in system.programs:
        yield from program.transformed.values()


def _list(system: Mount, steps: tuple[str, ...]) -> Iterable[DirEntry]:
    """What was used, and what it was made by."""
    found: dict[str, DirEntry] = {}
    depth = len(steps)
    for derived in _used(system):
        if derived.steps[:depth] != steps:
            continue
        if len(derived.steps) == depth:
            found[derived.base.label] = DirEntry(derived.base.label, HERE, derived)
        else:
            name = derived.steps[depth]
            found[name] = DirEntry(name, STEP, system.transform_path((*steps, name)))
    return found.values()


def _list_root(system: Mount, subject: Mount) -> Iterable[DirEntry]:
    found = {name: DirEntry(name, STEP, system.transform_path((name,))) for name in TRANSFORMATIONS}
    found |= {entry.name: entry for entry in _list(system, ())}
    return found.values()


def _list_step(system: Mount, chain: TransformPath) -> Iterable[DirEntry]:
    return _list(system, chain.canonical)


def _find(system: Mount, steps: tuple[str, ...], name: str) -> DirEntry | None:
    """Raises Invalid for an option that a transformation does not have or take so."""
    found = system.programs.resolve(name) if steps else None
    if found is not None:
        program, inner = found
        return DirEntry(
            name, HERE, system.programs.derivations.transform(program, (*steps, *inner))
        )
    if name.partition(":")[0] not in TRANSFORMATIONS:
        return None
    parse(name)
    return DirEntry(name, STEP, system.transform_path((*steps, name)))


def _find_root(system: Mount, subject: Mount, name: str) -> DirEntry | None:
    return _find(system, (), name)


def _find_step(system: Mount, chain: TransformPath, name: str) -> DirEntry | None:
    return _find(system, chain.steps, name)


INTRODUCTION = """A path is an expression: transformations/vmap/grad/loss is vmap(grad(loss)).
Options follow a name: grad:argnums=0,1 or vmap:in_axes=0,_. What a StableHLO file or a jax.export
artifact cannot tell any more is gone: stop_gradient and custom_vjp vanish when JAX lowers a
function, so derivatives are those of what is computed. A pickled function keeps them.
"""


def _help(system: Mount, subject: Mount, caller: Credentials) -> bytes:
    return "\n".join([INTRODUCTION, *(help_text(name) for name in TRANSFORMATIONS)]).encode()


def _help_of(system: Mount, chain: TransformPath, caller: Credentials) -> bytes:
    name = chain.steps[-1].partition(":")[0]
    if name not in TRANSFORMATIONS:
        raise NotFound(f"there is no transformation {name}")
    return help_text(name).encode()


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(
        ROOT,
        0o755,
        "programs transformed: a path is an expression, vmap/grad/loss is vmap of grad of loss",
        entries=_list_root,
        find=_find_root,
    ),
    FileSpec(f"{ROOT}/help", 0o444, "text", "all transformations and their options", read=_help),
    DirectorySpec(
        STEP,
        0o755,
        "a transformation, with options as in grad:argnums=0,1; below it a program, or another "
        "transformation; listed is what was used",
        entries=_list_step,
        find=_find_step,
    ),
    FileSpec(f"{STEP}/help", 0o444, "text", "what it does and its options", read=_help_of),
)
