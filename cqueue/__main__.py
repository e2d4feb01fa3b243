"""`python -m cqueue` is `cqueue`."""

from cqueue.cli import main

main()
