"""The command line: what people type, what they are told, and the exit code."""
