"""The one thing setup.cfg cannot say: a C extension.  All else is there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # optional: without a compiler jaxfs installs all the same, and waits end by polling /proc
        Extension(
            "jaxfs.fuse._interrupts",
            sources=["jaxfs/fuse/_interrupts.c"],
            libraries=["dl"],
            optional=True,
        )
    ]
)
