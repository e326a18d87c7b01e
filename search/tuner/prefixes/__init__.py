"""Epochs that several trials share are trained once: who waits for whom, and goes on from where."""
