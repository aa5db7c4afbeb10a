"""GPU memory: estimated from shapes before a run, compared with what was measured."""
