"""Early stopping: pure functions of the results so far."""
