"""`python -m calltriage` is `calltriage`."""

from calltriage.cli import main

main()
