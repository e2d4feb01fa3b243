"""`cqueue enqueue --file`: any number of jobs, in parts, each of them once."""
