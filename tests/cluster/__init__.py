"""Several nodes as real processes: they agree, they survive, they never tell the past."""
