"""A machine whose accelerators a test decides."""

from __future__ import annotations

from tests.posix.machines import machine

__all__ = ["machine"]
