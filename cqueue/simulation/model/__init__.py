"""The queue as docs/protocol.md describes it, in the slowest way that is plainly right.

Lists of dicts and linear scans. It imports nothing of the state machine it is compared with but the
shapes of what is asked, the limits, and the arithmetic of the backoff, which has tests of its own; it
knows nothing of heaps, lines, counters, copies or snapshots. `Model` reads the log, and
`show` says an answer of the machine in the words of the model.
"""

from cqueue.simulation.model.entries import Model
from cqueue.simulation.model.looking import lately, show
from cqueue.simulation.model.records import show_job

__all__ = ["Model", "lately", "show", "show_job"]
