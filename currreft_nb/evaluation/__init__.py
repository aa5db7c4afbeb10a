"""Arms on the same questions: sources of answers, scores, pass@k, export of a merged model."""
