"""A trained model on the test split: fused, each modality alone, class by class, and against another model."""
