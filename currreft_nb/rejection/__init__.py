"""Rejection sampling: judge sampled answers, keep the best, write the training data of phase 2."""
