"""cqueue: a job queue anyone can run with one command and use with curl."""

__all__ = ["__version__"]

__version__ = "0.1.0"
