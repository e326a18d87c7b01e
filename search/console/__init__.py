"""Output of commands on the screen: progress, tables and results."""
