"""Tests of door 1: real gunicorn over HTTP, in front of a replica that is real but for its cluster."""
