"""What needs an NVIDIA GPU: ``JAXFS_GPU=1 JAXFS_TEST_PLATFORM=cuda pytest -m gpu``.

Most of it are tests of the engine that run on a CPU too.  ``JAXFS_TEST_PLATFORM=cpu`` tries them
with an engine that compiles programs itself, as it does on a GPU.
"""
