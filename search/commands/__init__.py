"""The commands, one per file: each runs from the parsed options to the files it writes and its last lines on screen."""
