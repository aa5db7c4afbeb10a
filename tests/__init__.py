"""Tests, in the same folders as the package; helpers/ has what they share."""
