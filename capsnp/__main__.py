"""``python -m capsnp``: the command `capsnp`."""

from capsnp.cli import main

if __name__ == "__main__":
    main()
