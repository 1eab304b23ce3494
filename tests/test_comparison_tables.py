"""Tables of a paper in four formats from one set of numbers, and several studies in one table or the reason why not."""

from __future__ import annotations

import csv
import html
import html.parser
import io
import json
import re
from dataclasses import replace

import pytest
from page_studies import STUDIES
from test_analysis import Builder, full
from test_subspace_plots import sweeps

import analysis
from analysis.__main__ import main
from analysis.rendering.formats import to_html, to_latex, to_markdown
from analysis.rendering.layout import Sheet
from analysis.tables.paper_tables import TABLES, paper_tables
from trainer.gates import judge
from trainer.subspace.summary import summary

HOSTILE = [
    "<script>alert(1)</script>", "a & b", "x_1 _y_ *z*", "50 % $5$ #1 ~ ^", "{braces} \\input{file}", 'quotes " \' `x`',
    "🙂 emoji", "שלום right to left", "\u202egnirts", "a|b | c", "[link](http://x)", "two\nlines\tand tabs", "=1+1",
    "&lt;b&gt;", "α λ Ω",
]  # fmt: skip


class Page(html.parser.HTMLParser):
    """Tags and the text of the cells of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.cells, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = tag in ("td", "th")
        if self._inside:
            self.cells.append("")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return full(tmp_path_factory.mktemp("studies") / "demo").folder


def said(capsys, *words: str) -> str:
    assert main(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_the_same_cells_in_every_format(study, capsys):
    frames = analysis.load(study)
    sheets = [sheet for name in ("arms", "contrasts") for sheet in paper_tables(frames, name)[1]]
    cells = [cell for sheet in sheets for row in sheet.rows for cell in row]
    markdown = said(capsys, "table", study)
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and ":--" not in line]
    shown = [html.unescape(cell).replace("\\", "") for line in lines for cell in line[2:-2].split(" | ")]
    assert [cell for cell in shown if cell in cells] == cells
    page = Page(said(capsys, "table", study, "--format", "html"))
    assert page.cells == [cell for sheet in sheets for row in (sheet.columns, *sheet.rows) for cell in row]
    latex = said(capsys, "table", study, "--format", "latex")
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == len(sheets) == 2
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == sum(1 + len(sheet.rows) for sheet in sheets)
    counts = [len(sheet.columns) for sheet in sheets for _ in range(1 + len(sheet.rows))]
    for row, count in zip(rows, counts, strict=True):
        assert row.count(" & ") == count - 1
    assert "62.0" not in latex and r"64.0 \ensuremath{\pm} 5.0" in latex and "65.0" in latex


def test_csv_is_unrounded_and_one_table(study, capsys, tmp_path):
    found = analysis.load(study)
    for name, frame in (("arms", found.arms), ("contrasts", found.contrasts)):
        rows = list(csv.DictReader(io.StringIO(said(capsys, "table", study, "--format", "csv", "--table", name))))
        assert [float(row["mean"]) for row in rows] == frame["mean"].tolist()
    said(capsys, "table", study, "--format", "csv", "--table", "arms", "--out", tmp_path / "arms.csv")
    assert (tmp_path / "arms.csv").read_text().startswith("study,arm,role,n,planned,epoch,metric,mean")
    assert main(["table", str(study), "--format", "csv"]) == 2
    assert "add --table and one of arms, contrasts, gates" in capsys.readouterr().err


def test_what_the_tables_say(study):
    frames = analysis.load(study)
    arms, contrasts = (paper_tables(frames, name)[1][0] for name in ("arms", "contrasts"))
    best = dict(zip(arms.columns, arms.rows[0], strict=True))
    assert best["linear accuracy of z_agg (percent)"] == "64.0 ± 5.0" and best["n"] == "3/3" and best["epoch"] == "6"
    assert best["search minus confirmed"] == "-"  # nothing says at which epoch this arm was chosen
    first = dict(zip(contrasts.columns, contrasts.rows[0], strict=True))
    assert first["contrast"] == "coding rate, stopgrad" and first["verdict"] == "better" and first["pairs"] == "3"
    # differences 12, 13, 14: 13 s.d.; half of the 95 % interval 2.48
    assert first["d"] == "+13.00" and first["P(better)"] == "1.00"
    assert first["difference [95 %]"] == "+13.0 [+10.5, +15.5]"
    exploratory = [row for row in contrasts.rows if row[contrasts.columns.index("verdict")] == "exploratory"]
    assert exploratory and all(row[contrasts.columns.index("adjusted interval")] == "-" for row in exploratory)


def test_search_and_confirmed_scores(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0], "s0", 65.0)
    study.arm("s2", "candidate", "stopgrad", 0.2, [62.0, 64.0, 66.0], "s1", 66.0)
    study.trial(0, "stopgrad", 0.1, 65.0, arm_id="s1")
    study.trial(1, "stopgrad", 0.2, 66.0, epoch=3, state="pruned", arm_id="s2")
    (arms,) = paper_tables(analysis.load(study.folder), "arms")[1]
    rows = {row[0]: dict(zip(arms.columns, row, strict=True)) for row in arms.rows}
    best, second = rows["stopgrad λ=0.1 (best)"], next(row for name, row in rows.items() if "candidate" in name)
    assert best["search score @ epoch"] == "65.0 @ 6" and best["search minus confirmed"] == "+1.0"
    assert second["search score @ epoch"] == "66.0 @ 3" and second["search minus confirmed"] == "-"


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_is_text(label):
    sheet = Sheet(label, [label, "n"], [[label, "1"], ["plain", "2"]], notes=(label,))
    line = " ".join(label.split()).replace("\u202e", "\N{REPLACEMENT CHARACTER}")
    page = to_html([sheet])
    parsed = Page(page)
    assert parsed.cells == [line, "n", line, "1", "plain", "2"]
    assert not {"script", "b", "img", "a"} & set(parsed.tags) and "\u202e" not in page
    markdown = to_markdown([sheet])
    rows = [row for row in markdown.splitlines() if row.startswith("|")]
    assert len(rows) == 4 and all(row.replace("\\|", "").count("|") == 3 for row in rows) and "<" not in markdown
    assert not [row for row in rows if "](" in row.replace("\\]", "")]
    latex = to_latex([sheet])
    rows = [row for row in latex.splitlines() if row.endswith(r" \\")]
    assert len(rows) == 3 and all(row.count("&") - row.count(r"\&") == 1 for row in rows)
    body = latex.replace("% needs", "")
    for letter in "%$#":
        assert body.count(letter) == body.count(f"\\{letter}"), letter
    assert "\\input" not in body and "<" not in body and "_" not in body.replace("\\_", "")


def test_latex_tables_fit_the_page_with_labels_of_their_own_and_real_minus_signs():
    """Compiled by hand with pdflatex and lualatex: a table of contrasts is 110 pt wider than an A4 page is long."""
    sheet = Sheet("demo: arms", ["arm", "difference"], [["lr=1e-3 of 2026-11-27", "-1.5 [-3.9, +1.0]"]])
    latex = to_latex([sheet, sheet, replace(sheet, title="**")])
    assert re.findall(r"\\label{(.*)}", latex) == ["tab:demo-arms", "tab:demo-arms-2", "tab:table"]
    assert latex.count(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{\begin{tabular}{lr}") == 3
    minus = r"\ensuremath{-}"
    assert latex.count(rf"lr=1e-3 of 2026-11-27 & {minus}1.5 {{[}}{minus}3.9, +1.0{{]}} \\") == 3


def test_labels_reach_the_formats_escaped(tmp_path, capsys):
    study = Builder(tmp_path / "demo")
    label = "<script>alert(1)</script> & _x_"
    study.arm("s0", "grid_a", label, 0.0, [50.0, 51.0, 52.0], label=label)
    shown_as = {"md": "&lt;script&gt;", "html": "&lt;script&gt;", "latex": r"\textless{}script\textgreater{}"}
    for form, text in shown_as.items():
        shown = said(capsys, "table", study.folder, "--format", form)
        assert text in shown and "<script>" not in shown


def test_nothing_to_tabulate_is_one_line(tmp_path, capsys):
    empty = Builder(tmp_path / "demo").folder
    assert main(["table", str(empty)]) == 2
    assert "Nothing has been compared yet" in capsys.readouterr().err
    assert main(["table", str(tmp_path / "none")]) == 2


# --- gates, leakage, subspaces, cost


def recorded(study, run_id, change):
    """Change the lines of a run's record."""
    path = study.folder / "runs" / run_id / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def cells(sheet: Sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The usual study with what training and evaluation also leave: verdicts of a gate, sweeps, times and a price."""
    study = full(tmp_path_factory.mktemp("measured") / "demo")
    lines = study.decided()
    path = study.folder / "decisions.jsonl"
    begin = {"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
             "usd_per_hour": 3.6, "command": "x"}  # fmt: skip
    runs = [run for line in lines if line["event"] == "compare" and line["role"] != "untrained" for run in line["runs"]]
    times = [{"event": "start", "t": 10.0 * at, "name": run, "trial": None} for at, run in enumerate(runs)]
    ends = [line | {"event": "finish", "t": line["t"] + 10.0, "state": "complete"} for line in times]
    timed = [line for both in zip(times, ends, strict=True) for line in both]
    last = {"event": "session", "t": 200.0, "seconds": 200.0, "cores": 2, "finished": True, "budget": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in [begin, *lines, *timed, last]))
    found = summary(sweeps(), angles=["rotation"], baselines={"pixels": sweeps(1), "untrained": sweeps(2)}).metrics
    held = {name: value if value == value else None for name, value in found.items()}
    for at, run in enumerate(("s1-best-1", "s1-best-2", "s1-best-3")):

        def add(lines, at=at):
            lines[-2]["metrics"] |= held | {"subspace_effrank/rotation": 2.0 + at, "r2_pose/z_1@1": 0.5}
            lines[-2]["metrics"] |= {"r2_pose/z_agg@3": 0.1 * at}
            rules = [f"ok   linacc: {62 + 2 * at}, must be >= 60", "ok   rank of z_agg: 20, must be >= 5"]
            if at == 2:
                rules[1], lines[-1]["gate"]["passed"] = "FAIL rank of z_agg: missing or not finite, must be >= 5", False
            lines[-1]["gate"]["reasons"] = rules

        recorded(study, run, add)
    return study


@pytest.fixture(scope="module")
def frames(measured):
    return analysis.load(measured.folder)


def test_gates_have_every_rule_of_every_run_and_the_share_of_each_arm(frames):
    numbers, (shares, runs) = paper_tables(frames, "gates")
    best = numbers[numbers["arm_id"] == "s1"]
    assert best["rule"].tolist() == ["linacc", "rank of z_agg"] * 3
    assert best["value"].tolist()[::2] == [62.0, 64.0, 66.0] and best["threshold"].tolist() == [60.0, 5.0] * 3
    assert best["rule_passed"].tolist() == [True] * 5 + [False] and best["passed"].tolist() == [True] * 4 + [False] * 2
    assert set(best["arm_passed"]) == {2} and set(best["arm_judged"]) == {3} and best["value"].isna().sum() == 1
    of_best = [row for row in cells(shares) if row["arm"].startswith("stopgrad λ=0.1")]
    assert [(row["rule"], row["values"], row["passed"]) for row in of_best] == [
        ("all rules", "-", "2/3"), ("linacc ≥ 60", "62 to 66", "3/3"), ("rank of z_agg ≥ 5", "20, 1 missing", "2/3"),
    ]  # fmt: skip
    third = [row for row in cells(runs) if row["arm"].startswith("stopgrad λ=0.1")][2]
    assert third["verdict"] == "failed" and third["rank of z_agg ≥ 5"] == "missing FAIL"
    control = [row for row in cells(shares) if row["arm"] == "shared λ=0"]
    assert [row["passed"] for row in control] == ["0/3"], "without rules on record the verdict stands"


def test_a_verdict_reads_back_as_it_was_judged():
    """The lines of a gate are what records hold: reading them apart must follow their writing."""
    from analysis.tables.gate_table import _rule
    from trainer import presets

    config = presets.load("digits")
    name, rule = max(config.gates.items(), key=lambda one: len(one[1].model_dump(exclude_none=True)))
    values = {"linacc/z_agg@3": 61.25, "rank_pr/z_agg@3": float("nan"), "predict/z_hat@3": 0.02}
    lines = [{"event": "eval", "split": config.data.select_on, "epoch": epoch, "metrics": values}
             for epoch in (0, rule.epoch)]  # fmt: skip
    verdict = judge(config, name, lines)
    parts = [_rule(reason) for reason in verdict.reasons]
    bounds = [value for field, value in rule.model_dump().items() if field != "epoch" and value is not None]
    assert sorted(part["threshold"] for part in parts) == pytest.approx(sorted(bounds)) and len(parts) > 2
    assert all(part["rule"] and part["relation"] in (">=", "<=") for part in parts)
    assert [part["rule_passed"] for part in parts] == [reason.startswith("ok") for reason in verdict.reasons]
    assert any(part["value"] is None for part in parts) and any(part["value"] == 0.02 for part in parts)


def test_leakage_sets_the_aggregate_and_its_controls_against_one_view(frames):
    numbers, sheets = paper_tables(frames, "leakage")
    accuracy, pose = sheets
    best = cells(accuracy)[0]
    # z_agg 62, 64, 66 above 40 of one view and 60 of the mean, the same in every run
    assert (best["z_1"], best["z_agg - z_1"], best["mean z - z_1"]) == ("40.0", "+24.0 ± 5.0", "+20.0 ± 0.0")
    assert [row["arm"] for row in cells(accuracy)][-2:] == ["shared λ=0", "untrained"], "controls stand in it"
    (row,) = cells(pose)
    assert row["z_1"] == "0.500" and row["z_agg - z_1"].startswith("-0.400 ±")
    first = numbers.iloc[0]
    assert (first["gap"], first["whole_mean"], first["part_mean"], first["n"]) == (24.0, 64.0, 40.0, 3)
    assert numbers.set_index("role")["kind"]["shared"].iloc[0] == "control"


def test_subspaces_stand_beside_their_baselines_and_nulls(frames):
    numbers, (measures, overlaps) = paper_tables(frames, "subspace")
    assert set(numbers["run_id"]) == {"s1-best-1", "s1-best-2", "s1-best-3"} and set(numbers["code"]) == {"z"}
    row = cells(measures)[0]
    assert row["measure"].startswith("directions") and row["z"] == "3.0 ± 2.5" and row["n"] == "3"
    untrained = frames.epochs["subspace_effrank/rotation.untrained"].dropna().iloc[0]
    assert row["untrained"] == f"{untrained:.1f} ± 0.0"
    pairs = numbers[numbers["measure"].str.startswith("overlap.k")]
    assert len(pairs) == 3 * 3 and pairs["null_low"].le(pairs["null_high"]).all() and pairs["chance"].notna().all()
    beyond = ~pairs["value"].between(pairs["null_low"], pairs["null_high"])
    assert pairs["outside"].tolist() == beyond.tolist()
    for row in cells(overlaps):
        of_pair = pairs[pairs["factors"] == row["factors"].replace(" and ", "+")]
        assert (
            row["outside"] == f"{of_pair['outside'].sum()}/3" and row["chance"] != "-" and " to " in row["null, 95 %"]
        )
    assert "12 of 15 compared runs" in overlaps.notes[-1]


def test_cost_adds_up(frames):
    numbers, (sheet,) = paper_tables(frames, "cost")
    rows = {row["arm"]: row for row in cells(sheet)}
    # 15 runs of 10 s on one of two places; 200 s at 3.6 dollars an hour are 0.20 dollars
    assert rows["all, wall time"]["USD"] == "0.20" and rows["all, wall time"]["share"] == "100 %"
    assert rows["stopgrad λ=0.1 (best)"]["USD"] == "0.015" and rows["stopgrad λ=0.1 (best)"]["attempts"] == "3"
    parts = numbers[numbers["phase"].isin(["search", "comparison", "start-up and idle"])]
    assert parts["usd"].sum() == pytest.approx(0.2) and rows["search"]["runs"] == "12"
    assert numbers["held_seconds"].iloc[-1] == 200.0


@pytest.mark.parametrize("name", ["gates", "leakage", "subspace", "cost"])
def test_the_four_formats_of_every_table(frames, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(analysis, "load", lambda *_, **__: frames)
    numbers, sheets = paper_tables(frames, name, progress=True)
    every = [cell for sheet in sheets for row in (sheet.columns, *sheet.rows) for cell in row]
    assert Page(said(capsys, "table", tmp_path, "--table", name, "--format", "html")).cells == every
    latex = said(capsys, "table", tmp_path, "--table", name, "--format", "latex")
    assert latex.count(r"\toprule") == len(sheets)
    markdown = said(capsys, "table", tmp_path, "--table", name)
    assert markdown.count("\n| ") == sum(2 + len(sheet.rows) for sheet in sheets)
    rows = list(csv.DictReader(io.StringIO(said(capsys, "table", tmp_path, "--table", name, "--format", "csv"))))
    assert len(rows) == len(numbers) and list(rows[0]) == list(numbers.columns)


WITHOUT = {
    "gates": {"empty": "no gate was judged", "all_nan": "no gate was judged", "half": "2 of 8 runs (no record: 2)"},
    "leakage": {"empty": "no gaps", "all_nan": "no gaps", "half": "stopgrad λ=0 3/4, stopgrad λ=0.1 (best) 3/4"},
    "subspace": {"empty": "no subspace was measured", "half": "No subspace diagnostics: 8 of 8"},
    "cost": {"empty": "nothing was spent", "one_trial": "No price was given"},
}


@pytest.mark.parametrize("kind", STUDIES)
def test_studies_that_are_not_whole_say_what_is_missing(kind, tmp_path):
    found, nothing = analysis.load(STUDIES[kind](tmp_path / kind).folder), analysis.load()
    for name, table in TABLES.items():
        numbers, sheets = paper_tables(found, name, progress=True)
        text = to_markdown(sheets) + to_latex(sheets) + to_html(sheets)
        for word in ("nan", "None", "<NA>"):
            assert word not in text.replace("dominant", ""), (name, word)
        notes = " ".join(note for sheet in sheets for note in sheet.notes)
        assert WITHOUT.get(name, {}).get(kind, "") in notes, (name, notes)
        assert ("INCOMPLETE" in notes) == (kind in ("empty", "one_trial", "all_nan", "half")), name
        assert list(numbers.dtypes) == list(table.numbers(nothing).dtypes), "also empty frames have the types"


def test_two_studies_of_which_one_lacks_the_table(measured, tmp_path, capsys):
    empty = Builder(tmp_path / "demo", study="empty").folder
    shown = said(capsys, "table", measured.folder, empty, "--table", "gates")
    assert "## empty: gates\n\nNo run was compared yet, so no gate was judged." in shown
    assert main(["table", str(measured.folder), str(empty), "--table", "gates", "--format", "csv"]) == 0
    found = capsys.readouterr()
    assert found.err.startswith("note: empty: gates: No run was compared") and "note" not in found.out
    assert main(["table", str(empty), "--table", "gates"]) == 2
    assert "no gates to print. No run was compared yet" in capsys.readouterr().err


def two(tmp_path, **differs) -> tuple[str, str]:
    first, second = full(tmp_path / "one").folder, full(tmp_path / "two").folder
    for folder, changed in ((first, {}), (second, differs)):
        for path in (folder / "runs").glob("*/records.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            lines[0]["config"]["data"] |= {"name": "digits", "max_angle": 180.0} | changed.get("data", {})
            lines[0]["config"]["eval"] = {"probe_bn": "eval", "probe_epochs": [1]} | changed.get("eval", {})
            lines[0]["split_hash"] = changed.get("split", "a" * 64)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        info = json.loads((folder / "study.json").read_text())
        own = {"study": folder.name, "created": folder.name}
        (folder / "study.json").write_text(json.dumps(info | own | changed.get("info", {})))
    return str(first), str(second)


def test_studies_that_measure_the_same_stand_in_one_table(tmp_path, capsys):
    first, second = two(tmp_path)
    shown = said(capsys, "compare", first, second)
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 12 and {row[0] for row in rows} == {"| one", "| two"} and "no test" in shown
    numbers = list(csv.DictReader(io.StringIO(said(capsys, "compare", first, second, "--format", "csv"))))
    assert [row["study"] for row in numbers] == ["one"] * 6 + ["two"] * 6
    assert (
        float(numbers[0]["mean"]) == 64.0 and "verdict" not in numbers[0] and "2 studies on digits, 6 epochs" in shown
    )
    bare = [full(tmp_path / name).folder for name in ("bare", "other")]  # nothing says of what their images are
    info = json.loads((bare[1] / "study.json").read_text())
    (bare[1] / "study.json").write_text(json.dumps(info | {"created": "2026-01-02"}))  # no copy of the other
    assert "2 studies, 6 epochs" in said(capsys, "compare", *map(str, bare))


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"data": {"max_angle": 90.0}}, "data.max_angle differs (one has 180.0; two has 90.0)"),
        ({"data": {"name": "mnist"}}, "data set differs (one has digits; two has mnist)"),
        ({"split": "b" * 64}, "split differs (one has aaaaaaaaaaaa; two has bbbbbbbbbbbb)"),
        ({"info": {"epochs": 3}}, "number of epochs differs (one has 6; two has 3)"),
        (
            {"eval": {"probe_bn": "train", "probe_epochs": [2]}},
            "eval.probe_bn differs (one has eval; two has train)",
        ),
    ],
)
def test_studies_that_differ_are_refused_with_the_reason(tmp_path, capsys, differs, reason):
    first, second = two(tmp_path, **differs)
    for form in ("md", "csv"):
        assert main(["compare", first, second, "--format", form]) == 2
        shown = capsys.readouterr()
        assert reason in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_a_field_that_later_code_added_is_no_difference(tmp_path, capsys):
    base = {"base": {"data": {"name": "digits", "max_angle": 180.0, "augment": None}}}
    first, second = two(tmp_path, data={"added": 0}, eval={"added": 0, "live_every": 2}, info=base)
    info = json.loads((tmp_path / "one" / "study.json").read_text())
    (tmp_path / "one" / "study.json").write_text(json.dumps(info | base))
    assert said(capsys, "compare", first, second).count("| two |") == 6
    base["base"]["data"] |= {"augment": {"crop": 0.5}}
    info = json.loads((tmp_path / "two" / "study.json").read_text())
    (tmp_path / "two" / "study.json").write_text(json.dumps(info | base))
    assert main(["compare", first, second]) == 2
    assert "data.augment.crop differs (one has none; two has 0.5)" in capsys.readouterr().err


def test_one_study_or_an_unfinished_one_is_refused(tmp_path, capsys):
    first = full(tmp_path / "one").folder
    assert main(["compare", str(first)]) == 2 and "two study folders or more" in capsys.readouterr().err
    empty = Builder(tmp_path / "empty", study="empty").folder
    assert main(["compare", str(first), str(empty)]) == 2
    assert "empty has no compared arm yet" in capsys.readouterr().err
