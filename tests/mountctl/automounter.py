"""An automounter for one name: ``python -m tests.mountctl.automounter DIRECTORY STATE_DIR``.

It does what automount(8) does with ``jax -fstype=jaxfs :none``, by the protocol of the kernel
(Documentation/filesystems/autofs.rst): mounts an autofs on the directory, waits until a process of
another group walks into ``jax``, runs mount.jaxfs in its own group, and lets the process go on.
What the mount's ``version`` shows is printed, twice, with an unmount in between.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

READY, FAIL, CATATONIC = 0x9360, 0x9361, 0x9362  # AUTOFS_IOC_*, linux/auto_fs.h
PACKET = struct.Struct("=iiIIQIIIII")  # autofs_v5_packet, without the name at its end
HELPER = [sys.executable, "-m", "mountctl.helper"]
LIMIT_S = 50  # automount(8) waits 60 s


def mount_autofs(directory: Path) -> int:
    """Returns the reading end of the pipe on which the kernel asks for mounts."""
    reader, writer = os.pipe()
    options = f"fd={writer},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"test", bytes(directory), b"autofs", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.close(writer)
    return reader


def answer(request: bytes, control: int, directory: Path, state_dir: str) -> None:
    """Mounts the name that the kernel asks for, or reports that this failed."""
    _, _, token, *_, length = PACKET.unpack_from(request)
    place = directory / request[PACKET.size :][:length].decode()
    place.mkdir()
    try:
        command = [*HELPER, "mount", "none", str(place), "-o", f"state_dir={state_dir}"]
        done = subprocess.run(command, timeout=LIMIT_S, check=False)
        fcntl.ioctl(control, FAIL if done.returncode else READY, token)
    except subprocess.TimeoutExpired:
        fcntl.ioctl(control, FAIL, token)
        sys.exit("mount.jaxfs hangs")


def main(directory: Path, state_dir: str) -> None:
    os.setpgid(0, 0)
    requests = mount_autofs(directory)
    control = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(2):
            command = ["cat", str(directory / "jax/version")]
            with subprocess.Popen(command, start_new_session=True) as client:
                answer(os.read(requests, 4096), control, directory, state_dir)
                client.wait(LIMIT_S)
            subprocess.run([*HELPER, "umount", str(directory / "jax")], timeout=60, check=True)
            (directory / "jax").rmdir()
    finally:
        fcntl.ioctl(control, CATATONIC)
        os.close(control)
        subprocess.run(["umount", "-l", str(directory)], check=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
