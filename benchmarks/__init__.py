"""What cqueue costs, measured against the web stack it stands on, in one run on one machine.

    bench    the command: `python -m benchmarks.bench`
    stages   which rows there are, and how one is measured
    bare     the reference: a Flask route that does nothing, on cqueue's own gunicorn settings
    servers  processes: started, asked whether they are ready, weighed, ended
    load     the load generator
    results  what a run found: the JSON, and the bars it is held to
    report   the same as tables; `python -m benchmarks.report` writes docs/performance.md

Nothing here is part of the installed package. How to read the figures: docs/performance.md.
"""
