"""The names of programs, staging files and specializations.

>>> split_source("saxpy.mlir")
('saxpy', 'mlir')
"""

from __future__ import annotations

import hashlib
import os
import re

from jaxfs.compiler.transforms.table import TRANSFORMATIONS
from jaxfs.errors import Invalid, NameTooLong
from jaxfs.types.avals import Aval

MAX_NAME_BYTES = 128
# Extensions of source files.  They are for people: the content decides what a file is.
EXTENSIONS = {
    "mlir": "StableHLO as text",
    "mlirbc": "MLIR bytecode, or a StableHLO portable artifact",
    "jaxexport": "a jax.export artifact",
    "pkl": "a pickled Python function",
}
RESERVED = frozenset({*TRANSFORMATIONS, "help"})  # as programs they would be ambiguous in paths
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", re.ASCII)
_STAGING = re.compile(r"[A-Za-z0-9_.~#+@,=%-]+\Z", re.ASCII)
# Names under which programs write a file that they rename afterwards.  The file 4913, with which
# vim finds out whether it may create files, is none: it may be a call's id, and is removed at once.
STAGING_NAMES = {
    r"\..+": "rsync (.w.Ab12Cd), safetensors (.tmpAb12Cd), gedit, vim (.w.swp), emacs (.#w)",
    r".+~": "backups of editors (w~)",
    r"#.+#": "emacs (#w#)",
    r".+\.(tmp|temp|part|partial|filepart|crdownload|new)": "many (w.tmp)",
    r".+\.(swp|swo|swx|bak|orig|lock)": "editors and patch(1) (w.bak)",
    r".+\.tmp[.-]?[A-Za-z0-9_-]+": "libraries that write atomically (w.tmp1234)",
    r"tmp\.[A-Za-z0-9]{6,}": "mktemp(1) (tmp.Ab12Cd34Ef)",
    r".+\.(?=\w*[A-Z])[A-Za-z0-9]{6}": "mktemp w.XXXXXX, Qt (w.Ab12Cd)",
    r".+\.[or](?=\w*[A-Z0-9])[A-Za-z0-9]{6}": "patch(1) (w.mlir.oAb12Cd)",
    r".+\.(?=\w*[A-Z0-9])[A-Fa-f0-9]{8}": "aws s3 cp (w.6eF09b2D)",
    r".+\.[0-9]{6,}": "npm's write-file-atomic (w.mlir.2893847283)",
    r".+\.[a-z]+[0-9]{6,}": "Go's os.CreateTemp, TensorFlow (w.mlir123456789, w.tempstate123)",
    r".+___jb_(tmp|old)___": "JetBrains (w.mlir___jb_tmp___)",
    r"d2utmp[A-Za-z0-9]{6}": "dos2unix (d2utmpAb12Cd)",
    r"tmp[a-z0-9_]{8}": "Python's tempfile (tmpab12cd_4)",
    r"sed[A-Za-z0-9]{6}": "sed -i (sedAb12Cd)",
}
_STAGING_NAME = re.compile("|".join(f"(?:{pattern})" for pattern in STAGING_NAMES), re.ASCII)


def is_staging(name: str) -> bool:
    """Whether a file of this name is only stored, and used when it gets another name.

    >>> is_staging(".loss.py.swp"), is_staging("loss.mlir~"), is_staging("loss.mlir")
    (True, True, False)
    """
    return _STAGING_NAME.fullmatch(name) is not None


def check(name: str) -> str:
    """Checks a name for a file in ``programs/``.

    Returns:
        The name itself.

    Raises:
        Invalid: It has characters that are not allowed, or begins with one.
        NameTooLong: It is longer than ``MAX_NAME_BYTES``.
    """
    nbytes = len(os.fsencode(name))
    if nbytes > MAX_NAME_BYTES:
        raise NameTooLong(f"the name is {nbytes} bytes long; {MAX_NAME_BYTES} are most")
    if not (_STAGING if is_staging(name) else _NAME).match(name):
        raise Invalid(f"{name!r} is no name here; names are [A-Za-z0-9_][A-Za-z0-9_.-]*")
    return name


def split_source(filename: str) -> tuple[str, str]:
    """Returns name and extension of a source's file.

    Raises:
        Invalid: It is no name, has no known extension or two of them, or is the name of a
            transformation.
        NameTooLong: It is longer than ``MAX_NAME_BYTES``.
    """
    name, dot, extension = check(filename).rpartition(".")
    if not dot or extension not in EXTENSIONS:
        known = " ".join(f".{word}" for word in EXTENSIONS)
        raise Invalid(f"{filename!r} does not end like a program; use one of {known}")
    if name in RESERVED:
        raise Invalid(f"{name!r} is the name of a transformation; call the program otherwise")
    if is_source_like(name):
        raise Invalid(f"programs/{name} would be the file of another program; use one extension")
    return name, extension


def is_source_like(name: str) -> bool:
    """Whether a name has the extension of a source, so that a directory of it could hide a file.

    >>> is_source_like("col.mlir"), is_source_like("v1.2")
    (True, False)
    """
    _, dot, extension = name.rpartition(".")
    return bool(dot) and extension in EXTENSIONS


def types_name(types: tuple[Aval, ...]) -> str:
    """Returns a name for input types that suits file systems and shells.

    Types that would make too long a name are hashed.

    >>> types_name((Aval("f32", (2, 3)), Aval("i32", ())))
    'f32_2x3-i32'
    """
    words = [
        "_".join([aval.dtype, "x".join(map(str, aval.shape))]) if aval.shape else aval.dtype
        for aval in types
    ]
    name = "-".join(words) or "none"
    if len(name) <= MAX_NAME_BYTES:
        return name
    return f"{len(types)}-inputs-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
