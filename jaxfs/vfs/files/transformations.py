"""``transformations/``: a path is an expression, ``vmap/grad/loss`` is vmap of grad of loss."""

from __future__ import annotations

from collections.abc import Iterable

from jaxfs.compiler.transforms.table import TRANSFORMATIONS, help_text, parse
from jaxfs.errors import NotFound
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.program import Program
from jaxfs.vfs.files.program import PROGRAM
from jaxfs.vfs.mount import Mount, TransformPath
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec

ROOT = "transformations"
Entry = DirEntry[TransformPath] | DirEntry[Program]


def _list(mount: Mount, steps: tuple[str, ...]) -> dict[str, Entry]:
    """Returns entries below ``steps`` for the transformed programs that were used."""
    found: dict[str, Entry] = {}
    depth = len(steps)
    used = (derived for program in mount.programs for derived in program.transformed.values())
    for derived in used:
        if derived.steps[:depth] != steps:
            continue
        if len(derived.steps) == depth:
            found[derived.base.label] = PROGRAM.entry(derived.base.label, derived)
        else:
            name = derived.steps[depth]
            found[name] = STEP.entry(name, mount.transform_path((*steps, name)))
    return found


def _list_root(mount: Mount, root: Mount) -> Iterable[Entry]:
    """Lists all transformations, and those with options that were used."""
    found: dict[str, Entry] = {
        name: STEP.entry(name, mount.transform_path((name,))) for name in TRANSFORMATIONS
    }
    return (found | _list(mount, ())).values()


def _list_step(mount: Mount, path: TransformPath) -> Iterable[Entry]:
    return _list(mount, path.canonical).values()


def _find(mount: Mount, steps: tuple[str, ...], name: str) -> Entry | None:
    """Returns the entry of a program, or of one more transformation.

    Raises:
        Invalid: A transformation does not have the option, or does not take its value.
    """
    found = mount.programs.resolve(name) if steps else None
    if found is not None:
        program, inner = found
        return PROGRAM.entry(name, mount.programs.derivations.transform(program, (*steps, *inner)))
    if name.partition(":")[0] not in TRANSFORMATIONS:
        return None
    parse(name)
    return STEP.entry(name, mount.transform_path((*steps, name)))


def _find_root(mount: Mount, root: Mount, name: str) -> Entry | None:
    return _find(mount, (), name)


def _find_step(mount: Mount, path: TransformPath, name: str) -> Entry | None:
    return _find(mount, path.steps, name)


INTRODUCTION = """A path is an expression: transformations/vmap/grad/loss is vmap(grad(loss)).
Options follow a name: grad:argnums=0,1 or vmap:in_axes=0,_. What a StableHLO file or a jax.export
artifact does not contain is lost: stop_gradient and custom_vjp vanish when JAX lowers a
function, so derivatives are those of what is computed. A pickled function keeps them, and so does
an artifact of exported.serialize(vjp_order=1) in reverse mode: grad, jacrev, hessian and vjp.
"""


def _help(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    return "\n".join([INTRODUCTION, *(help_text(name) for name in TRANSFORMATIONS)]).encode()


def _help_of(mount: Mount, path: TransformPath, caller: Credentials) -> bytes:
    """Returns the text on the outermost transformation of a path, without its options.

    Raises:
        NotFound: There is no such transformation.
    """
    name = path.steps[-1].partition(":")[0]
    if name not in TRANSFORMATIONS:
        raise NotFound(f"there is no transformation {name}")
    return help_text(name).encode()


STEP = DirectorySpec[TransformPath, TransformPath | Program](
    f"{ROOT}/<transformation>",
    0o755,
    "a transformation, with options as in grad:argnums=0,1; below it a program, or another "
    "transformation; listed is what was used",
    entries=_list_step,
    find=_find_step,
)

SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Mount, TransformPath | Program](
        ROOT,
        0o755,
        "programs transformed: a path is an expression, vmap/grad/loss is vmap of grad of loss",
        entries=_list_root,
        find=_find_root,
    ),
    FileSpec(f"{ROOT}/help", 0o444, "text", "all transformations and their options", read=_help),
    STEP,
    FileSpec(f"{STEP.pattern}/help", 0o444, "text", "what it does and its options", read=_help_of),
)
