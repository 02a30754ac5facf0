"""Runs one after the other in a process of their own: a queue that can be watched, paused and stopped."""
