"""Side-by-side measurements: each prints a ratio of two things run in turn in one process run."""
