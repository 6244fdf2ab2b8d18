"""The programs that are measured, and the measurements that need more than calls of one program."""
