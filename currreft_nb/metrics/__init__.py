"""Scores, their intervals, and comparisons between arms."""
