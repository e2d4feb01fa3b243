"""The queue for users' own tests."""
