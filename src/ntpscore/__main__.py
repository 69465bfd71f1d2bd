"""`python -m ntpscore`: the command line."""

from ntpscore.cli.main import run

if __name__ == "__main__":
    run()
