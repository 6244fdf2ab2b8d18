"""Pickled functions that try to get out of their sandbox.

Each is Python code that runs when the function is traced, in a process that a user's pickle has all
to itself.  Code that gets what it wants raises ``Succeeded``.  ``{secret}`` is a file of the test,
``{mount}`` the mount, ``{front}`` the daemon's pid, ``{port}`` a TCP and UDP port, ``{socket}`` a
Unix socket somebody listens on.
"""

from __future__ import annotations

import textwrap

import attrs

PRELUDE = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
class Succeeded(Exception): pass
def syscall(*numbers):
    if libc.syscall(*numbers) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
"""
SYSCALLS = {  # x86_64
    "keyctl": 250,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "bpf": 321,
    "perf_event_open": 298,
    "process_vm_readv": 310,
    "memfd_secret": 447,
}


@attrs.frozen
class Attack:
    """``waits`` marks those that only the deadline can end; None: memory may end first."""

    name: str
    what: str
    code: str
    waits: bool | None = False

    def source(self, **places: object) -> str:
        """A program that writes the pickle of the attack to its standard output."""
        body = textwrap.indent(textwrap.dedent(self.code).format(**places).strip(), "    ")
        return (
            f"{PRELUDE}\nimport cloudpickle\n"
            f"def attack(x):\n{textwrap.indent(PRELUDE, '    ')}\n{body}\n    return x\n"
            "sys.stdout.buffer.write(cloudpickle.dumps((attack, 1.0)))\n"
        )


def _raw(name: str, *arguments: int) -> Attack:
    numbers = ", ".join(map(str, (SYSCALLS[name], *arguments)))
    return Attack(name, f"call {name}(2)", f"syscall({numbers})\nraise Succeeded")


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "tcp",
        "connect to a TCP port",
        "socket.create_connection(('127.0.0.1', {port}), 2)\nraise Succeeded",
    ),
    Attack(
        "udp",
        "send a datagram",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', {port}))\nraise Succeeded",
    ),
    Attack(
        "unix_socket",
        "connect to a Unix socket",
        "s = socket.socket(socket.AF_UNIX)\ns.connect('{socket}')\nraise Succeeded",
    ),
    Attack("read_file", "read another file", "open('{secret}').read()\nraise Succeeded"),
    Attack("read_passwd", "read /etc/shadow", "open('/etc/shadow').read()\nraise Succeeded"),
    Attack(
        "read_checkout",
        "read what jaxfs runs from, beside its package",
        "for name in ('setup.cfg', 'README.md', '.git/config', '.git/HEAD', '.git'):\n"
        "    try: open(os.path.join('{checkout}', name)).read()\n"
        "    except OSError: continue\n"
        "    raise Succeeded\n"
        "raise PermissionError('nothing can be read')",
    ),
    Attack(
        "list_processes",
        "find out which processes there are",
        "def running(pid):\n"
        "    yield lambda: os.getpgid(pid)\n"
        "    yield lambda: os.getsid(pid)\n"
        "    yield lambda: os.getpriority(os.PRIO_PROCESS, pid)\n"
        "    yield lambda: os.sched_getaffinity(pid)\n"
        "    yield lambda: time.clock_gettime(~pid << 3 | 2)\n"
        "    yield lambda: os.stat(f'/proc/{{pid}}')\n"
        "    yield lambda: os.listdir('/proc').index(str(pid))\n"
        "    yield lambda: syscall(125, (ctypes.c_uint32 * 2)(0x20080522, pid), None)\n"
        "for look in running({front}):\n"
        "    try: look()\n"
        "    except (OSError, ValueError): continue\n"
        "    raise Succeeded\n"
        "raise PermissionError('no process is seen')",
    ),
    Attack(
        "proc_of_others",
        "read the daemon's environment",
        "open('/proc/{front}/environ', 'rb').read()\nraise Succeeded",
    ),
    Attack(
        "memory_of_others",
        "read the parent's memory",
        "open(f'/proc/{{os.getppid()}}/mem', 'rb').read(1)\nraise Succeeded",
    ),
    Attack("write_file", "write a file", "open('{secret}', 'a').write('x')\nraise Succeeded"),
    Attack("create_file", "create a file", "open('{secret}.new', 'w')\nraise Succeeded"),
    Attack("unlink", "remove a file", "os.unlink('{secret}')\nraise Succeeded"),
    Attack("chmod", "change a file's mode", "os.chmod('{secret}', 0o777)\nraise Succeeded"),
    Attack("fork", "fork", "if os.fork() == 0: time.sleep(1000)\nraise Succeeded"),
    Attack(
        "threads",
        "start 3,000 threads",
        "for n in range(3000):\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "raise Succeeded",
    ),
    Attack(
        "memory",
        "take 100 GB",
        "kept = [bytearray(1 << 28) for n in range(400)]\nraise Succeeded",
        waits=None,
    ),
    Attack("spin", "compute for ever", "while True: pass", waits=True),
    Attack("sleep", "sleep for ever", "time.sleep(1e6)", waits=True),
    Attack(
        "unstoppable",
        "ignore every signal and sleep",
        "for n in range(1, 32):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: time.sleep(1)",
        waits=True,
    ),
    Attack("stop_itself", "SIGSTOP itself", "os.kill(os.getpid(), signal.SIGSTOP)", waits=True),
    Attack("kill", "kill the daemon", "os.kill({front}, signal.SIGKILL)\nraise Succeeded"),
    Attack("kill_all", "kill everybody", "os.kill(-1, signal.SIGKILL)\nraise Succeeded"),
    Attack("kill_parent", "kill its parent", "os.kill(os.getppid(), 9)\nraise Succeeded"),
    Attack("ptrace", "trace its parent", "syscall(101, 16, os.getppid(), 0, 0)\nraise Succeeded"),
    Attack(
        "renice",
        "slow the daemon down",
        "os.setpriority(os.PRIO_PROCESS, {front}, 19)\nraise Succeeded",
    ),
    Attack("exec", "become a shell", "os.execv('/bin/sh', ['sh', '-c', 'sleep 1000'])"),
    Attack("shell", "run a command", "subprocess.run('id', shell=True)\nraise Succeeded"),
    Attack(
        "daemon",
        "leave a process behind",
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: time.sleep(1000)\n"
        "    os._exit(0)\n"
        "raise Succeeded",
    ),
    Attack("read_mount", "read a file of the mount", "open('{mount}/README')\nraise Succeeded"),
    Attack("stat_mount", "look at the mount", "os.listdir('{mount}')\nraise Succeeded"),
    Attack(
        "garbage",
        "write garbage to every descriptor",
        "for fd in range(100):\n"
        "    try: os.write(fd, b'garbage' * 100)\n"
        "    except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack(
        "print_200mb",
        "print 200 MB",
        "block = 'x' * (1 << 20)\nfor n in range(200): print(block, flush=True)\n"
        "raise RuntimeError('nobody kept what was printed')",
    ),
    Attack(
        "forge",
        "answer in the tracer's place, with files that are none",
        "from jaxfs.compiler.job_protocol import Traced\n"
        "from jaxfs.types.signature import Signature\n"
        "import msgspec, array\n"
        "data = msgspec.msgpack.encode(Traced('forged', Signature((), ()), ()))\n"
        "r, w = os.pipe()\n"
        "for fd in range(3, 100):\n"
        "    try:\n"
        "        s = socket.socket(fileno=os.dup(fd))\n"
        "        rights = array.array('i', [r, r])\n"
        "        s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])\n"
        "    except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack("exit", "end without an answer", "os._exit(0)"),
    Attack("segfault", "crash", "ctypes.string_at(0)\nraise Succeeded"),
    Attack("unshare", "make a user namespace", "syscall(272, 0x10000000)\nraise Succeeded"),
    Attack(
        "setuid",
        "become root",
        "os.setresuid(0, 0, 0)\nopen('{secret}').read()\nraise Succeeded",
    ),
    Attack(
        "more_memory",
        "raise its own limits",
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)\n"
        "raise Succeeded",
    ),
    Attack(
        "memfd_exec",
        "run a program from memory",
        "fd = os.memfd_create('x')\n"
        "os.write(fd, b'#!/bin/sh\\nsleep 1000\\n')\n"
        "os.execve(fd, ['x'], {{}})\nraise Succeeded",
    ),
    Attack(
        "mount_something",
        "mount a file system",
        "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) and syscall(165, 0, 0, 0, 0, 0)\n"
        "raise Succeeded",
    ),
    _raw("keyctl", 0, -3, 1),
    _raw("userfaultfd", 1),
    _raw("io_uring_setup", 8, 0),
    _raw("bpf", 0, 0, 0),
    _raw("perf_event_open", 0, 0, -1, -1, 0),
    _raw("process_vm_readv", 1, 0, 0, 0, 0, 0),
)
