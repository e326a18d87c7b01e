"""Which trial is next and what a result means: functions of the results so far, without processes."""
