"""python -m occflow: the console command where it is not on the PATH."""

from occflow.commands import main

if __name__ == "__main__":
    main()
