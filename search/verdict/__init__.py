"""The best configuration of each arm, trained again in pairs with fresh seeds, and what that shows."""
