"""What `deploy/` says, read as the programs read it that it is for: systemd, Kubernetes, HAProxy, and cqueue itself."""
