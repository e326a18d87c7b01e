"""The command line: commands, options, errors and completion."""
