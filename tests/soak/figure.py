"""What a soak finds: one row of its table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """``found`` is in ``unit`` and has to be at most ``asked``."""

    what: str
    found: float
    asked: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.found <= self.asked

    @property
    def words(self) -> tuple[str, str, str, str]:
        """The row."""
        met = "met" if self.is_met else "MISSED"
        return self.what, f"{self.asked:g} {self.unit}", f"{self.found:.3g} {self.unit}", met
