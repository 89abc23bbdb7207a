"""``python -m maas``: the same as the ``maas`` command."""

from maas.cli import main

if __name__ == "__main__":
    main()
