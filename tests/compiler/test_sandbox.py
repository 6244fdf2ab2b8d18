"""Each layer of the sandbox bites, alone where it can be; what a job needs gets through.

Attacks from real pickles, through a mount, are in tests/hostile/test_attacks.py.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jaxfs.compiler.sandbox import Limits, import_paths, missing
from jaxfs.compiler.sandbox.syscall_table import numbers
from tests.compiler.sandbox_runner import Ending, Request

ROOT = Path(__file__).parents[2]
LIMITS = Limits(memory_bytes=1 << 30, file_bytes=1 << 20, cpu_s=60)
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be others")
needs_layers = pytest.mark.skipif(not numbers(), reason="no filter for this machine")
SYSCALL = "import ctypes; ctypes.CDLL(None).syscall({})"


class SandboxRunner:
    """A process that runs code in the sandbox."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.compiler.sandbox_runner", msgspec.json.encode(LIMITS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self.layers: tuple[str, ...] = self._receive(tuple[str, ...])

    def run(self, code: str, **options: Any) -> Ending:
        """Options are the fields of Request but ``code``."""
        assert self._process.stdin
        self._process.stdin.write(msgspec.json.encode(Request(code, **options)) + b"\n")
        self._process.stdin.flush()
        ending: Ending = self._receive(Ending)
        return ending

    def _receive(self, kind: Any) -> Any:
        assert self._process.stdout
        return msgspec.json.decode(self._process.stdout.readline(), type=kind)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def runner() -> Iterator[SandboxRunner]:
    runner = SandboxRunner()
    yield runner
    runner.close()


def needs(runner: SandboxRunner, layer: str) -> None:
    if not any(found.startswith(layer) for found in runner.layers):
        pytest.skip(f"this machine offers no {layer}")


def test_needed_layers_are_reported() -> None:
    assert missing(("rlimits", "landlock:7")) == ["seccomp"]
    assert missing(("landlock:1", "seccomp", "uid")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import socket; socket.socket()",
        "import socket; socket.socketpair()",
        "import os; os.pipe()",
        "import os; os.memfd_create('x')",
        "import os; os.kill(1, 0)",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.getpgid(os.getppid())",
        "import os; os.getsid(1)",
        "import os; os.getpriority(os.PRIO_PROCESS, os.getppid())",
        "import os; os.getpriority(os.PRIO_USER, 0)",
        "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
        "import os; os.sched_rr_get_interval(1)",
        "import os, time; time.clock_gettime(~os.getppid() << 3 | 2)",
        "import os; os.setsid()",
        "import os; os.setpriority(os.PRIO_USER, 0, 5)",
        "import os; os.sched_setaffinity(0, {0})",
        "import fcntl; fcntl.flock(0, fcntl.LOCK_EX)",
        "import fcntl, os; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "import mmap; mmap.mmap(-1, 4096)",
        "import os; os.chmod('/', 0o777)",
    ],
)
@needs_layers
def test_refused_call_is_an_os_error_by_the_filter_alone(runner: SandboxRunner, code: str) -> None:
    ending = runner.run(code, without=("landlock", "uid", "userns"))
    assert ending.status == 1
    assert "Operation not permitted" in ending.output


@pytest.mark.parametrize(
    "name",
    [
        *("ptrace", "keyctl", "userfaultfd", "unshare", "setns", "mount", "bpf", "kexec_load"),
        *("io_uring_setup", "perf_event_open", "process_vm_readv", "pidfd_open", "memfd_secret"),
    ],
)
@needs_layers
def test_call_that_only_attacks_make_ends_the_job(runner: SandboxRunner, name: str) -> None:
    number = numbers()[name]
    assert runner.run(SYSCALL.format(f"{number}, 0, 0, 0, 0, 0")).status == -31


@needs_layers
def test_other_numbering_of_system_calls_ends_the_job(runner: SandboxRunner) -> None:
    """x32's getpid(2); on other machines no such number exists, which kills as well."""
    assert runner.run(SYSCALL.format(0x40000000 + 39)).status == -31


def test_landlock_alone_lets_nothing_else_be_read_or_written(runner: SandboxRunner) -> None:
    needs(runner, "landlock")
    for code in ("open('/x', 'w')", "import os; os.listdir('/')", "import os; os.mkdir('/x')"):
        ending = runner.run(code, without=("seccomp",))
        assert ending.status == 1
        assert "Permission denied" in ending.output or "Read-only" in ending.output


