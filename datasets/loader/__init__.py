"""Loading: from a store to batches on the device."""
