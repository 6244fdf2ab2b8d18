"""What exists, without FUSE and JAX: names, directories, permissions, open files."""
