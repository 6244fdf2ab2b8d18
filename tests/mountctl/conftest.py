"""A machine whose accelerators a test of the doctor decides."""

from __future__ import annotations

from tests.posix.machines import machine

__all__ = ["machine"]
