"""A study that can be run: from its file, or from a notebook."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from studies.engine.question import Question
from trainer.errors import RecordError, UsageError

if TYPE_CHECKING:
    from studies.result import Result


class Study(Question):
    """A declaration with a command line; see :class:`studies.engine.question.Question` for its fields.

    In a file, ``if __name__ == "__main__": study.main()`` gives it every option of the studies that ship here.
    """

    def __init__(self, *declared: Any, **fields: Any):
        # a misspelt field is one line of the command, as every other mistake in a declaration, not a traceback here
        known = [*Question.__dataclass_fields__]
        absent = dict.fromkeys(known[len(declared) : 2], "")
        super().__init__(*declared, **absent | {name: fields.pop(name) for name in [*fields] if name in known})
        object.__setattr__(self, "unknown", tuple(fields))

    __init__.__signature__ = signature(Question.__init__)

    def main(self, argv: list[str] | None = None) -> int:
        """Run it as a command; returns one of :mod:`studies.command.exit_codes`."""
        from studies.command import cli

        return cli.run(argv, self)

    def run(self, *overrides: str, **options: Any) -> Result | None:
        """Run it from Python: a notebook's cell, a thread, a program with an event loop.

        Args:
            overrides: settings common to all arms, ``"optim.lr=0.001"``.
            options: those of the command line: ``quick=True``, ``num_trials=8``, ``seeds=(0, 1, 2)``,
                ``results_dir="results"``.

        Returns:
            What the study found, as tables. After Ctrl-C or with its budget spent it is what is on record by then. None
            after ``dry_run=True``, which prints the plan and starts nothing.

        Raises:
            UsageError, RecordError, OSError: a wrong declaration, option or file, in one line; nothing was started.
            ClusterLost: Ray went away; the same call with ``resume=True`` continues.
        """
        from studies.command import cli
        from studies.command.options import as_arguments, as_words, parser
        from studies.command.resume_command import called_as
        from studies.result import Result

        if wrong := [one for one in overrides if not isinstance(one, str)]:
            raise UsageError(f"override {wrong[0]!r}: a setting is given as text, 'optim.lr=0.001'")
        p = parser(self)
        words = [*overrides, *(word for name, value in options.items() for word in as_words(name, value, p))]
        given = ", ".join(
            [*map(repr, overrides), *(f"{name}={value!r}" for name, value in (options | {"resume": True}).items())]
        )
        with called_as(f"study.run({given})"):
            try:
                code, plan = cli.start(words, self)
            except (UsageError, RecordError) as error:
                error.args = (as_arguments(str(error), self),)
                raise
        return None if "--dry-run" in words else Result.of(plan.folder, code)