def test_landlock_alone_keeps_signals_and_connections_in(runner: SandboxRunner) -> None:
    if "landlock:7" not in runner.layers and "landlock:6" not in runner.layers:
        pytest.skip("this kernel's Landlock does not know of signals")
    only = {"without": ("seccomp", "uid", "userns")}
    for code in (
        "import os; os.kill(os.getppid(), 0)",
        "import socket; socket.create_connection(('127.0.0.1', 1))",
    ):
        ending = runner.run(code, **only)
        assert ending.status == 1
        assert "not permitted" in ending.output or "Permission denied" in ending.output


def test_room_holds_nothing_but_modules(runner: SandboxRunner) -> None:
    needs(runner, "mountns")
    code = (
        "import os\n"
        "for path in ('/home', '/root/.bashrc', '/etc/passwd', '/proc/self/fd', '/run', '/old'):\n"
        "    assert not os.path.lexists(path), path\n"
        "assert os.statvfs('/usr/lib').f_flag & os.ST_RDONLY\n"
    )
    assert runner.run(code, without=("landlock", "seccomp")) == Ending(0, "")


def test_room_has_no_network(runner: SandboxRunner) -> None:
    needs(runner, "netns")
    code = (
        "import socket\n"
        "assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
        "try: socket.create_connection(('127.0.0.1', 1), 1)\n"
        "except OSError as error: print(error.errno)"
    )
    ending = runner.run(code, without=("landlock", "seccomp"))
    assert ending == Ending(0, "101\n")  # ENETUNREACH: even the loopback is down


def test_modules_are_imported_late_by_any_user(runner: SandboxRunner) -> None:
    code = "import xml.dom.minidom, sqlite3, numpy.polynomial; import msgspec; print('here')"
    assert runner.run(code) == Ending(0, "here\n")


@pytest.fixture(scope="module")
def tool_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToolRunner]:
    runner = ToolRunner(tmp_path_factory.mktemp("sandbox") / "cuda")
    yield runner
    runner.close()


class ToolRunner(SandboxRunner):
    """A runner on a machine with CUDA, whose assembler prints its arguments."""

    def __init__(self, root: Path) -> None:
        (root / "bin").mkdir(parents=True)
        self.ptxas = root / "bin/ptxas"
        shutil.copy("/bin/echo", self.ptxas)
        (root / "jax_plugins/xla_cuda13").mkdir(parents=True)
        paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        super().__init__(XLA_FLAGS=f"--xla_gpu_cuda_data_dir={root}", PYTHONPATH=paths)

    def spawn(self, program: str | Path, *, runs_tools: bool = True) -> Ending:
        """Starts a program as XLA does, and raises what that raises."""
        code = (
            "import os\n"
            f"pid = os.posix_spawn({str(program)!r}, ['x', 'assembled'], {{}})\n"
            "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
        )
        return self.run(code, runs_tools=runs_tools)


@needs_layers
def test_a_gpu_compile_starts_the_assembler_and_no_other_program(tool_runner: ToolRunner) -> None:
    assert tool_runner.spawn(tool_runner.ptxas) == Ending(0, "assembled\n")
    needs(tool_runner, "landlock")
    other = next(Path("/lib").glob("*-linux-gnu/libc.so.6"))  # can be executed
    assert "PermissionError" in tool_runner.spawn(other).output


@needs_layers
def test_other_jobs_start_not_even_the_assembler(tool_runner: ToolRunner) -> None:
    ending = tool_runner.spawn(tool_runner.ptxas, runs_tools=False)
    assert ending.status == 1
    assert "PermissionError" in ending.output


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.setsid()",
        "import os; os.setpgid(0, 0)",
        "import socket; socket.socket()",
        "import os; os.kill(os.getppid(), 9)",
    ],
)
@needs_layers
def test_a_gpu_compile_gets_no_other_rights(tool_runner: ToolRunner, code: str) -> None:
    ending = tool_runner.run(code, runs_tools=True)
    assert ending.status == 1
    assert "Operation not permitted" in ending.output


def test_a_gpu_compile_writes_to_a_directory_of_its_own_only(tool_runner: ToolRunner) -> None:
    needs(tool_runner, "landlock")
    needs(tool_runner, "mountns")
    code = (
        "import os\n"
        "own = os.environ['TMPDIR']\n"
        "open(f'{own}/a.ptx', 'w').write('kernel'); open('/dev/null', 'r+b')\n"
        "open(f'{own}/b.cubin', 'w'); os.unlink(f'{own}/b.cubin')\n"
        "print(os.listdir(own))\n"
        "for other in ('/scratch/x', '/lib/x', '/x'):\n"
        "    try: open(other, 'w')\n"
        "    except OSError: print('refused')\n"
    )
    ending = tool_runner.run(code, runs_tools=True)
    assert ending == Ending(0, "['a.ptx']\n" + "refused\n" * 3)
    count = "import os; print(os.stat('/scratch').st_nlink)"  # 2 and one for each directory in it
    assert tool_runner.run(count, without=("landlock", "seccomp")).output == "2\n"


