"""The journal and its store."""
