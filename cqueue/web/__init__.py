"""Door 1: HTTP in, typed operations down, JSON back. It keeps nothing that matters.

link      the unix socket to this node's replica
body      bytes of a request → checked shapes
wire      the shapes: JSON ↔ operations and results
problems  the one table of error codes, status codes and titles
jobs, cluster   the routes, by noun
app       the Flask application
worker, server  gunicorn
"""
