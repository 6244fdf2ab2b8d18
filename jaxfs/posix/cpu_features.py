"""The instruction set of this machine's CPU, and of the one that an executable was made for.

XLA compiles for the CPU it runs on, records the features of that CPU in the executable, and loads
it on any other one with no more than a warning; the first unknown instruction then ends the
process.
"""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# The features whose instructions a code generator emits, by LLVM's name, with the kernel's name.
_X86_FEATURES = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "lzcnt": "abm",
    "movbe": "movbe",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "tbm": "tbm",
    "adx": "adx",
    "gfni": "gfni",
    "f16c": "f16c",
    "fma": "fma",
    "fma4": "fma4",
    "xop": "xop",
    "avx": "avx",
    "avx2": "avx2",
    "avxvnni": "avx_vnni",
    "avxvnniint8": "avx_vnni_int8",
    "avxvnniint16": "avx_vnni_int16",
    "avxifma": "avx_ifma",
    "avxneconvert": "avx_ne_convert",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx512vp2intersect": "avx512_vp2intersect",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
    "amx-fp16": "amx_fp16",
    "amx-complex": "amx_complex",
}
_RECORDED_ANCHOR = b"+sse2"  # every x86-64 has it
_RECORDED = re.compile(rb"[+-][a-z0-9.-]+(?:,[+-][a-z0-9.-]+)+")
_LONGEST_RECORD = 8192


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Returns the kernel's names of what this CPU can do; none where the kernel lists none."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    rows = (line.partition(":") for line in lines)
    found = (value for key, _, value in rows if key.strip() in ("flags", "Features"))
    return frozenset(next(found, "").split())


def instruction_set() -> str:
    """Returns the machine's architecture and the features that decide what code it can run.

    Flags that only describe a microcode or a mitigation are left out: they change with an update.
    """
    flags = cpu_flags()
    if platform.machine() == "x86_64":
        flags &= frozenset(_X86_FEATURES.values())
    return " ".join([platform.machine(), *sorted(flags)])


def recorded_features(executable: bytes) -> frozenset[str]:
    """Returns the CPU features that an executable of XLA was made for, by LLVM's names.

    Args:
        executable: Its bytes, with the features as LLVM writes them: ``+avx2,+fma,-xop``.

    Returns:
        The names; none where the executable names no features, or is not for x86-64.

    >>> sorted(recorded_features(b"icelake +avx2,+fma,+sse2,-xop"))
    ['avx2', 'fma', 'sse2']
    """
    place = executable.find(_RECORDED_ANCHOR)
    if place < 0:
        return frozenset()
    around = executable[max(0, place - _LONGEST_RECORD) : place + _LONGEST_RECORD]
    records = [found[0] for found in _RECORDED.finditer(around) if _RECORDED_ANCHOR in found[0]]
    words = records[0].decode().split(",") if records else []
    return frozenset(word[1:] for word in words if word.startswith("+"))


def missing_features(names: frozenset[str]) -> frozenset[str]:
    """Returns those of some CPU features that the kernel does not list for this machine.

    A kernel that is older than its CPU does not list all.
    """
    flags = cpu_flags()
    if not flags or platform.machine() != "x86_64":
        return frozenset()
    known = names & _X86_FEATURES.keys()
    return frozenset(name for name in known if _X86_FEATURES[name] not in flags)
