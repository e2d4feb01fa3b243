"""Real replicas on a simulated network, disk and clock.

The code under test is the code that runs in production: `Consensus`, `Journal`, `Replica` and the
state machine. Only what touches the world is replaced: sockets, disks, clocks, chance. One seed
decides everything that happens, so a seed is a bug report: `cqueue simulate --seed N` tells the
same story again.
"""
