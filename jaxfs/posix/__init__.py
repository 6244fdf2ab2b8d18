"""The operating system: credentials, privileges, system calls, child processes, page cache."""
