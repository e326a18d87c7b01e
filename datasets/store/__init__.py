"""Store: clips decoded once, in shards that never change."""
