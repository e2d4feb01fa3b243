"""Input that nobody would send, by the hundred thousand (`make fuzz`), against real nodes."""
