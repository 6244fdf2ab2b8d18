"""``transformations/``: a path is an expression, ``vmap/grad/loss`` is vmap of grad of loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jaxfs.compiler.transforms.table import TABLE, help_text, parse
from jaxfs.errors import NotFound
from jaxfs.posix.credentials import Caller
from jaxfs.programs.program import Derived
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import Chain, System
from jaxfs.vfs.node_specs import Directory, Entry, File, Row

ROOT = "transformations"
STEP = f"{ROOT}/<transformation>"


def _used(system: System) -> Iterator[Derived]:
    """Transformed programs that were called or looked at."""
    for program in system.programs:
        yield from program.transformed.values()


def _list(system: System, steps: tuple[str, ...]) -> Iterable[Entry]:
    """What was used, and what it was made by."""
    found: dict[str, Entry] = {}
    depth = len(steps)
    for derived in _used(system):
        if derived.steps[:depth] != steps:
            continue
        if len(derived.steps) == depth:
            found[derived.base.label] = Entry(derived.base.label, HERE, derived)
        else:
            name = derived.steps[depth]
            found[name] = Entry(name, STEP, system.chain((*steps, name)))
    return found.values()


def _list_root(system: System, subject: System) -> Iterable[Entry]:
    found = {name: Entry(name, STEP, system.chain((name,))) for name in TABLE}
    found |= {entry.name: entry for entry in _list(system, ())}
    return found.values()


def _list_step(system: System, chain: Chain) -> Iterable[Entry]:
    return _list(system, chain.canonical)


def _find(system: System, steps: tuple[str, ...], name: str) -> Entry | None:
    """Raises Invalid for an option that a transformation does not have or take so."""
    found = system.programs.resolve(name) if steps else None
    if found is not None:
        program, inner = found
        return Entry(name, HERE, system.programs.derivations.transform(program, (*steps, *inner)))
    if name.partition(":")[0] not in TABLE:
        return None
    parse(name)
    return Entry(name, STEP, system.chain((*steps, name)))


def _find_root(system: System, subject: System, name: str) -> Entry | None:
    return _find(system, (), name)


def _find_step(system: System, chain: Chain, name: str) -> Entry | None:
    return _find(system, chain.steps, name)


INTRODUCTION = """A path is an expression: transformations/vmap/grad/loss is vmap(grad(loss)).
Options follow a name: grad:argnums=0,1 or vmap:in_axes=0,_. What a StableHLO file or a jax.export
artifact cannot tell any more is gone: stop_gradient and custom_vjp vanish when JAX lowers a
function, so derivatives are those of what is computed. A pickled function keeps them.
"""


def _help(system: System, subject: System, caller: Caller) -> bytes:
    return "\n".join([INTRODUCTION, *(help_text(name) for name in TABLE)]).encode()


def _help_of(system: System, chain: Chain, caller: Caller) -> bytes:
    name = chain.steps[-1].partition(":")[0]
    if name not in TABLE:
        raise NotFound(f"there is no transformation {name}")
    return help_text(name).encode()


ROWS: tuple[Row, ...] = (
    Directory(
        ROOT,
        0o755,
        "programs transformed: a path is an expression, vmap/grad/loss is vmap of grad of loss",
        entries=_list_root,
        find=_find_root,
    ),
    File(f"{ROOT}/help", 0o444, "text", "all transformations and their options", read=_help),
    Directory(
        STEP,
        0o755,
        "a transformation, with options as in grad:argnums=0,1; below it a program, or another "
        "transformation; listed is what was used",
        entries=_list_step,
        find=_find_step,
    ),
    File(f"{STEP}/help", 0o444, "text", "what it does and its options", read=_help_of),
)
