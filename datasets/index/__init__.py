"""Which clips a data set has, of which class, and in which split."""
