"""Forecast of what a search takes, before it starts."""
