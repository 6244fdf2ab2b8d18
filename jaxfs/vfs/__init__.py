"""The filesystem without FUSE and JAX: names, directories, permissions, open files."""
