"""GRPO and supervised fine-tuning with TRL's trainers, with checks, checkpoints and resume."""
