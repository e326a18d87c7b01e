"""Early-stopping rules: pure functions of the results so far."""
