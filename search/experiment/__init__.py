"""The experiment file: its schema, its space, its two arms, and a sentence for each mistake in it."""
