"""What the six frames hold: every column with its type, unit and meaning. The types hold also where a frame is empty.

Frames may have further columns under the names of what was measured or set; ``FURTHER`` says which and of what type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

STATES = (
    "complete", "pruned", "collapsed", "diverged", "failed", "out_of_memory", "unfinished", "planned", "not started",
    "interrupted", "finished",
)  # fmt: skip
PHASES = ("search", "race", "verdict", "noise floor", "single")
SPLITS = ("train", "validation", "test")
STUDY, SINGLE, EVALUATION, REFERENCE = "study", "single", "evaluation", "reference"
WANDB, WANDB_CSV, TENSORBOARD, RAY_TUNE = "wandb", "wandb_csv", "tensorboard", "ray_tune"
FOREIGN = (REFERENCE, WANDB, WANDB_CSV, TENSORBOARD, RAY_TUNE)
"""Origins of rows that no test may see."""
ORIGINS = (STUDY, SINGLE, EVALUATION, *FOREIGN)
CATEGORIES = {"state": STATES, "phase": PHASES, "split": SPLITS, "origin": ORIGINS}
TEXT, WHOLE, NUMBER, TRUTH, CATEGORY, TIME = "string", "Int64", "float64", "boolean", "category", "datetime64[us, UTC]"


class Column(NamedTuple):
    name: str
    dtype: str
    unit: str
    about: str


_STUDY = Column("study", TEXT, "", "name of the study; with its folder where two have one name")
_RUN = Column("run_id", TEXT, "", "arm_id and seed; a run that came from elsewhere keeps its own name")
_ARM = Column("arm_id", TEXT, "", "hash of the scientific settings; NA where they are unknown")
_SEED = Column("seed", WHOLE, "", "of the run")
_COMMIT = Column("commit", TEXT, "", "code version, several joined by +")
_DIRTY = Column("dirty", TRUTH, "", "made with uncommitted changes")
_PRESET = Column("preset", TEXT, "", "named settings the study started from")
_DATASET = Column("dataset", TEXT, "", "name of the data set, of a mixture all of them")
_METRIC = Column("metric", TEXT, "", "name on record; @M stands for the run's own number of observed views")
_USD = Column("usd", NUMBER, "US dollars", "share of the paid time; NaN without a price")
_FROM = (
    Column("origin", CATEGORY, "", "study, single (a run outside studies), evaluation, or where else it came from"),
    Column("source", TEXT, "", "file or folder it was read from"),
    Column("sha256", TEXT, "", "of that file, where it came from elsewhere"),
    Column("caveat", TEXT, "", "what its source says against it"),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "studies": (
        _STUDY,
        Column("question", TEXT, "", "what the study asks"),
        Column("state", CATEGORY, "", "not started, unfinished (running or killed), interrupted or finished"),
        Column("created", TIME, "", "when it was begun"),
        Column("updated", TIME, "", "its last decision on record"),
        _PRESET,
        _DATASET,
        _METRIC,
        Column("measures", TEXT, "", "the metric in words"),
        Column("unit", TEXT, "", "of the metric"),
        Column("higher", TRUTH, "", "whether more of the metric is better"),
        Column("stratum", TEXT, "", "setting whose levels have a best arm each"),
        Column("epochs", WHOLE, "epochs", "full length"),
        Column("seeds", TEXT, "", "of the verdict, separated by spaces"),
        Column("search_seed", WHOLE, "", "of the search"),
        Column("planned", WHOLE, "trials", "planned"),
        Column("trials", WHOLE, "trials", "suggested"),
        Column("runs", WHOLE, "runs", "with a record"),
        Column("contrasts", WHOLE, "", "declared before the data"),
        _COMMIT,
        _DIRTY,
        Column("split_hash", TEXT, "", "of the indices of train, validation and test; several joined by +"),
        Column("device", TEXT, "", "what its runs computed on; several joined by +"),
        Column("seconds", NUMBER, "s", "wall time of all its sessions"),
        _USD,
        Column("folder", TEXT, "", "where it was read from"),
    ),
    "runs": (
        _STUDY,
        _RUN,
        _ARM,
        Column("arm", TEXT, "", "short name of the compared arm; else the trial's label"),
        _SEED,
        Column("phase", CATEGORY, "", "what it was run for; NA where it came from elsewhere or serves nothing now"),
        Column("role", TEXT, "", "what its arm is in the comparison; several separated by spaces"),
        Column("state", CATEGORY, "", "how it ended; planned: nothing on record, unfinished: no end on record"),
        Column("reason", TEXT, "", "why it was stopped or does not count as complete"),
        Column("epoch", WHOLE, "epochs", "last one evaluated"),
        Column("complete", TRUTH, "", "evaluated at its last planned epoch; only these enter a mean"),
        Column("attempts", WHOLE, "", "times it was started, by its record"),
        Column("gate_passed", TRUTH, "", "verdict of its gate"),
        Column("collapsed", TRUTH, "", "effective rank of z below half of its untrained value"),
        Column("views", WHOLE, "views", "observed views M"),
        _DATASET,
        _PRESET,
        _COMMIT,
        _DIRTY,
        Column("device", TEXT, "", "what it computed on"),
        Column("host", TEXT, "", "machine"),
        Column(
            "processor", TEXT, "", "architecture and widest instructions, several joined by +; others round otherwise"
        ),
        Column("split_hash", TEXT, "", "of the indices of train, validation and test"),
        Column("seconds", NUMBER, "s", "its workers were held, all attempts; else its wall time"),
        _USD,
        *_FROM,
    ),
    "epochs": (
        _STUDY,
        _RUN,
        Column("epoch", WHOLE, "epochs", "completed; NA where only steps are known"),
        Column("split", CATEGORY, "", "images it was measured on; NA where unknown"),
        _ARM,
        _SEED,
        Column("attempt", WHOLE, "", "that measured it"),
        Column("step", WHOLE, "steps", "optimiser steps since the start"),
        Column("samples_seen", WHOLE, "images", "since the start"),
        Column("probe_epoch", WHOLE, "epochs", "of the last fit of the dearer probes (r2_...)"),
        Column("origin", CATEGORY, "", "as in runs"),
        Column("source", TEXT, "", "file it was read from"),
        Column("caveat", TEXT, "", "what its source says against these values"),
        Column("conflict", TRUTH, "", "another row has the same key and another value: both stand, neither is used"),
        Column("linacc/z_agg@M", NUMBER, "percent", "linear accuracy of the aggregate at the run's own M"),
    ),
    "trials": (
        _STUDY,
        Column("trial", WHOLE, "", "number; -1, -2, ... were taken over from earlier studies"),
        Column("name", TEXT, "", "in logs"),
        _RUN,
        _ARM,
        Column("stratum", TEXT, "", "level it belongs to"),
        Column("label", TEXT, "", "its settings in words"),
        Column("state", CATEGORY, "", "how it ended"),
        Column("reason", TEXT, "", "why it was stopped"),
        Column("epoch", WHOLE, "epochs", "reached; values at unlike epochs are not comparable"),
        Column("value", NUMBER, "of the metric", "score at that epoch; NaN unless complete or pruned"),
        Column("sampler", TEXT, "", "what suggested it"),
        Column("taken_from", TEXT, "", "earlier study it was taken over from"),
    ),
    "arms": (
        _STUDY,
        _ARM,
        Column("role", TEXT, "", "best, reference's name, control's name, candidate, untrained, grid; single, foreign"),
        Column("arm", TEXT, "", "short name, unique in its study"),
        Column("label", TEXT, "", "its settings in words"),
        Column("stratum", TEXT, "", "level it belongs to"),
        Column("reference", TEXT, "", "short name of the arm it is compared with"),
        Column("n", WHOLE, "runs", "complete ones that have the study's metric"),
        Column("planned", WHOLE, "runs", "planned"),
        Column("epoch", WHOLE, "epochs", "at which its runs were measured"),
        _METRIC,
        Column("mean", NUMBER, "of the metric", "over its complete runs"),
        Column("low", NUMBER, "of the metric", "lower end of the 95 % t interval; NaN below 3 runs"),
        Column("high", NUMBER, "of the metric", "upper end"),
        Column("search_value", NUMBER, "percent", "linear accuracy it was chosen by, too high by selection"),
        Column("place", WHOLE, "", "in the search's order of its level"),
        Column("parameters", WHOLE, "", "trained, of all parts; NA in records that do not say"),
        Column("gate_passed", WHOLE, "runs", "of gate_judged"),
        Column("gate_judged", WHOLE, "runs", ""),
        Column("collapsed", WHOLE, "runs", "of collapsed_judged"),
        Column("collapsed_judged", WHOLE, "runs", ""),
        Column("device_seconds", NUMBER, "s", "of GPUs, or of cores where there were none"),
        _USD,
        _COMMIT,
        _DIRTY,
        Column("origin", CATEGORY, "", "as in runs"),
    ),
    "contrasts": (
        _STUDY,
        Column("contrast", TEXT, "", "its question; of an undeclared one, what it compares"),
        Column("arm", TEXT, "", "short name"),
        Column("reference", TEXT, "", "short name"),
        Column("arm_id", TEXT, "", "of the arm"),
        Column("role", TEXT, "", "of the arm"),
        Column("reference_arm_id", TEXT, "", "of the reference"),
        Column("reference_role", TEXT, "", "of the reference"),
        _METRIC,
        Column("unit", TEXT, "", "of the metric"),
        Column("primary", TRUTH, "", "declared before the data; only these have a verdict"),
        Column("family", WHOLE, "contrasts", "declared together and adjusted for each other"),
        Column("mean", NUMBER, "of the metric", "arm minus reference, over seeds that both have"),
        Column("low", NUMBER, "of the metric", "lower end of the unadjusted 95 % t interval; NaN below 3 pairs"),
        Column("high", NUMBER, "of the metric", "upper end"),
        Column("sd", NUMBER, "of the metric", "of the paired differences"),
        Column("n", WHOLE, "pairs", ""),
        Column("dropped", WHOLE, "seeds", "without a pair"),
        Column("effect", NUMBER, "s.d.", "mean in s.d. of the paired differences (Cohen's d)"),
        Column("improvement", NUMBER, "0 to 1", "share of seeds in which the arm is better, a tie counting half"),
        Column("p", NUMBER, "", "of the paired t test, unadjusted"),
        Column("p_adjusted", NUMBER, "", "Holm's, over the family"),
        Column("level", NUMBER, "", "significance level at which Holm's rule decides it"),
        Column("adjusted_low", NUMBER, "of the metric", "lower end of the interval at that level"),
        Column("adjusted_high", NUMBER, "of the metric", "upper end"),
        Column(
            "verdict",
            TEXT,
            "",
            "better, worse, not resolved, no verdict: n<3 / diverged, exploratory, same arm, not run",
        ),
        Column("resolvable", NUMBER, "of the metric", "smallest observed difference that would have been resolved"),
        Column("resolvable_with_power", NUMBER, "of the metric", "smallest true one resolved 8 times in 10"),
        Column("seeds_needed", WHOLE, "seeds", "to resolve it, were mean and s.d. to stay; NA: more than 1000 or none"),
    ),
}

FURTHER = {
    "epochs": (
        "a float64 per metric under its name on record, per declared metric that ends in @M, and seconds.<kind> (s)"
    ),
    "trials": "param.<setting>, and a float64 objective.<name>",
    "arms": "config.<setting>, and per metric of the table <metric>_mean, _low, _high (float64) and _n (Int64)",
}
"""Settings are float64 where all are numbers, boolean where all are truths, else text; a setting that is null is NA."""


def columns() -> pd.DataFrame:
    """What every column means: frame, column, dtype, unit, about; further ones as ``...``."""
    import pandas as pd

    rows = [(frame, *column) for frame, of in COLUMNS.items() for column in of]
    rows += [(frame, "...", "", "", about) for frame, about in FURTHER.items()]
    return pd.DataFrame(rows, columns=["frame", "column", "dtype", "unit", "about"])
