"""`python -m autoresearchd` is the console script."""

from autoresearchd.cli import main

if __name__ == "__main__":
    main()
