"""The state machine: each rule does one thing to the mount and to the reference, and compares."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jaxfs.testing import eventually
from tests.conftest import Mount, process_of
from tests.model.clients import FORMATS, VIEWS, Victims, text
from tests.model.reference import COMMENT, FACTORS, Call, Reference, Source, Writer, source, stem

Value = TypeVar("Value")
SOURCES = ("a.mlir", "a.mlirbc", "b.mlir")
NAMES = (*SOURCES, ".s", ".t.mlir")
IDS = ("1", "2", "3")
PIECES = (*(source(factor) for factor in FACTORS), source("4")[:200], COMMENT, b"garbage")
NUMBERS = st.integers(-8, 8).map(lambda n: np.full(4, n, np.float32) + np.arange(4, dtype="f4"))
RARE = st.integers(0, 7).map(lambda n: n == 5)


def attempt(do: Callable[..., Value], *args: Any, **kwargs: Any) -> tuple[int, Value | None]:
    """The errno of a system call, and what it returned."""
    try:
        return 0, do(*args, **kwargs)
    except OSError as error:
        return error.errno or 0, None


def name_of(number: int) -> str:
    return errno.errorcode.get(number, "success")


@attrs.define(eq=False)
class OpenSource:
    fd: int
    writer: Writer
    readable: bool


@attrs.define(eq=False)
class OpenCall:
    """``todo`` are the pieces not written yet; ``good`` whether they make a request together."""

    fd: int
    call: Call
    x: np.ndarray
    y: np.ndarray
    todo: list[bytes]
    good: bool
    dirty: bool = False


@attrs.define(eq=False)
class Talk:
    """An open ``call`` with the replies that are still to come."""

    fd: int
    program: Source
    encode: Callable[..., bytes]
    replies: deque[bytes] = attrs.field(factory=deque)


class Machine(RuleBasedStateMachine):
    """One mount serves all examples; ``teardown`` leaves it empty."""

    mount: Mount
    victims: Victims

    def __init__(self) -> None:
        super().__init__()
        self.reference = Reference()
        self.sources: list[OpenSource] = []
        self.open_calls: list[OpenCall] = []
        self.talks: list[Talk] = []
        self.held: list[tuple[int, bytes]] = []

    def path(self, name: str) -> Path:
        return self.mount.path / "programs" / name

    def result(self, name: str) -> Path:
        return self.mount.path / "results" / name

    @property
    def health(self) -> dict[str, str]:
        return self.mount.keyed("health")

    def same(self, found: int, expected: int) -> None:
        assert found == expected, f"{name_of(found)} instead of {name_of(expected)}"

    @initialize(factor=st.sampled_from(FACTORS))
    def begin_with_a_program(self, factor: str) -> None:
        self.save("a.mlir", factor)

    # sources and staging files

    @rule(name=st.sampled_from(NAMES), flags=st.sampled_from([0, os.O_TRUNC, os.O_APPEND]))
    def open_source(self, name: str, flags: int) -> None:
        access = os.O_RDWR if flags == 0 else os.O_WRONLY
        found, fd = attempt(os.open, self.path(name), access | os.O_CREAT | flags, 0o644)
        expected, writer = self.reference.open(
            name, truncates=bool(flags & os.O_TRUNC), appends=bool(flags & os.O_APPEND)
        )
        self.same(found, expected)
        if fd is not None and writer is not None:
            self.sources.append(OpenSource(fd, writer, readable=access == os.O_RDWR))

    def pick_source(self, data: st.DataObject) -> OpenSource:
        return data.draw(st.sampled_from(self.sources), "open source")

    @precondition(lambda self: self.sources)
    @rule(data=st.data(), piece=st.sampled_from(PIECES), cut=st.integers(0, 400))
    def write_piece(self, data: st.DataObject, piece: bytes, cut: int) -> None:
        opened = self.pick_source(data)
        end = len(opened.writer.data)
        offset = data.draw(st.sampled_from([0, end, min(cut, end), end + 3]), "offset")
        part = piece[min(offset, cut) :] if offset < len(piece) else piece
        os.pwrite(opened.fd, part, offset)
        if part:
            opened.writer.write(offset, part)

    @precondition(lambda self: self.sources)
    @rule(data=st.data(), less=st.sampled_from([1000, 9, 1, 0, -2]))
    def truncate_open(self, data: st.DataObject, less: int) -> None:
        opened = self.pick_source(data)
        size = max(0, len(opened.writer.data) - less)
        os.ftruncate(opened.fd, size)
        opened.writer.truncate(size)

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def read_open(self, data: st.DataObject) -> None:
        opened = self.pick_source(data)
        if opened.readable:
            assert os.pread(opened.fd, 1 << 16, 0) == opened.writer.data

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def sync_source(self, data: st.DataObject) -> None:
        opened = self.pick_source(data)
        found, _ = attempt(os.fsync, opened.fd)
        self.same(found, opened.writer.commit())

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def close_source(self, data: st.DataObject) -> None:
        opened = self.pick_source(data)
        self.sources.remove(opened)
        found, _ = attempt(os.close, opened.fd)
        self.same(found, opened.writer.commit())

    @rule(name=st.sampled_from(NAMES), factor=st.sampled_from(FACTORS))
    def save_whole(self, name: str, factor: str) -> None:
        self.save(name, factor)

    def save(self, name: str, factor: str) -> None:
        found, _ = attempt(self.path(name).write_bytes, source(factor))
        expected, writer = self.reference.open(name, truncates=True, appends=False)
        if writer is not None:
            writer.write(0, source(factor))
            expected = writer.commit()
        self.same(found, expected)

    @rule(name=st.sampled_from(NAMES), less=st.sampled_from([1000, 9, 1, 0, -2]))
    def truncate_path(self, name: str, less: int) -> None:
        file = self.reference.files.get(name)
        size = max(0, len(file.content) - less) if file else 0
        found, _ = attempt(os.truncate, self.path(name), size)
        if file is None:
            self.same(found, errno.ENOENT)
            return
        writer = Writer(file, bytearray(file.content), appends=False, dirty=False)
        writer.truncate(size)
        self.same(found, writer.commit())

    def settle(self, name: str) -> None:
        """Waits for the compile of a staging file: a rename reports what has ended."""

        def is_compiling() -> bool:
            try:
                return os.getxattr(self.path(name), "user.jaxfs.state") == b"compiling"
            except OSError:
                return False

        eventually(lambda: not is_compiling())

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, old: str, new: str) -> None:
        self.settle(old)
        found, _ = attempt(os.rename, self.path(old), self.path(new))
        self.same(found, self.reference.rename(old, new, replace=True))

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def move_without_replacing(self, old: str, new: str) -> None:
        for opened in self.sources:  # the shell is a child, in which the open files are closed
            if opened.writer.target.plain:
                opened.writer.commit()
        self.mount.sh("true")
        self.settle(old)
        self.mount.sh(f"mv -n programs/{old} programs/{new}", check=False)  # is silent about EEXIST
        if old != new:
            self.reference.rename(old, new, replace=False)

    @rule(name=st.sampled_from(NAMES))
    def unlink(self, name: str) -> None:
        found, _ = attempt(os.unlink, self.path(name))
        self.same(found, self.reference.unlink(name))

    @rule(name=st.sampled_from(NAMES), mode=st.sampled_from([0o600, 0o644, 0o755]))
    def chmod(self, name: str, mode: int) -> None:
        found, _ = attempt(os.chmod, self.path(name), mode)
        file = self.reference.files.get(name)
        self.same(found, 0 if file else errno.ENOENT)
        if file is not None:
            file.mode = mode & 0o666

    @rule(name=st.sampled_from(NAMES))
    def kill_writer(self, name: str) -> None:
        _, writer = self.reference.open(name, truncates=True, appends=False)
        self.victims.write_and_die(self.path(name), source("2")[:100])
        if writer is None:
            return
        if writer.target.plain:
            writer.write(0, source("2")[:100])
            writer.commit()
        elif writer.target.is_new and not self.has_writer(writer.target):
            self.reference.unlink(name)

    def has_writer(self, target: Source) -> bool:
        return any(opened.writer.target is target for opened in self.sources)

    # calls and results

    def pick_program(self, data: st.DataObject) -> str:
        """Mostly one that is there."""
        there = [name for name, file in self.reference.files.items() if not file.plain]
        return stem(data.draw(st.sampled_from([*there, *there, SOURCES[-1]]), "program"))

    @rule(
        data=st.data(),
        call_id=st.sampled_from(IDS),
        form=st.sampled_from(sorted(FORMATS)),
        x=NUMBERS,
        y=NUMBERS,
    )
    def call_at_once(
        self, data: st.DataObject, call_id: str, form: str, x: np.ndarray, y: np.ndarray
    ) -> None:
        if call_id in self.reference.results():
            self.remove_result(call_id)
        self.open_call(data, call_id, form, x, y, good=True)
        if self.open_calls and self.open_calls[-1].x is x:
            self.close_call(self.open_calls[-1], whole=True)

    @rule(
        data=st.data(),
        call_id=st.sampled_from(IDS),
        form=st.sampled_from(sorted(FORMATS)),
        x=NUMBERS,
        y=NUMBERS,
        good=st.booleans(),
    )
    def begin_call(
        self,
        data: st.DataObject,
        call_id: str,
        form: str,
        x: np.ndarray,
        y: np.ndarray,
        good: bool,
    ) -> None:
        self.open_call(data, call_id, form, x, y, good)

    def open_call(
        self,
        data: st.DataObject,
        call_id: str,
        form: str,
        x: np.ndarray,
        y: np.ndarray,
        good: bool,
    ) -> None:
        name = self.pick_program(data)
        encode, suffix = FORMATS[form]
        where = self.path(name) / "calls" / (call_id + suffix)
        found, fd = attempt(os.open, where, os.O_WRONLY | os.O_CREAT, 0o644)
        program = self.reference.program(name)
        if program is None:
            self.same(found, errno.ENOENT)
            return
        expected, call = self.reference.open_call(program, call_id, suffix)
        self.same(found, expected)
        if fd is None or call is None:
            return
        good = good and suffix == call.suffix
        request = encode(x, y) if good else encode(x)
        half = len(request) // 2
        self.open_calls.append(OpenCall(fd, call, x, y, [request[:half], request[half:]], good))

    def pick_call(self, data: st.DataObject) -> OpenCall:
        return data.draw(st.sampled_from(self.open_calls), "open call")

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def write_input(self, data: st.DataObject) -> None:
        opened = self.pick_call(data)
        if opened.todo:
            os.write(opened.fd, opened.todo.pop(0))
            opened.dirty = True

    def commit_call(self, opened: OpenCall) -> int:
        if not opened.dirty:
            return 0
        opened.dirty = False
        complete = opened.good and not opened.todo
        return self.reference.submit(opened.call, opened.x, opened.y, complete=complete)

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data(), whole=st.booleans())
    def close_any_call(self, data: st.DataObject, whole: bool) -> None:
        self.close_call(self.pick_call(data), whole=whole)

    def close_call(self, opened: OpenCall, *, whole: bool) -> None:
        self.open_calls.remove(opened)
        while whole and opened.todo:
            os.write(opened.fd, opened.todo.pop(0))
            opened.dirty = True
        found, _ = attempt(os.close, opened.fd)
        self.same(found, self.commit_call(opened))

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def sync_call(self, data: st.DataObject) -> None:
        opened = self.pick_call(data)
        found, _ = attempt(os.fsync, opened.fd)
        self.same(found, self.commit_call(opened))

    @rule(call_id=st.sampled_from(IDS), view=st.sampled_from(sorted(VIEWS)))
    def read_result(self, call_id: str, view: str) -> None:
        """Submitted, refused or not there."""
        found, data = attempt(self.result(call_id + view).read_bytes)
        call = self.reference.calls.get(call_id)
        if call is not None and call.answer is not None:
            assert data == VIEWS[view](call.answer)
            assert self.result(call_id + view).stat().st_size == len(data)
        elif call is not None and call.state == "failed" and view not in (".0", ".result"):
            self.same(found, errno.EIO)
        else:
            self.same(found, errno.ENOENT)

    @rule(call_id=st.sampled_from(IDS))
    def read_story(self, call_id: str) -> None:
        found, data = attempt(self.result(f"{call_id}.status").read_text)
        call = self.reference.calls.get(call_id)
        if call is None or call.state == "writing":
            self.same(found, errno.ENOENT)
            return
        if call.answer is not None:
            self.result(call_id).read_bytes()  # waits for it
            data = self.result(f"{call_id}.status").read_text()
        assert data is not None
        assert data.startswith(f"state {call.state}\n")
        assert (self.result(f"{call_id}.error").read_text() == "ok\n") == (call.state == "done")

    @rule(call_id=st.sampled_from(IDS), view=st.sampled_from(sorted(VIEWS)))
    def hold_result(self, call_id: str, view: str) -> None:
        call = self.reference.calls.get(call_id)
        if call is not None and call.answer is not None:
            fd = os.open(self.result(call_id + view), os.O_RDONLY)
            self.held.append((fd, VIEWS[view](call.answer)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def read_held(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held), "held result")
        self.held.remove(held)
        fd, expected = held
        assert os.read(fd, 1 << 16) == expected
        os.close(fd)

    @rule(call_id=st.sampled_from(IDS))
    def remove_any_result(self, call_id: str) -> None:
        self.remove_result(call_id)

    def remove_result(self, call_id: str) -> None:
        found, _ = attempt(os.unlink, self.result(call_id))
        self.same(found, self.reference.remove_result(call_id))

    @rule(call_id=st.sampled_from(IDS))
    def remove_call(self, call_id: str) -> None:
        call = self.reference.calls.get(call_id)
        if call is None or not call.listed or call.program.removed:
            return
        name = next(n for n, file in self.reference.files.items() if file is call.program)
        os.unlink(self.path(stem(name)) / "calls" / (call_id + call.suffix))
        self.reference.remove_call(call_id)

    # conversations

    @rule(data=st.data(), form=st.sampled_from(sorted(FORMATS)))
    def open_talk(self, data: st.DataObject, form: str) -> None:
        name = self.pick_program(data)
        encode, suffix = FORMATS[form]
        found, fd = attempt(os.open, self.path(name) / f"call{suffix}", os.O_RDWR)
        program = self.reference.program(name)
        if program is None:
            self.same(found, errno.ENOENT)
        elif program.factor is None:
            self.same(found, errno.ENOEXEC)
        else:
            assert fd is not None, name_of(found)
            self.talks.append(Talk(fd, program, encode))

    def pick_talk(self, data: st.DataObject) -> Talk:
        return data.draw(st.sampled_from(self.talks), "conversation")

    @precondition(lambda self: self.talks)
    @rule(data=st.data(), x=NUMBERS, y=NUMBERS, cut=st.integers(0, 300))
    def request(self, data: st.DataObject, x: np.ndarray, y: np.ndarray, cut: int) -> None:
        talk = self.pick_talk(data)
        if talk.encode is text and talk.replies:
            return  # a text ends where reading begins
        request = talk.encode(x, y)
        for part in (request[:cut], request[cut:]):
            if part:
                os.write(talk.fd, part)
        factor = talk.program.factor
        assert factor is not None
        answer = talk.encode((factor * x + y).astype(np.float32))
        talk.replies.append(answer + b"\n" if talk.encode is text else answer)
        if talk.encode is text:
            self.read_next(talk)

    def read_next(self, talk: Talk) -> None:
        expected = talk.replies.popleft() if talk.replies else b""
        assert os.read(talk.fd, 1 << 16) == expected

    @precondition(lambda self: self.talks)
    @rule(data=st.data())
    def read_reply(self, data: st.DataObject) -> None:
        self.read_next(self.pick_talk(data))

    @precondition(lambda self: self.talks)
    @rule(data=st.data())
    def bad_request(self, data: st.DataObject) -> None:
        talk = self.pick_talk(data)
        if talk.encode is FORMATS["npy"][0]:
            found, _ = attempt(os.write, talk.fd, talk.encode(np.zeros(3, np.float64)))
            self.same(found, errno.EINVAL)

    @precondition(lambda self: self.talks)
    @rule(data=st.data())
    def close_talk(self, data: st.DataObject) -> None:
        talk = self.pick_talk(data)
        self.talks.remove(talk)
        os.close(talk.fd)

    # accidents

    @rule(rare=RARE)
    def kill_engine(self, rare: bool) -> None:
        if rare:
            eventually(lambda: self.health["engine"] == "ready")
            before = self.health["engine_restarts"]
            os.kill(int(self.health["engine_pid"]), signal.SIGKILL)
            eventually(lambda: self.health["engine_restarts"] != before)

    @rule(rare=RARE)
    def kill_tracer(self, rare: bool) -> None:
        if rare and self.health["tracer"] == "ready":
            os.kill(process_of("jaxfs.compiler", self.mount), signal.SIGKILL)
            eventually(lambda: self.health["tracer"] == "idle")  # the next compile starts another

    @rule(rare=RARE)
    def remount(self, rare: bool) -> None:
        if rare:
            self._close_all()
            self.mount.remount()
            self.reference.remount()

    # after every step

    @invariant()
    def listings_are_the_references(self) -> None:
        assert set(os.listdir(self.path(""))) == self.reference.listing()
        assert set(os.listdir(self.result(""))) == self.reference.results()

    @invariant()
    def files_are_the_references(self) -> None:
        being_written = [opened.writer.target for opened in self.sources]
        for name, file in self.reference.files.items():
            assert self.path(name).read_bytes() == file.content
            found = self.path(name).stat()
            assert found.st_mode & 0o777 == file.mode
            assert file in being_written or found.st_size == len(file.content)
            if not file.plain:
                self._compare_program(self.path(stem(name)), file)

    def _compare_program(self, program: Path, file: Source) -> None:
        status = (program / "status").read_text()
        assert status.startswith("state ready\n" if file.factor is not None else "state failed\n")
        assert (program / "error").read_text().startswith("EINVAL: " if file.error else "ok\n")
        assert set(os.listdir(program / "calls")) == self.reference.calls_of(file)

    def _close_all(self) -> None:
        for opened in self.sources:
            found, _ = attempt(os.close, opened.fd)
            self.same(found, opened.writer.commit())
        for call in self.open_calls:
            found, _ = attempt(os.close, call.fd)
            self.same(found, self.commit_call(call))
        for fd in [talk.fd for talk in self.talks] + [fd for fd, _ in self.held]:
            os.close(fd)
        self.sources, self.open_calls, self.talks, self.held = [], [], [], []

    def teardown(self) -> None:
        """Whatever happened, the next example finds the mount empty."""
        opened = [each.fd for each in self.sources] + [each.fd for each in self.open_calls]
        for fd in opened + [talk.fd for talk in self.talks] + [fd for fd, _ in self.held]:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.mount.empty()
