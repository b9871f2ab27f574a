"""`python -m ltxcore` is the `ltxcore` command."""

from ltxcore.cli import main

if __name__ == "__main__":
    main()
