"""The JSON shapes of door 1, by noun: how they become operations and come back from results.

The structs are the contract of docs/protocol.md: what they do not name is refused. Seconds stop
here (operations count milliseconds), and so do JSON's times (core counts milliseconds since the
Unix epoch). Payloads and results are carried as the bytes the client sent.

fields    what several shapes have in common: ids, names, seconds, tags, backoffs, times
enqueue, dequeue   how jobs come and go
verbs     what is said of jobs by id, one or many
filters   jobs by what they are, for the verbs that take that
job       a job as it is shown
looking   lists, histories, explanations, counts
queues    a queue: its settings, and how it is shown
cluster   the cluster as a node sees it
"""
