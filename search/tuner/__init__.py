"""Choice of the next trial, early stopping and shared prefixes: functions of the results so far, without processes."""
