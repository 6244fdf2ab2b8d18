"""Runs code in the real sandbox, for tests: ``python -m tests.compiler.sandbox_runner LIMITS``.

Each line of standard input is a request, as JSON.  For each it forks, enters the sandbox, runs the
code, and writes a line with the exit status and the output.  It is a process of its own because
``prepare`` moves it into other namespaces irrevocably.
"""

from __future__ import annotations

import os
import sys
import traceback

import msgspec

from jaxfs.compiler import sandbox


class Request(msgspec.Struct):
    """Code to run, the user to become, the layers left out, whether it may start programs."""

    code: str
    user: tuple[int, int] | None = None
    without: tuple[str, ...] = ()
    runs_tools: bool = False


class Ending(msgspec.Struct):
    """The exit code or minus the signal, 0 if the code raised nothing; and what it printed."""

    status: int
    output: str


def main() -> None:
    limits = msgspec.json.decode(sys.argv[1], type=sandbox.Limits)
    box = sandbox.prepare(limits)
    _send(box.layers)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            _attempt(_without(box, request.without), request, parent)
        os.close(writer)
        with open(reader, errors="replace") as file:
            output = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        box.forget(pid)
        _send(Ending(status, output))


def _without(box: sandbox.Sandbox, without: tuple[str, ...]) -> sandbox.Sandbox:
    layers = tuple(layer for layer in box.layers if layer.partition(":")[0] not in without)
    ruleset = None if "landlock" in without else box.ruleset
    return msgspec.structs.replace(box, layers=layers, ruleset=ruleset)


def _attempt(box: sandbox.Sandbox, request: Request, parent: int) -> None:
    try:
        user = sandbox.job_user(*(request.user or (None, None)))
        box.enter(user, parent, runs_tools=request.runs_tools)
        exec(request.code, {})
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _send(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
