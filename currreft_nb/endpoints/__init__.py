"""OpenAI-compatible endpoints, asked within bounds of time, size, rate and attempts."""
