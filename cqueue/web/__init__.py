"""Door 1: HTTP in, typed operations down, JSON back. It keeps nothing that matters.

link      the unix socket to this node's replica
body      bytes of a request → checked shapes
shapes    JSON ↔ operations and results, by noun
problems  the one table of error codes, status codes and titles
headers, parameters   what is said outside of the body
auth      who calls, and what they may
asking    what routes share: read, ask the replica
jobs, looking, queues, cluster   the routes, by noun
contract  what a route promises; each stands beside its route
openapi, docs   all promises as one document, and as a page
by_filter cancel, redrive and purge by what jobs are
short_way the hot routes, past Flask
app       the Flask application
worker, server  gunicorn
tls, presence, parting   a connection: its certificate, whether somebody is there, how it ends
"""
