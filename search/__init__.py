"""The search: experiment files, two arms of trials under Ray Tune, records in MLflow, the answer."""
