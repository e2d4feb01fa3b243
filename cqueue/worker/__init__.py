"""The worker: takes jobs, runs their handlers, keeps their leases, and says what became of them.

    worker        `Worker`: what is asked for, as one sees it from outside
    engine        one event loop: what is taken, kept, and given back
    pace          how many jobs to hold beside those that run
    telling       what is said to the queue, many jobs at a time
    lanes         where handlers run: threads, and an event loop of their own
    handling      one handler with what is around it, and how its attempt ended
    endings       `Retry`, `Dead`, `Cancelled`; what is said of an attempt in the end
    context       `Context`: what a handler may know and say while it runs
    processes     several of the whole, in processes that are started again

It is a client of the queue and nothing more: it never imports a server's part. docs/worker.md says how to use it.
"""
