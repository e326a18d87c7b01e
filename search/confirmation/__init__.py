"""The best configuration of each arm trained again with fresh seeds, in pairs, and what that says."""
