"""Samples, boxes, answers, journals, files and errors: what every other package uses; standard library only."""
