"""The simulator: seeds that must hold, and mends that must be missed when they are gone."""
