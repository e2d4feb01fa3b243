"""The client: `Client` blocks, `AsyncClient` awaits; docs/client.md says how to use them.

    results                        what a client is given
    jobs looking queues cluster    the verbs: functions that make a `Call`
    call                           a call as data
    conversing                     what is said on `GET /stream`; no I/O
    carrying following failures    which node, how often, what may be sent again, where to go on; no I/O
    tls                            certificates
    base                           what both clients have in common
    sync sync_stream blocking      `Client`, its `Stream`, and its requests by urllib3
    asynchronous async_stream awaiting
                                   `AsyncClient`, its `AsyncStream`, and its requests by aiohttp

It never imports a server's part, and the HTTP libraries only with the first request.
"""
