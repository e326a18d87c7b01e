"""Data sets in their publishers' layouts, as they come."""
