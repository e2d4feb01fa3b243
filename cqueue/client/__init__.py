"""The client: `Client` blocks, `AsyncClient` awaits; docs/client.md says how to use them.

    results                        what a client is given
    jobs looking queues cluster    the verbs: functions that make a `Call`
    call                           a call as data
    carrying failures              which node, how often, what may be sent again; no I/O
    sync asynchronous              the I/O

It never imports a server's part, and the HTTP libraries only with the first request.
"""

from cqueue.client.sync import Client

__all__ = ["Client"]
