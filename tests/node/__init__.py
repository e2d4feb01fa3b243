"""One node as real processes: how it starts, what it refuses, how it ends."""
