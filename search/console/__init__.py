"""What is printed while a command runs and at its end."""
