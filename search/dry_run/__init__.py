"""What a search would take, before it begins."""
