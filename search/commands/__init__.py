"""A file for each command: from what was asked for to what it leaves, and the screen's last lines."""
