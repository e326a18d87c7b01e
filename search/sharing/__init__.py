"""Trainings that begin alike do it once: who can go on from whose beginning, and where these lie."""
