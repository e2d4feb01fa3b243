"""Who calls, and what they may. A node that asks nobody has all of this too, and lets everybody do everything.

principals  roles, the queues a caller reaches, and what that means for an operation or a look
routes      the one table: route → who may call it
tokens      API tokens and their file
jwts        tokens of an identity provider
tickets     what a browser shows where it cannot send a header
access      all three together, as one node takes them, read again on SIGHUP
failures    wrong tokens, counted by address
gate        the door in front of both ways in
"""
