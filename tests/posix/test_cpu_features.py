"""The features of the CPU, as executables record them and the kernel lists them."""

from __future__ import annotations

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
