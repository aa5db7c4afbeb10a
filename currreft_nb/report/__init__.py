"""The report of an experiment: comparisons, provenance, the HTML page, results for programs."""
