"""What a run is on disk: its folder, journal, checkpoints, budget and best trials."""
