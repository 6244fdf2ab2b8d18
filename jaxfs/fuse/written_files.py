"""Whether a process that closes a file leaves it written to its end.

The kernel flushes a file whenever a descriptor of it is closed: by its writer, by a child that
inherited it, or because a signal killed the writer in the middle.
"""

from __future__ import annotations

import os
from pathlib import Path

from jaxfs.fuse.interrupts import STAT_FLAGS, RequestInfo, has_memory, task_stat
from jaxfs.vfs.open_files.base import OpenFile

PF_SIGNALED = 0x400  # linux/sched.h
STAT_EXIT_CODE = 52 - 3  # a field of proc_pid_stat(5), counted from the third


def leaves_whole(request: RequestInfo, file: OpenFile) -> bool:
    """Returns whether a flush may commit what was written; notes that its writer was killed.

    Half a program is no program.
    """
    if was_killed(request):
        if has_finished_writing(request.pid, file.writer):
            file.is_half_written = True
        return False
    if file.is_half_written:
        return False
    return not file.is_dirty() or has_finished_writing(request.pid, file.writer)


def was_killed(request: RequestInfo) -> bool:
    """Returns whether a signal killed the process whose thread sends a request.

    The kernel ends the other threads of a process that exits by a signal, too, and one of them may
    be the last to close its files.  So the exit code counts: that of the whole process.  It is
    shown to root and to the process's user; for others the mark of the thread has to do.
    """
    stat = task_stat(request.pid)
    if not stat or not int(stat[STAT_FLAGS]) & PF_SIGNALED:
        return False
    if os.geteuid() not in (0, request.uid):
        return True
    return bool(int(stat[STAT_EXIT_CODE]) & 0x7F)  # the signal, as of waitpid(2)


def has_finished_writing(pid: int, writer: int) -> bool:
    """Returns whether a file that a thread closes is written to its end.

    It is not if the thread that wrote last belongs to another process that continues: a program
    that starts another one while it writes closes the file in the child, and the kernel flushes it
    there.

    Args:
        pid: The thread that closes the file.
        writer: The thread that wrote last; 0 if unknown.
    """
    if writer in (0, pid) or Path(f"/proc/{pid}/task/{writer}").exists():
        return True
    return not has_memory(writer)
