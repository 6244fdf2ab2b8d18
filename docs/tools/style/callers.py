"""Functions with a single caller.

``docs.tools.style.uses`` finds the calls. A function counts as *called by name* if it is called and
is none of these, which a reader cannot list the callers of:

- a value anywhere: in a table, passed on, registered;
- decorated by anything but the decorators of ``_TRANSPARENT_DECORATORS``: registered;
- a special method (``__len__``);
- a method of a ``Protocol``, of a class that has all of a protocol's methods, an override, or an
  overridden method: called through its interface;
- a public method of a class with a base from a library, such as a handler of pyfuse3;
- an entry point: in ``setup.cfg``, or called below ``if __name__ == "__main__"``.

Of those, a function has a *single caller* if exactly one call of it is in the source. A helper that
one function calls twice saves lines, and is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from docs.tools.style.measured import Measured, count, percent
from docs.tools.style.names import Names
from docs.tools.style.source import Class, Code, Function, last_name
from docs.tools.style.uses import Call, Uses

_TRANSPARENT_DECORATORS = frozenset(
    {
        "abstractmethod",
        "asynccontextmanager",
        "cache",
        "cached_property",
        "classmethod",
        "contextmanager",
        "deprecated",
        "final",
        "lru_cache",
        "override",
        "property",
        "singledispatch",
        "staticmethod",
        "wraps",
    }
)
_PLAIN_BASES = frozenset(
    {"ABC", "Enum", "Exception", "Generic", "IntEnum", "NamedTuple", "Protocol", "object"}
)


@dataclass(frozen=True, eq=False)
class Callers:
    """The calls of every function that is called by name."""

    names: Names
    uses: Uses

    @property
    def code(self) -> Code:
        """The packages with the measured functions."""
        return self.names.code

    @cached_property
    def interface_methods(self) -> frozenset[str]:
        """The methods that are called through a base class, a protocol or a library."""
        protocols = [found for found in self.code.classes.values() if _is_protocol(found)]
        found: set[str] = set()
        for one in self.code.classes.values():
            found |= self._overrides(one)
            found |= self._library_handlers(one)
            for protocol in protocols:
                found |= self._implementations(one, protocol)
        return frozenset(found)

    def is_by_name(self, function: Function) -> bool:
        """Whether the calls of a function show who calls it (module docstring)."""
        uses, name, plain = self.uses, function.name, function.node.name
        is_registered = not _TRANSPARENT_DECORATORS.issuperset(function.decorators)
        is_special = plain.startswith("__") and plain.endswith("__")
        is_used_otherwise = name in uses.values | uses.entry_points | self.interface_methods
        return not (is_registered or is_special or is_used_otherwise)

    def _overrides(self, found: Class) -> set[str]:
        _, *bases = self.names.ancestry(found.name)
        return {
            method.name
            for name in found.methods
            for base in bases
            if name in base.methods
            for method in (found.methods[name], base.methods[name])
        }

    def _library_handlers(self, found: Class) -> set[str]:
        names = [self.names.base_name(found, base) for base in found.node.bases]
        has_library_base = any(
            name not in self.code.classes and name.rpartition(".")[2] not in _PLAIN_BASES
            for name in names
        )
        public = (method for name, method in found.methods.items() if not name.startswith("_"))
        return {method.name for method in public if has_library_base}

    def _implementations(self, found: Class, protocol: Class) -> set[str]:
        methods = {name: self.names.method(found.name, name) for name in protocol.methods}
        complete = [method for method in methods.values() if method is not None]
        return {method.name for method in complete} if len(complete) == len(methods) else set()


def single_call_share(callers: Callers, package: str) -> Measured:
    """Returns which share of the functions that are called by name has one call, in percent."""
    called = _called(callers, package)
    single = [(function, calls) for function, calls in called if len(calls) == 1]
    return percent(len(single), len(called), _lines(single))


def one_caller_share(callers: Callers, package: str) -> Measured:
    """Returns the share that has all of its calls, one or more, in one function, in percent."""
    called = _called(callers, package)
    single = [(one, calls) for one, calls in called if len({call.caller for call in calls}) == 1]
    return percent(len(single), len(called), _lines(single))


def uncalled(callers: Callers, package: str) -> Measured:
    """Returns the functions that nothing uses: dead, or for users and tests only."""
    return count(
        _lines(
            (function, [])
            for function in callers.code.functions_of(package)
            if callers.is_by_name(function) and not callers.uses.calls[function.name]
        )
    )


def _called(callers: Callers, package: str) -> list[tuple[Function, list[Call]]]:
    return [
        (function, calls)
        for function in callers.code.functions_of(package)
        if callers.is_by_name(function) and (calls := callers.uses.calls[function.name])
    ]


def _lines(found: Iterable[tuple[Function, list[Call]]]) -> list[str]:
    return [
        f"{function.place}: {function.name.split('.', 1)[1]} ({function.line_count} lines){callers}"
        for function, calls in found
        for callers in [_callers_words(calls)]
    ]


def _callers_words(calls: list[Call]) -> str:
    counted = Counter(call.caller for call in calls)
    first = {call.caller: f"{call.path}:{call.line}" for call in reversed(calls)}
    words = (f"{caller} at {first[caller]}" for caller in counted)
    return f", called by {', '.join(words)}" if calls else ""


def _is_protocol(found: Class) -> bool:
    return "Protocol" in [last_name(base) for base in found.node.bases]
