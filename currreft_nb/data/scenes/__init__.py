"""Drawn scenes with questions: the embedded data of demos and tests."""
