"""Trained models: looking them up, evaluating and probing them, and MLflow's registry."""
