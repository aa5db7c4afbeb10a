"""The method itself, without a model: prompts, rewards, the three stages, difficulty."""
