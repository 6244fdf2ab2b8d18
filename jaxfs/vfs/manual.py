"""The manual page jaxfs(7), made from the node table and the tables of options and errors.

``python -m jaxfs.vfs.manual`` prints it; docs/man/ keeps it, ``mountctl install`` installs it.
"""

from __future__ import annotations

import sys

import jaxfs
from jaxfs import errors, roff
from jaxfs.compiler.transforms.table import ROWS as TRANSFORMATIONS
from jaxfs.compiler.transforms.table import Transformation
from jaxfs.options import TABLE
from jaxfs.vfs.files.readme import in_reading_order
from jaxfs.vfs.node_specs import DirectorySpec, NodeSpec
from jaxfs.vfs.node_table import SPECS

DESCRIPTION = """
jaxfs is a FUSE filesystem. While it is mounted, any process that can open a file can compile,
transform and run JAX programs on the machine's accelerators, under plain Unix permissions.

Writing a program compiles it, and closing the file gives the verdict. Creating a call, writing its
inputs and closing it submits it. Opening a result waits for the device. Every wait can be
interrupted. Errors are reported twice: by errno, and in words in the file error of the same object
and in error_log.
"""
EXAMPLE = (
    "mountctl mount /jax",
    "cp saxpy.mlir /jax/programs/",
    "cat x.npy y.npy > /jax/programs/saxpy/calls/job1",
    "cat /jax/results/job1 > out.npy",
    "cat /jax/results/job1.txt",
    "cat x.npy > /jax/transformations/grad/loss/calls/g1",
    "exec 3<>/jax/programs/saxpy/call; cat x.npy y.npy >&3; cat <&3",
)
FILES = """
The format of a file is beside its name. Text ends in a newline; flat keyed is a name, a space and
a value in each line; numbers carry their units in their names. What can be written reads back the
same.
"""
TRANSFORMED = """
A path below transformations is an expression: vmap/grad/loss is vmap(grad(loss)). Options follow a
name: grad:argnums=0,1 or vmap:in_axes=0,_.
"""
OPTIONS = """
What may follow -o when jaxfs is mounted; mountctl(1) has those of mounting itself, too.
"""


def page() -> str:
    r"""Returns the whole page, in roff.

    >>> page().splitlines()[0].startswith(".TH JAXFS 7")
    True
    """
    return "".join(
        [
            roff.header("jaxfs", 7, f"jaxfs {jaxfs.__version__}", "JAX programs as files"),
            roff.heading("NAME"),
            roff.escape("jaxfs - JAX programs and accelerators as files") + "\n",
            roff.heading("DESCRIPTION"),
            roff.paragraphs(DESCRIPTION),
            roff.heading("FILES"),
            roff.paragraphs(FILES),
            *map(_file, in_reading_order(SPECS)),
            roff.heading("TRANSFORMATIONS"),
            roff.paragraphs(TRANSFORMED),
            *map(_transformation, TRANSFORMATIONS),
            roff.heading("MOUNT OPTIONS"),
            roff.paragraphs(OPTIONS),
            *(
                roff.entry(f"{name}={option.placeholder}" if option.read else name, option.help)
                for name, option in TABLE.items()
            ),
            roff.heading("ERRORS"),
            *(roff.entry(name, meaning) for name, meaning in errors.TABLE),
            roff.heading("EXAMPLES"),
            roff.verbatim(EXAMPLE),
            roff.heading("SEE ALSO"),
            roff.references(("mountctl", 1), ("fuse", 4), ("mount", 8)),
        ]
    )


def _file(spec: NodeSpec) -> str:
    if isinstance(spec, DirectorySpec):
        return roff.entry(f"{spec.pattern}/", spec.help)
    return roff.entry(spec.pattern, spec.help, spec.format)


def _transformation(row: Transformation) -> str:
    """Returns the entry of a transformation, with its options indented below it."""
    options = [
        roff.entry(f":{option.name}={option.placeholder}", option.explained)
        for option in row.options
    ]
    return roff.entry(row.name, row.help) + roff.nested(options)


if __name__ == "__main__":
    sys.stdout.write(page())