@needs_root
def test_job_runs_as_the_user_of_the_request_and_never_as_root(runner: SandboxRunner) -> None:
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"
    for user, uid, gid in ((None, 65534, 65534), ((0, 0), 65534, 65534), ((1234, 56), 1234, 56)):
        ending = runner.run(code, user=user, without=("userns",))
        assert ending.output == f"{(uid,) * 3} {(gid,) * 3} []\n"


def test_job_has_no_capabilities_even_in_its_namespace(runner: SandboxRunner) -> None:
    code = (
        "import ctypes\n"
        "header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "assert ctypes.CDLL(None).capget(header, sets) == 0\n"
        "print(list(sets))"
    )
    assert runner.run(code, without=("seccomp",)) == Ending(0, "[0, 0, 0, 0, 0, 0]\n")


@pytest.mark.parametrize(
    "code",
    [
        "bytearray(100 << 30)",
        "import mmap; mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE)",
        "import mmap; mmap.mmap(-1, 1 << 45, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)",
        "import mmap; mmap.mmap(-1, 1 << 30)",  # shared: by the filter
        "import resource as r; r.setrlimit(r.RLIMIT_DATA, (r.RLIM_INFINITY,) * 2)",
        "import os; [os.dup(0) for _ in range(100)]",
    ],
)
@needs_layers
def test_limit_is_kept(runner: SandboxRunner, code: str) -> None:
    ending = runner.run(code)
    assert ending.status == 1
    assert any(
        words in ending.output
        for words in ("MemoryError", "Cannot allocate", "not permitted", "not allowed", "Too many")
    )


@pytest.mark.parametrize("without", [(), ("userns",)])
def test_threads_are_bounded(runner: SandboxRunner, without: tuple[str, ...]) -> None:
    if os.getuid() and "userns" not in runner.layers:
        pytest.skip("counts all of this user's threads")
    code = (
        "import threading\n"
        "stop = threading.Event()\n"
        "for n in range(3000):\n"
        "    try: threading.Thread(target=stop.wait, daemon=True).start()\n"
        "    except RuntimeError: break\n"
        "print(n)\n"
    )
    ending = runner.run(code, without=without)
    bound = 64 + 16 * (os.cpu_count() or 1)
    assert ending.status == 0
    assert 16 <= int(ending.output) <= bound + 64  # others of this user may come and go


@needs_layers
def test_job_may_end_itself_and_its_exit_status_is_reported(runner: SandboxRunner) -> None:
    assert runner.run("import os; os.abort()").status == -6
    assert runner.run("import os; os.kill(os.getpid(), 15)").status == -15
    assert runner.run("import ctypes; ctypes.string_at(0)").status == -11
    assert runner.run("import os; os._exit(7)").status == 7


@needs_layers
def test_what_python_and_compilers_need_gets_through(runner: SandboxRunner) -> None:
    code = (
        "import mmap, os, threading, time, random, select\n"
        "mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE, prot=7)\n"
        "done = threading.Event()\n"
        "threading.Thread(target=done.set).start()\n"
        "assert done.wait(60)\n"
        "time.sleep(0.001); os.urandom(4); os.sched_getaffinity(0); os.cpu_count()\n"
        "os.setpriority(os.PRIO_PROCESS, 0, 10); select.poll()\n"
        "open('/dev/urandom', 'rb').read(1)\n"
    )
    assert runner.run(code) == Ending(0, "")


PROBES = {
    "kill": (0,),
    "tgkill": (1, 0),
    "getpgid": (),
    "getsid": (),
    "getpriority": (),
    "sched_getscheduler": (),
    "sched_getparam": ("word",),
    "sched_getaffinity": (8, "word"),
    "prlimit64": (0, 0, "word"),
    "capget": ("word",),  # its pid is in memory
    "clock_gettime": ("word",),
    "clock_getres": ("word",),
}


