"""The process that serves one mount: puts its parts together, logs, notifies systemd."""
