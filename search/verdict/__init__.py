"""Confirmation and verdict: each arm's best configuration is trained again in pairs with fresh seeds, and tested."""
