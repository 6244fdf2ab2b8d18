"""``python -m tests.soak.attacks MOUNT UID SECONDS ATTACK...``: one user does all of them at once.

Started by root; each attack is a process of that user.  Prints ``ready``, begins when a line comes
on standard input, and prints a JSON object in the end: how many steps succeeded, and how many were
refused, by errno.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from tests.soak.attacks import ALL
from tests.soak.attacks.attacker import Attacker

GRACE_S = 15.0  # for a step that the mount still works on


def main(mount: str, uid: int, seconds: float, names: list[str]) -> None:
    """Returns when all attacks have ended; processes that the mount does not let go may be left."""
    outcomes: Counter[str] = Counter()
    print("ready", flush=True)
    sys.stdin.readline()
    processes = [_start(Path(mount), uid, seconds, name) for name in names]
    for pid, pipe in processes:
        with os.fdopen(pipe) as outcome:
            text = outcome.readline()  # not to its end: children of the attack may hold it open
        outcomes.update(json.loads(text) if text else {"killed": 1})
        os.killpg(pid, signal.SIGKILL)
    print(json.dumps(outcomes), flush=True)


def _start(mount: Path, uid: int, seconds: float, name: str) -> tuple[int, int]:
    """Starts one attack; returns its pid and a pipe with its outcome."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    os.setsid()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    attacker = Attacker(mount, f"a{uid}_{name.replace('-', '_')}", seconds)
    thread = threading.Thread(target=ALL[name].run, args=(attacker,), daemon=True)
    thread.start()
    thread.join(seconds + GRACE_S)
    outcome = {"succeeded": attacker.succeeded, **attacker.refused, "stuck": int(thread.is_alive())}
    os.write(writer, json.dumps(outcome).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
