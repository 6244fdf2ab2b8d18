"""What programs are compiled for: the devices of an engine, as a process without them needs it.

A worker reports it when it starts; compile jobs get it with each program, and it is part of the
keys of executables.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_OTHER_NAMES = {"gpu": ("cuda", "rocm"), "cuda": ("gpu",), "rocm": ("gpu",)}


def matching_name(platform: str, names: Sequence[str]) -> str | None:
    """Returns which of ``names`` means a platform; ``gpu`` is a name of two.

    >>> matching_name("gpu", ["cpu", "cuda"]), matching_name("cuda", ["gpu"])
    ('cuda', 'gpu')
    >>> matching_name("rocm", ["cuda"])
    """
    own = (platform, *_OTHER_NAMES.get(platform, ()))
    return next((name for name in own if name in names), None)


class CompileTarget(msgspec.Struct, frozen=True):
    """The devices of an engine, all of one kind, described for a compiler.

    Attributes:
        platform: As lowerings name it: ``cpu``, ``cuda``, ``rocm``, ``tpu``.  Devices of the two in
            the middle are both called ``gpu``.
        config: XLA's description of a device, from which a process without one compiles for it
            (``GpuTargetConfigProto`` as text); empty where XLA has none.
        versions: What else an executable depends on, beside jax and jaxlib: the kind of the
            devices, MIG profile included, the plugin and the driver.
    """

    platform: str
    config: str = ""
    versions: str = ""

    @property
    def needs_no_device(self) -> bool:
        """Whether a process without a device can compile for it.

        >>> CompileTarget("cpu").needs_no_device, CompileTarget("tpu").needs_no_device
        (True, False)
        """
        return self.platform == "cpu" or bool(self.config)

    @property
    def key_parts(self) -> list[str]:
        """What the key of an executable has of it; nothing on a CPU, which has features instead.

        The white space of ``config`` does not count: XLA may write it in another way.

        >>> CompileTarget("cuda", "name:  'H100'", "driver 13").key_parts
        ['cuda', "name: 'H100'", 'driver 13']
        """
        if self.platform == "cpu":
            return []
        return [self.platform, " ".join(self.config.split()), self.versions]
