"""The experiment file: schema, search space, arms, and error messages."""
