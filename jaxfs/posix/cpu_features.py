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
_ARM_FEATURES = {
    "aes": "aes",
    "altnzcv": "flagm2",
    "bf16": "bf16",
    "complxnum": "fcma",
    "crc": "crc32",
    "dotprod": "asimddp",
    "f32mm": "svef32mm",
    "f64mm": "svef64mm",
    "flagm": "flagm",
    "fp16fml": "asimdfhm",
    "fullfp16": "asimdhp",
    "i8mm": "i8mm",
    "jsconv": "jscvt",
    "lse": "atomics",
    "rand": "rng",
    "rcpc": "lrcpc",
    "rcpc-immo": "ilrcpc",
    "rdm": "asimdrdm",
    "sha2": "sha2",
    "sha3": "sha3",
    "sm4": "sm4",
    "sme": "sme",
    "sme2": "sme2",
    "sve": "sve",
    "sve2": "sve2",
    "sve2p1": "sve2p1",
    "sve-aes": "sveaes",
    "sve-sha3": "svesha3",
    "sve-sm4": "svesm4",
    "sve2-aes": "sveaes",
    "sve2-bitperm": "svebitperm",
    "sve2-sha3": "svesha3",
    "sve2-sm4": "svesm4",
}
_FEATURES = {"x86_64": _X86_FEATURES, "aarch64": _ARM_FEATURES}
_ANCHORS = (b"+sse2", b"+neon")  # every x86-64 has the one, every aarch64 the other
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
    flags, known = cpu_flags(), _FEATURES.get(platform.machine())
    if known is not None:
        flags &= frozenset(known.values())
    return " ".join([platform.machine(), *sorted(flags)])


def recorded_features(executable: bytes) -> frozenset[str]:
    """Returns the CPU features that an executable of XLA was made for, by LLVM's names.

    Args:
        executable: Its bytes, with the features as LLVM writes them: ``+avx2,+fma,-xop``.

    Returns:
        The names; none where the executable names no features, or is for another architecture
            than x86-64 and aarch64.

    >>> sorted(recorded_features(b"icelake +avx2,+fma,+sse2,-xop"))
    ['avx2', 'fma', 'sse2']
    """
    for anchor in _ANCHORS:
        place = executable.find(anchor)
        if place < 0:
            continue
        around = executable[max(0, place - _LONGEST_RECORD) : place + _LONGEST_RECORD]
        for found in _RECORDED.finditer(around):
            if anchor in found[0]:
                words = found[0].decode().split(",")
                return frozenset(word[1:] for word in words if word.startswith("+"))
    return frozenset()


def missing_features(names: frozenset[str]) -> frozenset[str]:
    """Returns those of some CPU features that the kernel does not list for this machine.

    A kernel that is older than its CPU does not list all.
    """
    flags, known = cpu_flags(), _FEATURES.get(platform.machine(), {})
    if not flags:
        return frozenset()
    return frozenset(name for name in names & known.keys() if known[name] not in flags)
