"""The command `currreft`."""
