"""`python -m mixopt.cli`."""

from mixopt.cli.main import main

main()
