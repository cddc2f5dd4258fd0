"""`python -m tfrs_twotower.cli`."""

from tfrs_twotower.cli import main

if __name__ == "__main__":
    main()
