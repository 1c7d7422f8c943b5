"""Results for people to look at: terminal tables, self-contained pages, JSON."""
