"""`python -m mtasr`."""

from mtasr.cli import main

if __name__ == "__main__":
    main()
