"""``mountctl help TOPIC``: the tables as text."""

from __future__ import annotations

from collections.abc import Callable

from jaxfs import options
from mountctl import arguments, mount8_options
from mountctl.errors import MountctlError


def exit_codes() -> str:
    """Of mountctl, and of mount.jaxfs beside them."""
    rows = [f"{kind.exit_code:8}  {kind.mount8_code:11}  {kind.meaning}" for kind in _kinds()]
    return "\n".join(("mountctl  mount.jaxfs  meaning", f"{0:8}  {0:11}  it went well", *rows))


def _kinds() -> list[type[MountctlError]]:
    return sorted(MountctlError.__subclasses__(), key=lambda kind: kind.exit_code)


def all_options() -> str:
    return (
        f"{options.usage(arguments.TABLE)}\n\n"
        f"Words of mount(8) that fstab lines may have:\n\n{mount8_options.usage()}"
    )


TOPICS: dict[str, Callable[[], str]] = {"options": all_options, "exit-codes": exit_codes}
