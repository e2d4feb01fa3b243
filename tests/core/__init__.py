"""Tests of the state machine and its parts: no process, no network, no clock."""
