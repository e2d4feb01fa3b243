"""The queue itself: pure, deterministic, silent.

Nothing below this package knows a clock, a socket, a thread, a random number or a log line.
The state machine has three verbs: `apply`, `snapshot`, `restore`. Same log, same bytes.
"""
