"""A study that can be run: from its file, or from a notebook."""

from __future__ import annotations

from studies.engine.question import Question


class Study(Question):
    """A declaration with a command line; see :class:`studies.engine.question.Question` for its fields.

    In a file, ``if __name__ == "__main__": study.main()`` gives it every option of the studies that ship here.
    """

    def main(self, argv: list[str] | None = None) -> int:
        """Run it as a command; returns one of :mod:`studies.exit_codes`."""
        from studies import cli

        return cli.run(argv, self)
