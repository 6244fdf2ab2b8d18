"""The one thing setup.cfg cannot declare: the C extension.

Not in pyproject.toml: there ``[tool.setuptools]`` wants the whole ``[project]`` table beside it.
Optional: where there is no C compiler jaxfs installs all the same, see jaxfs/fuse/interrupts.py.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "jaxfs.fuse._interrupts",
            sources=["jaxfs/fuse/_interrupts.c"],
            libraries=["dl"],
            optional=True,
        )
    ]
)
