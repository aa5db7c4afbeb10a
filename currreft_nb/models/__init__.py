"""Model families, loading in 16 or 4 bit, adapters, weight files."""
