"""`python -m calltriage` is `calltriage`."""

from calltriage.leaves.shutdown import KEPT


def main() -> None:
    """The program. It hears signals before it imports the command line, which takes a while."""
    KEPT.keep()
    from calltriage.leaves.collecting import nothing_collected  # noqa: PLC0415

    with nothing_collected():
        from calltriage.cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
