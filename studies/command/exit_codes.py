"""What the exit code of a study says; the same numbers hold for every command of the product."""

from __future__ import annotations

OK, FAULT, USAGE, BUDGET, LOST_CLUSTER, INTERRUPTED, NO_READER = 0, 1, 2, 3, 4, 130, 141

MEANING = {
    OK: "complete",
    FAULT: "a fault while running: some runs failed and count as not run; --resume tries them again",
    USAGE: "wrong command, configuration or file; nothing was started",
    BUDGET: "the budget is spent; raise it and continue with --resume",
    LOST_CLUSTER: "the Ray cluster was lost; start it again and continue with --resume",
    INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); continue with --resume",
    NO_READER: "whoever read the output went away (| head); continue with --resume",
}
