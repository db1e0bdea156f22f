"""`python -m tsfm.cli`: the command line where no script `tsfm` is installed."""

from tsfm.cli import main

if __name__ == "__main__":
    main()
