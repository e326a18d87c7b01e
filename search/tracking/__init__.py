"""Records in MLflow, and its web page."""
