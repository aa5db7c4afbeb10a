"""`python -m currreft_nb.cli` does what `currreft` does."""

from currreft_nb.cli.app import main

main()
