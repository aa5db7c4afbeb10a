"""Decoding: greedy, sampled and format-forced answers of a loaded model."""
