"""From a store to batches on the device."""
