"""One training in several processes, one GPU each."""
