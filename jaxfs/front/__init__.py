"""The process that serves one mount: puts its parts together, logs, talks to systemd."""
