"""PySyncObj made trustworthy: consensus, journal, sessions, waiting, and the loop that drives them.

One process, one thread, one loop. Only this package (and the simulated network) imports pysyncobj.
"""
