"""The features of the CPU, as executables record them and the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxfs.posix import cpu_features

RECORDED = b"\0x86_64-linux\x1a\x22+64bit,+avx2,+avx512f,+cx8,+fma,+sse,+sse2,-amx-tile,-xop\0"


def test_the_features_of_an_executable_are_those_with_a_plus() -> None:
    found = cpu_features.recorded_features(bytes(5000) + RECORDED + bytes(50_000))
    assert found == {"64bit", "avx2", "avx512f", "cx8", "fma", "sse", "sse2"}
    assert cpu_features.recorded_features(b"no features") == frozenset()


def test_features_that_this_machine_lacks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "cpu_flags", lambda: frozenset({"avx2", "fma", "sse2"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    names = cpu_features.recorded_features(RECORDED)
    assert cpu_features.missing_features(names) == {"avx512f"}


def test_a_kernel_without_flags_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "cpu_flags", frozenset)
    assert cpu_features.missing_features(frozenset({"avx512f"})) == frozenset()


def test_a_mitigation_does_not_change_the_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(cpu_features, "cpu_flags", lambda: frozenset({"avx2"}))
    before = cpu_features.instruction_set()
    monkeypatch.setattr(cpu_features, "cpu_flags", lambda: frozenset({"avx2", "md_clear"}))
    assert cpu_features.instruction_set() == before == "x86_64 avx2"


# aarch64: the kernel has a line "Features", and no other processor's names

ARM_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU part\t: 0xd0c

processor\t: 1
Features\t: fp
"""
# what XLA records there, and on a Neoverse V2
RECORDED_N1 = b"\0neoverse-n1\x22+aes,+crc,+fp-armv8,+lse,+neon,+sha2,-rand,-sve\0"
RECORDED_V2 = b"\0+aes,+crc,+fp-armv8,+lse,+neon,+rand,+sha2,+sha3,+sm4,+sve-aes,-sve,-sve2\0"


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A Neoverse N1."""
    (tmp_path / "cpuinfo").write_text(ARM_CPUINFO)
    monkeypatch.setattr(cpu_features, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    cpu_features.cpu_flags.cache_clear()
    yield
    cpu_features.cpu_flags.cache_clear()


@pytest.mark.usefixtures("arm")
def test_an_aarch64_kernel_lists_what_its_processor_can() -> None:
    assert {"asimddp", "atomics", "crc32"} <= cpu_features.cpu_flags()
    found = cpu_features.instruction_set().split()
    assert found == ["aarch64", *sorted(found[1:])]
    assert {"asimddp", "atomics", "crc32", "asimdhp"} <= set(found)
    assert not {"ssbs", "cpuid", "evtstrm"} & set(found)  # mitigations and kernel interfaces


@pytest.mark.usefixtures("arm")
def test_features_that_an_aarch64_processor_lacks_are_found() -> None:
    own = cpu_features.recorded_features(bytes(5000) + RECORDED_N1 + bytes(5000))
    assert own == {"aes", "crc", "fp-armv8", "lse", "neon", "sha2"}
    assert cpu_features.missing_features(own) == frozenset()
    other = cpu_features.recorded_features(RECORDED_V2)
    assert cpu_features.missing_features(other) == {"rand", "sha3", "sm4", "sve-aes"}


def test_the_two_architectures_never_share_an_instruction_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_features, "cpu_flags", lambda: frozenset({"aes"}))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    arm = cpu_features.instruction_set()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cpu_features.instruction_set() != arm
