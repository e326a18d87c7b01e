"""What MLflow is told, and its page."""
