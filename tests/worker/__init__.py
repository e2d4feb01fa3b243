"""The worker: with a node in the test's own process, with real ones, and as a process that is told to stop or dies."""
