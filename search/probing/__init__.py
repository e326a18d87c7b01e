"""Linear probes of trained encoders, beside encoders that were trained alone."""
