"""Parameters, runs and experiments: notebooks executed, recorded, resumed."""
