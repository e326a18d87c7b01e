"""Trained models: which one is meant, what it reaches, and MLflow's registry of them."""
