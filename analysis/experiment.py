"""A study as an experiment log: objective, setup, results, observations, comparison; what is to be decided is left
open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.frames.build import flat
from analysis.frames.of_study import NOT_RUN
from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.rendering.decimals import decimals
from analysis.rendering.formats import as_markdown, clean, to_markdown
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, interval
from analysis.sentences.bill import costs
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.family import NO_VERDICT, NOT_RESOLVED, PENDING
from analysis.tables.paper_tables import paper_tables

ACCURACIES = ("linacc", "top1")
"""Parts of the names of reference metrics that stand beside a study's accuracy."""
MOST_REFERENCES = 30
RESULTS = ("arms", "contrasts", "gates", "leakage")
"""Tables of the log's results."""
_LEFT = "_To be written by whoever decides; nothing here follows from the numbers alone._"


def experiment_log(frames: Frames, study: Study, reference: Frames) -> str:
    """The log of one study in Markdown.

    Args:
        frames: of this study alone.
        reference: of ``analysis.REFERENCE``; looked at, in no test.
    """
    about = frames.studies.iloc[0].to_dict()
    spent = cost(study)
    table = comparison_table(study, spent)
    parts = [
        f"# Experiment: {as_markdown(about['study'])}",
        _head(about, frames),
        "## Objective", _objective(study),
        "## Setup", "### Configuration", _configuration(study, frames, about),
        "### Hardware and cost", _points([*_where(frames), *costs(study, table, spent)]),
        "### Reproduction", _reproduction(study),
        "## Results",
        *(text for name in RESULTS for text in _tables("###", paper_tables(frames, name)[1])),
        "## Observations", "Computed from the records.", _numbered(sentences(study, table, spent)),
        "## Comparison to reference", *_references(about, reference),
        "## Implications", _LEFT,
        "## Decisions", "Open; tick what was decided.", _points(_decisions(frames), "- [ ]"),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(about: dict[str, Any], frames: Frames) -> str:
    days = [f"{when:%Y-%m-%d %H:%M}" for name in ("created", "updated") if pd.notna(when := about[name])]
    ends = ", ".join(f"{count} {state}" for state, count in frames.runs["state"].value_counts().items() if count)
    lines = [
        f"**Date**: {' to '.join(days)} UTC" if days else "**Date**: not on record",
        f"**Status**: {about['state']}{f'; runs: {ends}' if ends else ''}",
        f"**Records**: {as_markdown(about['folder'])}",
    ]
    return "  \n".join(lines)


def _objective(study: Study) -> str:
    asked = study.declared
    if not asked.question and not asked.contrasts:
        return "No question was declared."
    lines = [f"{one.question}: {one.arm} minus {one.reference}, in {one.measures}" for one in asked.contrasts]
    head = as_markdown(asked.question)
    return f"{head}\n\nDeclared before the data:\n\n{_points(lines)}" if lines else head


def _configuration(study: Study, frames: Frames, about: dict[str, Any]) -> str:
    info = study.info
    search = info.get("search") or {}
    lines = {
        "preset": about["preset"], "data set": about["dataset"], "split": about["split_hash"],
        "epochs": about["epochs"],
        "changed settings": ", ".join(info.get("overrides") or []), "seeds of the verdict": about["seeds"],
        "search": f"{about['planned']} trials by {search.get('sampler', '?')} on seed {about['search_seed']}"
        if pd.notna(about["planned"]) else "none, the arms were given",
        "searched": "; ".join(f"{name}: {text}" for name, text in (info.get("ranges") or {}).items()),
        "stopping": ", ".join(f"{name} {value}" for name, value in (info.get("stopping") or {}).items()),
    }  # fmt: skip
    shown = [f"**{name}**: {_shown(value)}" for name, value in lines.items() if _shown(value) != EMPTY]
    base = flat(info.get("base") or {}, "")
    if base:
        shown.append(f"**settings**: {', '.join(f'{name}={_shown(value)}' for name, value in base.items())}")
    differing = _differing(frames)
    table = "\n\n" + "\n\n".join(_tables("####", [differing])) if differing else ""
    return "\n".join(f"- {line}" for line in shown) + table


def _differing(frames: Frames) -> Sheet | None:
    """Settings in which the compared arms are not all alike."""
    arms_of = frames.arms
    columns = [name for name in arms_of if name.startswith("config.") and arms_of[name].nunique(dropna=False) > 1]
    if not columns:
        return None
    rows = [[row["arm"], *(_plain(row[name]) for name in columns)] for _, row in arms_of.iterrows()]
    return Sheet("Settings that differ between the arms", ["arm", *(name[7:] for name in columns)], rows)


def _where(frames: Frames) -> list[str]:
    runs = frames.runs
    devices = ", ".join(sorted(runs["device"].dropna().unique())) or "not on record"
    hosts = runs["host"].nunique()
    commits = sorted({commit[:10] for joined in runs["commit"].dropna() for commit in joined.split("+")})
    said = [f"Devices: {devices}, on {hosts} machine{'' if hosts == 1 else 's'}."] if hosts else []
    return [*said, f"Code: {', '.join(commits)}."] if commits else said


def _reproduction(study: Study) -> str:
    lines = []
    if study.command:
        lines = ["As its last session was started; in another `--results-dir` it runs anew:", _command(study.command)]
    lines += ["This log again:", _command(f"python -m analysis log {shlex.quote(str(study.folder))}")]
    return "\n\n".join(lines)


def _command(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}bash\n{clean(text)}\n{fence}"


def _references(about: dict[str, Any], reference: Frames) -> list[str]:
    """Rows of the reference tables on the same data set, with what speaks against each."""
    of_set = reference.runs[reference.runs["dataset"].map(_same) == _same(about["dataset"])]
    epochs = reference.epochs.merge(of_set[["study", "run_id"]], on=["study", "run_id"])
    metrics = [name for name in epochs if any(part in name for part in ACCURACIES) and not name.endswith("_std")]
    rows = [
        [row["study"], row["run_id"], _plain(row["epoch"]), name, f"{row[name]:g}", _plain(row["caveat"])]
        for name in metrics
        for _, row in epochs.dropna(subset=name).iterrows()
    ]
    if not rows:
        return [f"No reference row is about {_shown(about['dataset'])}."]
    rows.sort(key=lambda row: row[0] != "research log")
    left = len(rows) - MOST_REFERENCES
    said = "Single runs or published means under other settings, on their own splits: to look at, in no test."
    more = [f"{left} more rows on {_shown(about['dataset'])} are in `analysis/reference`."] if left > 0 else []
    sheet = Sheet("", ["from", "run", "epoch", "metric", "value", "caveats"], rows[:MOST_REFERENCES], 6)
    return [said, _body(sheet), *more]


def _decisions(frames: Frames) -> list[str]:
    """What each declared contrast leaves to decide."""
    found = []
    for _, row in frames.contrasts[frames.contrasts["primary"].astype(bool)].iterrows():
        seen = interval(row["mean"], row["adjusted_low"], row["adjusted_high"], decimals(row["metric"]))
        if row["verdict"] == NOT_RUN:
            found.append(f"{row['contrast']}: not run. Run it, or give the question up?")
        elif row["verdict"] == PENDING:
            found.append(f"{row['contrast']}: {PENDING} (n={row['n']}). Finish its runs, or give the question up?")
        elif row["verdict"] in (NO_VERDICT, NOT_RESOLVED):
            needed = (
                f"; {row['seeds_needed']} seeds would resolve it as it stands" if pd.notna(row["seeds_needed"]) else ""
            )
            found.append(
                f"{row['contrast']}: {row['verdict']} (n={row['n']}, {seen}{needed}). More seeds, or leave it open?"
            )
        else:
            found.append(
                f"{row['contrast']}: {row['verdict']} (n={row['n']}, {seen}). Accept it, and for which settings?"
            )
    return [*found, "Read the test split, once, for what is to be reported?"] if found else ["What to declare and run?"]


def _tables(level: str, sheets: Iterable[Sheet]) -> list[str]:
    return [to_markdown([sheet]).replace("## ", f"{level} ", 1).strip() for sheet in sheets]


def _body(sheet: Sheet) -> str:
    return to_markdown([sheet]).partition("\n\n")[2].strip()


def _points(lines: Iterable[str], mark: str = "-") -> str:
    return "\n".join(f"{mark} {as_markdown(line)}" for line in lines)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {as_markdown(line)}" for number, line in enumerate(lines, start=1))


def _plain(value: Any) -> str:
    return EMPTY if pd.isna(value) or value == "" else f"{value:g}" if isinstance(value, float) else clean(str(value))


def _shown(value: Any) -> str:
    return as_markdown(_plain(value)) if not isinstance(value, list | dict) else as_markdown(str(value))


def _same(name: Any) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())
