"""What a mount does, in a few dicts: the promises of docs/SEMANTICS.md in their shortest words.

Methods return the errno that the system call ends with, 0 for none.  Programs are `factor * x + y`:
the only thing about a source that counts here is whether it compiles, and to which factor.
"""

from __future__ import annotations

import errno
import re

import attrs
import numpy as np

from tests.conftest import SAXPY

FACTORS = ("2", "3")
_HEAD, _TAIL = SAXPY.encode().split(b"2.0")
COMMENT = b"// more\n"
# A good source, cut or extended within white space and comments; MLIR takes NULs for white space.
_GOOD = re.compile(
    re.escape(_HEAD)
    + rb"(\d)\.0"
    + re.escape(_TAIL.rstrip())
    + rb"[\s\0]*(//[^\n]*(\n[\s\0]*|\Z))*\Z"
)


def source(factor: str) -> bytes:
    """A program that works."""
    return _HEAD + factor.encode() + b".0" + _TAIL


def factor_of(data: bytes) -> float | None:
    """What a source computes; None if it does not compile."""
    found = _GOOD.match(data)
    return float(found[1]) if found else None


@attrs.define(eq=False)
class Source:
    """A file in programs/; ``factor`` is what serves, None where nothing compiled yet."""

    plain: bool
    content: bytes = b""
    factor: float | None = None
    error: bool = True
    mode: int = 0o644
    removed: bool = False

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever committed to it: the name goes if its writer is killed."""
        return not self.content and self.factor is None


@attrs.define(eq=False)
class Writer:
    """An open file that is written as a whole: a private copy until it is committed."""

    target: Source
    data: bytearray
    appends: bool
    dirty: bool

    def write(self, offset: int, data: bytes) -> None:
        start = len(self.data) if self.appends else offset
        self.data += bytes(max(0, start - len(self.data)))
        self.data[start : start + len(data)] = data
        self.dirty = True

    def truncate(self, size: int) -> None:
        self.dirty = self.dirty or size != len(self.data)
        self.data = self.data[:size] + bytes(max(0, size - len(self.data)))

    def commit(self) -> int:
        """As close(2) and fsync(2)."""
        target = self.target
        if not self.dirty or not (self.data or target.plain):
            return 0
        self.dirty = False
        if target.plain:
            target.content = bytes(self.data)
            return 0
        return build(target, bytes(self.data))


def build(target: Source, data: bytes) -> int:
    """Compile and let it serve; what does not compile is shown only where nothing serves."""
    factor = factor_of(data)
    if factor is None:
        target.error = True
        target.content = data if target.factor is None else target.content
        return errno.EINVAL
    if target.removed:
        return errno.ECANCELED
    target.content, target.factor, target.error = data, factor, False
    return 0


@attrs.define(eq=False)
class Call:
    """State: writing | failed | done.  ``factor`` is that of the version it ran on."""

    program: Source
    suffix: str
    state: str = "writing"
    listed: bool = True
    removed: bool = False
    answer: np.ndarray | None = None

    @property
    def submitted(self) -> bool:
        return self.answer is not None


class Reference:
    """``files`` are the names in programs/ that are files, ``calls`` the call ids."""

    def __init__(self) -> None:
        self.files: dict[str, Source] = {}
        self.calls: dict[str, Call] = {}

    # programs/

    def listing(self) -> set[str]:
        return set(self.files) | {stem(name) for name, file in self.files.items() if not file.plain}

    def program(self, name: str) -> Source | None:
        """The program whose directory is ``name``."""
        found = [f for n, f in self.files.items() if not f.plain and stem(n) == name]
        return found[0] if found else None

    def has_twin(self, name: str, but: Source | None = None) -> bool:
        """Whether the program's name is taken by a source of another extension."""
        twin = self.program(stem(name)) if not is_staging(name) else None
        return twin is not None and twin is not but and self.files.get(name) is not twin

    def open(self, name: str, *, truncates: bool, appends: bool) -> tuple[int, Writer | None]:
        file = self.files.get(name)
        if file is None:
            if self.has_twin(name):
                return errno.EEXIST, None
            file = self.files[name] = Source(is_staging(name))
        data = bytearray() if truncates else bytearray(file.content)
        return 0, Writer(file, data, appends, dirty=file.plain and truncates)

    def unlink(self, name: str) -> int:
        file = self.files.pop(name, None)
        if file is None:
            return errno.ENOENT
        file.removed = True
        return 0

    def rename(self, old: str, new: str, *, replace: bool) -> int:
        file = self.files.get(old)
        if file is None:
            return errno.ENOENT
        if not replace and new in self.files:
            return errno.EEXIST
        if old == new:
            return 0
        if file.plain and not is_staging(new):
            return self._deploy(old, new)
        if not is_staging(new) and self.has_twin(new, but=file):
            return errno.EEXIST
        self._replace(old, new, file)
        return 0

    def _deploy(self, old: str, new: str) -> int:
        staged, target = self.files[old], self.files.get(new)
        if target is None and self.has_twin(new):
            return errno.EEXIST
        if factor_of(staged.content) is None:
            if target is not None:
                target.error = True
            return errno.EINVAL
        target = self.files.setdefault(new, Source(plain=False))
        target.mode = staged.mode
        del self.files[old]
        return build(target, staged.content)

    def _replace(self, old: str, new: str, file: Source) -> None:
        del self.files[old]
        if new in self.files:
            self.files[new].removed = True
        if is_staging(new) and not file.plain:
            file.removed = True
            file = Source(plain=True, content=file.content, mode=file.mode)
        self.files[new] = file

    def remount(self) -> None:
        """What works outlives the daemon."""
        kept = {n: f for n, f in self.files.items() if f.factor is not None}
        for file in kept.values():
            file.error = False
        self.files, self.calls = kept, {}

    # calls

    def open_call(self, program: Source, call_id: str, suffix: str) -> tuple[int, Call | None]:
        call = self.calls.get(call_id)
        if call is not None and call.program.removed and call.state == "writing":
            self._drop(call_id)  # nothing shows it any more
            call = None
        if call is None:
            call = self.calls[call_id] = Call(program, suffix)
            return 0, call
        same = call.program is program and call.listed and suffix in ("", call.suffix)
        return (0, call) if same and not call.submitted else (errno.EEXIST, None)

    def submit(self, call: Call, x: np.ndarray, y: np.ndarray, *, complete: bool) -> int:
        if call.submitted:
            return errno.EEXIST
        if call.removed:
            return errno.ECANCELED
        factor = call.program.factor
        if factor is None or not complete:
            call.state = "failed"
            return errno.ENOEXEC if factor is None else errno.EINVAL
        call.state, call.answer = "done", (factor * x + y).astype(np.float32)
        return 0

    def results(self) -> set[str]:
        return {call_id for call_id, call in self.calls.items() if call.state != "writing"}

    def calls_of(self, program: Source) -> set[str]:
        rows = self.calls.items()
        return {i + c.suffix for i, c in rows if c.program is program and c.listed}

    def remove_result(self, call_id: str) -> int:
        if call_id not in self.results():
            return errno.ENOENT
        self._drop(call_id)
        return 0

    def remove_call(self, call_id: str) -> None:
        call = self.calls[call_id]
        call.listed = False
        if not call.submitted:
            self._drop(call_id)

    def _drop(self, call_id: str) -> None:
        self.calls.pop(call_id).removed = True


def stem(name: str) -> str:
    """The name of a source's program."""
    return name.rpartition(".")[0]


def is_staging(name: str) -> bool:
    return name.startswith(".")
