"""Runs code in the real sandbox, for tests: ``python -m tests.compiler.jail``.

One request a line on standard input: code, the user to be, layers to leave out.  For each it forks,
enters and runs, and answers with how that ended and what was printed.  A process of its own,
because ``prepare`` moves it into a room for ever.
"""

from __future__ import annotations

import os
import sys
import traceback

import msgspec

from jaxfs.compiler import sandbox


class Request(msgspec.Struct):
    code: str
    user: tuple[int, int] | None = None
    without: tuple[str, ...] = ()


class Ending(msgspec.Struct):
    """``status`` is 0 where the code ran through, else an exit code or minus a signal."""

    status: int
    words: str


def main() -> None:
    limits = msgspec.json.decode(sys.argv[1], type=sandbox.Limits)
    box = sandbox.prepare(limits)
    _say(box.layers)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            _attempt(_less(box, request.without), request, parent)
        os.close(writer)
        with open(reader, errors="replace") as file:
            words = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _say(Ending(status, words))


def _less(box: sandbox.Sandbox, without: tuple[str, ...]) -> sandbox.Sandbox:
    layers = tuple(layer for layer in box.layers if layer.partition(":")[0] not in without)
    ruleset = None if "landlock" in without else box.ruleset
    return msgspec.structs.replace(box, layers=layers, ruleset=ruleset)


def _attempt(box: sandbox.Sandbox, request: Request, parent: int) -> None:
    try:
        box.enter(sandbox.job_user(*(request.user or (None, None))), parent)
        exec(request.code, {})
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _say(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
