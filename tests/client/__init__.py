"""The client: by itself, against a real node, and against a cluster whose nodes die."""
