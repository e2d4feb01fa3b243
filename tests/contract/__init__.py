"""Whether the contract is the one that was released, and whether a served node keeps it."""