@needs_layers
def test_no_call_shows_which_processes_there_are(runner: SandboxRunner) -> None:
    """Numbers of others get the same answer, in use (the parent's, init's) or not."""
    calls = {name: (numbers().get(name), rest) for name, rest in PROBES.items()}
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def probe(name, number, first, rest):\n"
        "    words = {'word': (ctypes.c_uint64 * 8)()}\n"
        "    if name == 'capget': first = (ctypes.c_uint32 * 2)(0x20080522, first)\n"
        "    ctypes.set_errno(0)\n"
        "    return libc.syscall(number, first, *(words.get(w, w) for w in rest)), "
        "ctypes.get_errno()\n"
        f"for name, (number, rest) in {calls}.items():\n"
        "    pids = (1, os.getppid(), (1 << 22) - 1)\n"
        "    clocks = [ctypes.c_int(~pid << 3 | 2) for pid in pids]\n"
        "    first = clocks if name.startswith('clock') else pids\n"
        "    found = {probe(name, number, one, rest) for one in first if number}\n"
        "    assert len(found) <= 1, (name, found)\n"
    )
    assert runner.run(code, without=("landlock", "uid", "userns")) == Ending(0, "")


def test_no_path_shows_which_processes_there_are(runner: SandboxRunner) -> None:
    needs(runner, "mountns")
    code = (
        "import os\n"
        "assert {'cpuinfo'} <= set(os.listdir('/proc')) <= {'cpuinfo', 'self'}\n"
        "assert not os.path.exists('/proc/self') or os.listdir('/proc/self') == ['exe']\n"
        "for pid in (1, os.getpid(), os.getppid(), 'thread-self'):\n"
        "    assert not os.path.lexists(f'/proc/{pid}'), pid\n"
    )
    assert runner.run(code, without=("landlock", "seccomp")) == Ending(0, "")


UNREADABLE = (
    *(
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hostname",
        "/etc/ssl",
        "/home",
        "/root/.profile",
        "/var/log",
    ),
    *("/proc/1/environ", "/proc/self/environ", "/proc/mounts", "/proc/net/tcp", "/proc/self/fd"),
    *("/sys/kernel", "/sys/class/net", "/sys/fs/cgroup", "/dev/shm", "/dev/fuse", "/run", "/tmp/x"),
    *(ROOT / name for name in (".git/config", ".git", "setup.cfg", "README.md", "tests", "docs")),
)


@pytest.mark.parametrize("without", [(), ("landlock",)])
def test_nothing_but_modules_can_be_read(runner: SandboxRunner, without: tuple[str, ...]) -> None:
    """Of the checkout that runs, too: its configuration, history and tests are no modules."""
    needs(runner, "landlock")
    if "landlock" in without:
        needs(runner, "mountns")
    code = (
        "import os\n"
        f"for path in {[str(path) for path in UNREADABLE]}:\n"
        "    for look in (os.listdir, lambda path: open(path, 'rb').read(1)):\n"
        "        try: look(path)\n"
        "        except OSError: continue\n"
        "        raise AssertionError(path)\n"
    )
    ending = runner.run(code, without=(*without, "seccomp"))
    assert ending == Ending(0, "")


@pytest.mark.parametrize(
    "module", ["jax.experimental.sparse", "numpy.fft", "equinox", "jaxfs.codecs.png", "sqlite3"]
)
def test_modules_of_an_installation_and_of_jaxfs_are_imported(
    runner: SandboxRunner, module: str
) -> None:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    assert runner.run(f"import {module}; print('here')") == Ending(0, "here\n")


def test_of_a_project_on_the_path_only_modules_and_packages_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, installed = tmp_path / "project", tmp_path / "lib"
    for path in (
        *(project / name for name in (".git/config", ".env", "data.csv", "data/x.csv", "model.py")),
        *(project / name for name in ("package/__init__.py", "package/weights.npy", "_c.so")),
        *(installed / name for name in ("jax-1.dist-info/METADATA", "some.libs/libz.so")),
        tmp_path / "cuda/libcuda.so.1",
        tmp_path / "cuda/password",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(sys, "path", [str(project), str(installed), str(ROOT), ""])
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}/cuda::relative")
    found = import_paths.readable_paths()
    assert {path for path in found if path.is_relative_to(tmp_path)} == {
        *(project / name for name in ("model.py", "package", "_c.so")),
        installed,
        tmp_path / "cuda/libcuda.so.1",
    }
    inside = {path for path in found if path.is_relative_to(ROOT)}
    assert {path for path in inside if ".venv" not in path.parts} <= {
        ROOT / "jaxfs",
        ROOT / "mountctl",
    }


def test_mount_below_a_directory_of_modules_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at the mount that waits for this very job could wait for ever."""
    for name in ("project/package", "project/jax", "elsewhere/one.dist-info"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "project/package/__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "project"), str(tmp_path / "elsewhere"), "/"])
    monkeypatch.setattr(import_paths, "_fuse_mounts", lambda: {tmp_path / "project/jax"})
    found = {path for path in import_paths.readable_paths() if path.is_relative_to(tmp_path)}
    assert found == {tmp_path / "project/package", tmp_path / "elsewhere"}
    assert Path("/") not in import_paths.readable_paths()
