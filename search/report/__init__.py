"""Report on a run: one page with the verdict, the numbers behind it, and the search."""
