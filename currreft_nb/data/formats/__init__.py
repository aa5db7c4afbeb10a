"""Readers of annotation formats, one file a format, each with the same function `read`."""
