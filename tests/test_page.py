"""The page of a study as text: its words follow the decisions, its counts the rows, and nothing in it is taken for
code."""

from __future__ import annotations

import base64
import hashlib
import html as escapes
import json
import math
import re
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from page_studies import HOSTILE, STUDIES, full, half
from test_analysis import Builder

import analysis
from analysis.__main__ import main
from analysis.page import rows, run_details
from analysis.page.facts import gather
from analysis.page.figures import FIGURES
from analysis.page.figures.drawing import NARROW, WIDE, Refused, figure_of, to_svg
from analysis.page.forest import forest, pairs
from analysis.page.health import health
from analysis.page.progress import EMPTY, INTERRUPTED, RUNNING
from analysis.page.trust import trust
from analysis.page.words import answer, head, next_step
from analysis.page.writing import OFFLINE, asset, data, page, policy
from analysis.recorded.study import load
from analysis.sentences.answer import answers
from analysis.sentences.caveats import caveats
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.differences import differences
from analysis.statistics.family import PENDING
from analysis.tables.importance import importance
from trainer import evaluate, presets
from trainer.record.identity import arm_id, arm_settings

ASSETS = Path(__file__).resolve().parent.parent / "analysis" / "page" / "assets"


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    found = {name: gather(load(make(folder / name).folder)) for name, make in STUDIES.items()}
    later = {
        name: gather(found[name].study, now=found[name].touched + 3600) for name in ("empty", "one_trial", "all_nan")
    }
    return found | later


@pytest.fixture(scope="module")
def pages(facts):
    return {name: page([one]) for name, one in facts.items()}


class Reader(HTMLParser):
    """Text, ids and scripts of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.tags, self.text, self.scripts, self.handlers = [], [], [], [], []
        self._script = None
        self.feed(text)

    def handle_starttag(self, tag, given):
        names = dict(given)
        self.tags.append(tag)
        self.ids += [names["id"]] if "id" in names else []
        self.handlers += [name for name in names if name.startswith("on")]
        if tag == "script":
            self._script = names.get("type", "code")
            self.scripts.append([self._script, ""])

    def handle_endtag(self, tag):
        self._script = None if tag == "script" else self._script

    def handle_data(self, text):
        if self._script is not None:
            self.scripts[-1][1] += text
        elif self.tags[-1:] not in (["style"], ["pre"]):
            self.text.append(text)


def words_of(text: str) -> str:
    return " ".join(" ".join(Reader(text).text).split())


# --- what is said


def test_the_answer_uses_the_words_of_the_adjusted_decisions(facts):
    found = differences(facts["full"].study)
    verdicts = dict(zip(found["question"], found["verdict"], strict=True))
    assert verdicts["coding rate, stopgrad"] == "better" and verdicts["ema minus stopgrad"] == "not resolved"
    said = answer(facts["full"])
    assert len(said) <= 2 and said[0].startswith("Better: coding rate, stopgrad +13.0 [")
    assert "ema minus stopgrad" in said[1] and said[1].startswith("Not resolved")


def test_the_forest_draws_what_the_table_says(facts):
    one = facts["full"]
    for _, line in one.primary.iterrows():
        by_seed = pairs(one.study, line)
        assert len(by_seed) == line["n"] and math.isclose(sum(by_seed.values()) / len(by_seed), line["mean"])
    row = forest(one)[0]
    assert (row.verdict, row.n, row.level) == ("better", "3/3", "good") and "+13.0" in row.difference
    assert str(row.drawing).count('class="seed"') == 3 and 'class="ci"' in row.drawing
    two = forest(facts["half"])[0]
    assert two.verdict == PENDING and two.n == "3/4"


SENTENCES = {
    "empty": ["Nothing has started", "python studies/demo.py --resume", "0/24 trials", "not compared yet"],
    "one_trial": ["1 of 24 trials have ended; no comparison yet", "INTERRUPTED", "60.0 @ 6"],
    "all_nan": ["No run gave a number: 6 of 6 NaN since epoch 1", "NaN 6", "No score: none of 6 trials has one."],
    "half": ["n = 3, 4 needed", PENDING, "2 of 4 trials", "no record"],
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_study_that_is_not_whole_says_what_is_missing(pages, name):
    said = words_of(pages[name])
    for sentence in SENTENCES[name]:
        assert sentence in said, sentence
    assert not re.search(r"\b(nan|None|NaT|<NA>)\b", said)
    assert not re.search(r"\b(better|worse)\b", re.sub(r"(more|less) is better", "", said)), "a verdict"


def test_a_verdict_waits_for_every_planned_seed(tmp_path, capsys):
    study = half(tmp_path / "half")
    assert differences(load(study.folder), ended=True).loc[0, "verdict"] == "better"  # what a peek would say
    early = gather(load(study.folder))
    assert early.primary["verdict"].tolist() == [PENDING] and "better" not in early.table["verdict"].tolist()
    folder = str(study.folder)
    for words in ([folder], [folder, "--full"], ["status", str(tmp_path)], ["log", folder], ["table", folder]):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert PENDING in said, words
        assert not re.search(
            r"\b(better|worse)\b", re.sub(r"(more|less) is better|P\(better|arm is better", "", said)
        ), words
    for run_id, value in (("s0-lambda0-4", 51.0), ("s1-best-4", 65.0)):
        study.run(run_id, value)
    assert gather(load(study.folder)).primary["verdict"].tolist() == ["better"]


@pytest.mark.parametrize(
    "search, given, planned",
    [
        ({"top_k": 3}, {}, 12),
        ({"top_k": 3, "race": 1}, {}, 6),
        ({"top_k": 3, "verdict": False}, {}, 0),
        ({"top_k": 3}, {"num_trials": 2}, 9),
        ({"top_k": 3, "warm_start": ["earlier"]}, {"num_trials": 2}, 12),
        ({"top_k": 3}, {"num_trials": 0}, 0),
        ({"top_k": 2}, {"confirm": ["stopgrad", "ema"]}, 15),
        ({"top_k": 3}, {"arms": [{"role": "grid", "key": key, "overrides": {"seed": 0}} for key in "ab"]}, 15),
    ],
)
def test_runs_to_compare_are_counted_as_they_are_planned(search, given, planned, tmp_path):
    given = {"num_trials": 3, "confirm": ["stopgrad"]} | given
    made = Builder(tmp_path / "demo", seeds=[1, 2, 3], search=search, **given)
    assert gather(load(made.folder)).progress.runs_planned == planned
    made.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0])
    made.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                 "usd_per_hour": 0}, {"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": True,
                 "budget": None})  # fmt: skip
    assert gather(load(made.folder)).progress.runs_planned == 3  # its reference is the same arm, or was not asked for


def test_state_and_next_step(facts, tmp_path):
    one = facts["half"]
    assert one.progress.state == RUNNING and next_step(one).text.startswith("Nothing")
    late = gather(load(one.study.folder), now=one.touched + 3600)
    assert late.progress.state == INTERRUPTED and next_step(late).command == "python studies/demo.py --resume"
    assert facts["empty"].progress.state in (EMPTY, RUNNING) and head(facts["full"]).cost.startswith("unknown")
    wrong = full(tmp_path / "wrong")
    wrong.arm("sh2", "shared", "shared", 0.0, [60.0, 61.0, 60.5], reference="s0", rank=20.0)
    assert "it must collapse in all" in next_step(gather(load(wrong.folder))).text


def test_after_a_resolved_study_comes_a_command_that_runs(tmp_path, capsys):
    study = Builder(tmp_path / "a study", num_trials=3, confirm=["stopgrad"], seeds=[1, 2, 3])
    study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                  "usd_per_hour": 0, "command": "python studies/demo.py --resume"})  # fmt: skip
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], rank=1.7, gate=False)
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 63.0, 64.5], "s0", 65.0)
    for trial, (weight, score) in enumerate([(0.1, 65.0), (0.01, 55.0), (0.001, 50.0)]):
        study.trial(trial, "stopgrad", weight, score)
    study.decide({"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": True, "budget": None})
    assert next_step(gather(load(study.folder))).text.startswith("Try larger λ: ")
    study.trial(3, "stopgrad", 0.5, 60.0)
    command = next_step(gather(load(study.folder))).command
    for seed in (1, 2, 3, 1000):  # the last one's was a search's
        (study.folder / "runs" / f"0123456789-s{seed}").mkdir()
    done = subprocess.run(
        ["sh", "-c", f'python() {{ printf "%s\\n" "$@"; }}; {command}'], capture_output=True, text=True
    )
    given = done.stdout.split("-m\ntrainer.evaluate\n")[1:]
    assert [one.splitlines()[1] for one in given] == [f"{study.folder}/runs/0123456789-s{seed}" for seed in (1, 2, 3)]
    assert evaluate.main(given[0].splitlines()) == 2
    assert "there is no file" in capsys.readouterr().err  # of the checkpoint: the words are understood


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (
            "python studies/demo.py --seeds 3 --quick --until-resolved 5 --resume",
            r"python studies/demo.py --quick --seeds (\d+) --study demo_\1_seeds",
        ),
        (
            "study.run('optim.lr=0.1', quick=True, seeds=(0, 1, 2), resume=True)",
            r"study.run\('optim.lr=0.1', quick=True, seeds=(\d+), study='demo_\1_seeds'\)",
        ),
    ],
)
def test_more_seeds_are_priced_and_commanded(tmp_path, command, wanted):
    study = full(tmp_path / "seeds")
    study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                  "usd_per_hour": 0, "command": command})  # fmt: skip
    study.decide({"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": True, "budget": None})
    step = next_step(gather(load(study.folder)))
    found = re.fullmatch(wanted, step.command)
    assert found and f"{found[1]} seeds instead of 3" in step.text and "smallest resolvable" in step.text
    close = Builder(tmp_path / "close", num_trials=1, confirm=["stopgrad"], seeds=[1, 2, 3])
    close.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    close.arm("s1", "best", "stopgrad", 0.1, [49.0, 51.2, 53.3], "s0", 65.0)  # 186 would resolve it; a study takes 100
    close.trial(0, "stopgrad", 0.1, 65.0)
    close.decide({"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": True, "budget": None})
    facts = gather(load(close.folder))
    assert answers(facts.study, facts.found, facts.spent, 80)[0].startswith(
        "Points of z_agg, 3 seeds; "
    )  # of one contrast
    step = next_step(facts)
    assert "no affordable number of seeds would resolve it" in step.text and not step.command
    info = close.folder / "study.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"confirm": ["stopgrad", "ema"]}))
    close.arm("e0", "lambda0", "ema", 0.0, [50.0, 51.0, 52.0])
    close.arm("e1", "best", "ema", 0.1, [60.0, None, None], "e0", 65.0)  # of this one little is known
    assert "4 seeds instead of 3" in next_step(gather(load(close.folder))).text


def test_more_seeds_take_no_race_and_no_noise_floor(tmp_path):
    said = []
    for beside in ("", "race", "noise"):
        study = full(tmp_path / f"seeds{beside}")
        noted = {"noise": [{"event": "noise", "label": "the preset", "seeds": [1100], "runs": ["s9"]}],
                 "race": [{"event": "race", "trials": [0], "values": [1.0], "epochs": [6], "seeds": [1001],
                           "race_runs": [["s9"]]}]}.get(beside, [])  # fmt: skip
        runs = [("s1-best-1", 0.0), *([("s9", 4000.0)] if beside else [])]
        study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 1, "workers": 1, "gpus": 0, "cpus": 1,
                      "usd_per_hour": 0}, *noted,
                     *({"event": "start", "name": name, "trial": None, "t": t} for name, t in runs),
                     *({"event": "finish", "name": name, "trial": None, "run_id": name, "t": t + 3600.0,
                        "state": "complete", "value": 1.0, "epoch": 6} for name, t in runs),
                     {"event": "session", "t": 8000.0, "seconds": 8000.0, "cores": 2, "finished": True,
                      "budget": None})  # fmt: skip
        said.append(next_step(gather(load(study.folder))).text)
    assert said[0] == said[1] == said[2] and "more core-hours" in said[0]


def test_health_counts_the_rows_that_its_links_show(facts):
    for one in facts.values():
        both = {table.name: table for table in rows.tables(one)}
        for item in health(one):
            found = re.search(r"view=(\w+)&flag=(\w+)", item.rows)
            if found is None:
                continue
            count = int(re.search(r"(\d+)", item.text)[1])
            marked = {row["id"] for row in both[found[1]].rows if found[2] in row["flags"]}
            if found[2] == "gate":  # counted are the others
                count = int(re.search(r"/(\d+)", item.text)[1]) - count
            assert len(marked) == count, (item, marked)


def test_values_of_unlike_epochs_never_interleave(facts):
    for table in rows.tables(facts["full"]):
        ordered = [row for row in rows.order(table) if row["value"] is not None]
        epochs = [row["epoch"] for row in ordered]
        assert epochs == sorted(epochs, reverse=True)
        for epoch in set(epochs):
            scores = [row["value"] for row in ordered if row["epoch"] == epoch]
            assert scores == sorted(scores, reverse=True)
    trials = rows.tables(facts["full"])[0]
    value = next(column for column in trials.columns if column.kind == "value")
    assert rows.shown(value, rows.order(trials)[0]) == "65.0 @ 6"


@pytest.mark.parametrize(
    "words",
    [
        ["objective.weights.rate=0.03"],
        ["objective.teacher=ema", "objective.ema.half_life=0.02", "optim.lr=0.001"],
        ["objective.teacher=shared", "objective.weights.rate=0", "schedule.name=constant"],
    ],
    ids=lambda words: words[0],
)
def test_the_command_of_a_run_gives_its_arm(tmp_path, words):
    from trainer.__main__ import _options

    config, study = presets.load("digits", words, {"seed": 7}), full(tmp_path / "demo")
    info = json.loads((study.folder / "study.json").read_text())
    base = arm_settings(presets.load("digits", ["optim.weight_decay=0.01"]))
    (study.folder / "study.json").write_text(
        json.dumps(info | {"preset": "digits", "overrides": ["optim.weight_decay=0.01"], "base": base})
    )
    config = presets.load("digits", ["optim.weight_decay=0.01", *words], {"seed": 7})
    run = load(study.folder).runs["s1-best-1"]
    object.__setattr__(run, "config", json.loads(config.model_dump_json()))
    object.__setattr__(run, "seed", 7)
    command = shlex.split(run_details.command(gather(load(study.folder)), run))
    assert command[:3] == ["python", "-m", "trainer"]
    options = _options(command[3:])
    again = presets.load(options.preset, options.overrides, {"seed": options.seed, "epochs": options.epochs})
    assert arm_id(again) == arm_id(config) and again.seed == 7


def searched_well(folder: Path, trials: int):
    """A search whose scores follow one setting; the other is a word that does nothing."""
    study = Builder(folder, num_trials=trials, confirm=["stopgrad"])
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0])
    for number in range(trials):
        rate = 0.0 if number == 0 else 0.001 * 1.2 ** ((7 * number) % trials)
        value = 50.0 + 20.0 * ((7 * number) % trials) / trials
        study.trial(number, ("stopgrad", "ema")[number % 3 % 2], rate, value)
        study.run(f"t{number}", value)
    return study


def test_importance_is_exploratory_and_has_a_range_and_its_trials(tmp_path, capsys):
    study = searched_well(tmp_path / "many", 26)
    found = importance(load(study.folder))
    assert found.n == 26 and found.epoch == 6 and found.shares["setting"].tolist() == ["lambda_rate", "teacher"]
    first, second = (row for _, row in found.shares.iterrows())
    assert first["share"] > 0.8 and second["share"] < 0.1 and first["low"] <= first["share"] <= first["high"] + 0.05
    assert 0 < first["high"] - first["low"] < 0.5, "resamples differ"
    facts = gather(load(study.folder))
    said = words_of(page([facts]))
    assert (
        "Importance of settings at epoch 6 (n = 26, exploratory): lambda_rate" in said
        and "Exploratory, in no verdict" in said
    )
    assert main([str(study.folder), "--full"]) == 0
    out = capsys.readouterr().out
    assert "Importance of searched settings at epoch 6, n = 26 trials (exploratory)" in out and "in no verdict" in out
    verdict = (study.folder / "report" / "verdict.txt").read_text(encoding="utf-8")
    assert "mportance" not in verdict and "fANOVA" not in verdict


def test_importance_is_refused_where_it_would_say_nothing(facts, tmp_path, capsys):
    few = searched_well(tmp_path / "few", 23)
    assert importance(load(few.folder)) == "23 trials have a score at one epoch; importance needs 24 for 2 settings."
    assert "importance needs 24 for 2 settings" in words_of(page([gather(load(few.folder))]))
    assert main([str(few.folder), "--full"]) == 0
    assert "Importance of searched settings: 23 trials have" in capsys.readouterr().out
    for one in facts.values():
        assert isinstance(importance(one.study), str)
    early = searched_well(tmp_path / "early", 30)
    for number in range(10):  # stopped: only the first judgement has enough trials
        path = early.folder / "runs" / f"t{number}" / "records.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    found = importance(load(early.folder))
    assert (found.epoch, found.n) == (3, 30) and "Too few trials reached epoch 6" in found.others[0]


# --- how it is written


def test_every_id_is_unique_and_every_figure_speaks(facts, pages):
    both = page([facts["full"], facts["half"]])
    for text in (*pages.values(), both):
        ids = Reader(text).ids
        assert len(ids) == len(set(ids))
        for label in re.findall(r'aria-labelledby="([^"]+)"', text):
            assert set(label.split()) <= {*ids, "run-title"}
        for target in re.findall(r'(?:href="#|url\(#)([\w-]+)["\)]', text):
            assert target in ids, target
    drawn = re.findall(r'<svg[^>]*role="img".*?</svg>', pages["full"], re.DOTALL)
    assert len(drawn) >= 6
    for svg in drawn:
        assert re.search(r"<title[^>]*>\S.*?</title><desc[^>]*>[^<]{20,}</desc>", svg) and "<text" in svg
    assert "Two studies" not in both and "2 studies" in both


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_text_in_figures_is_large_enough(facts, width):
    for drawing in FIGURES.values():
        try:
            svg = drawing.svg(facts["full"], width, "x")
        except Refused as why:
            assert str(why).endswith(".")
            continue
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: ?[^\";]*?([\d.]+)px", svg)]
        assert sizes and min(sizes) >= 11, sizes
        assert f'viewBox="0 0 {width} ' in svg


def test_numbers_in_figures_are_not_cut():
    figure, panel = figure_of(WIDE, 300)
    panel.text(0.5, 0.5, "lr=0.00317 ends at 0.9387")
    with plt.rc_context({"svg.fonttype": "none"}):
        svg = to_svg(figure, "x", "0.00417", "from 0.0051 on")
    plt.close(figure)
    assert all(said in svg for said in ("lr=0.00317 ends at 0.9387", "0.00417", "0.0051"))
    assert not re.search(r'="[^"]*\.\d{3}', svg)  # places, a hundredth of a pixel each


def test_a_parameter_called_like_a_column_is_none_of_the_settings(tmp_path):
    made = Builder(tmp_path / "demo", num_trials=1, ranges={"trial": "1 to 9", "lambda_rate": "log-uniform"})
    made.trial(0, "stopgrad", 0.1, 60.0)
    (trials, _) = rows.tables(gather(load(made.folder)))
    assert [column.key for column in trials.columns if column.key.startswith("p.")] == ["p.lambda_rate", "p.teacher"]


def test_heads_stand_over_their_numbers(pages):
    for table in re.findall("<table.*?</table>", pages["full"], re.DOTALL):
        heads = re.findall(r'<th scope="col"[^>]*>', table)
        body = table.partition("<tbody")[2]
        cells = re.findall(r"<t[dh][^>]*>", body.partition("</tr>")[0])
        if len(cells) == len(heads):
            aligned = [['class="num' in cell for cell in row] for row in (heads, cells)]
            assert aligned[0] == aligned[1], heads


def test_marks_lead_to_rows(facts, pages):
    known = {row["id"] for table in rows.tables(facts["full"]) for row in table.rows}
    marks = set(re.findall(r'data-run="([^"]+)"', pages["full"]))
    assert marks and marks <= known


def test_whatever_a_name_holds_is_text(facts, pages):
    text = pages["hostile"]
    read = Reader(text)
    code = [body for kind, body in read.scripts if kind == "code"]
    assert code == [asset(name) for name in OFFLINE] and not read.handlers and "img" not in read.tags
    assert "49" not in re.findall(r"<caption>[^<]*", text)
    found = json.loads(next(body for kind, body in read.scripts if kind == "application/json"))
    reasons = {run["reason"] for run in found["runs"].values()}
    labels = {run["label"] for run in found["runs"].values()}
    assert set(HOSTILE) <= reasons and set(HOSTILE) <= labels
    for one in HOSTILE:
        assert escapes.escape(one).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text or one[:50] in text


def test_only_our_scripts_may_run(pages):
    text = pages["full"]
    asked = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    allowed = re.findall(r"sha256-([^&']+)", escapes.unescape(asked))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts] == allowed
    assert "default-src 'none'" in policy(OFFLINE, False) and "connect-src" not in policy(OFFLINE, False)
    assert not re.search(r'(src|href)="(?!#)', text), "nothing is fetched"


def test_the_chart_is_the_published_one_and_our_own_code_is_small():
    noted = (ASSETS / "VENDORED.md").read_text(encoding="utf-8")
    for name in ("uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"):
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() in noted
    assert "MIT" in asset("uPlot.LICENSE") or "Permission is hereby granted" in asset("uPlot.LICENSE")
    assert sum(len(asset(name)) for name in OFFLINE[1:]) <= 10_240


def test_numbers_are_finite_in_the_data(facts):
    for one in facts.values():
        json.dumps(data(one), allow_nan=False)


# --- the command


def test_pages_are_written(tmp_path, capsys):
    one, two = full(tmp_path / "one"), half(tmp_path / "two")
    assert main(["report", str(one.folder), str(two.folder)]) == 0
    assert capsys.readouterr().out.split() == [str(study.folder / "report" / "report.html") for study in (one, two)]
    assert main(["report", str(one.folder), str(two.folder), "--out", str(tmp_path / "all.html")]) == 0
    both = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert both.count("<article") == 2 and len(both) < 900_000
    assert (one.folder / "report" / "report.html").stat().st_size <= 450_000
    capsys.readouterr()
    for words, said in (
        ([str(tmp_path / "none")], "is not a study folder"),
        ([str(one.folder), "--out", str(tmp_path)], "is a folder"),
        ([], "STUDY"),
    ):
        assert main(["report", *words]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1 and said in err


def test_a_running_trial_shows_what_it_has_and_where_it_is(tmp_path):
    study = half(tmp_path / "demo")
    study.run("t2", 58.0, epochs=4, reason=None)
    one = gather(load(study.folder))
    (row,) = [row for row in rows.tables(one)[0].rows if row["id"] == "t002"]
    assert (row["state"], row["value"], row["epoch"], row["reason"]) == ("running", 58.0, 4, "epoch 4 of 6")
    assert row["at"] == one.changed["t2"] and row["flags"] == ["open"]
    late = gather(load(study.folder), now=one.touched + 3600)
    assert [row["state"] for row in rows.tables(late)[0].rows if row["id"] == "t002"] == ["not ended"]


def test_processors_of_two_kinds_are_told(tmp_path):
    """The same commit rounds otherwise on another kind, and a search may choose otherwise by it."""
    made = full(tmp_path / "demo")
    kinds = {"s1-best-1": "x86_64 avx2", "s1-best-2": "x86_64 avx2+x86_64 avx512f"}
    said = lambda one: str(caveats(one, comparison_table(one), differences(one)))  # noqa: E731
    assert "processor" not in said(load(made.folder))
    for run, kind in kinds.items():
        path = made.folder / "runs" / run / "records.jsonl"
        first, _, rest = path.read_text().partition("\n")
        line = json.loads(first)
        made_on = [line | {"provenance": line["provenance"] | {"processor": one}} for one in kind.split("+")]
        path.write_text("\n".join([*map(json.dumps, made_on), rest]))
    assert dict(trust(gather(load(made.folder))))["processors"] == "x86_64 avx2, x86_64 avx512f"
    frame = analysis.load(made.folder).runs.set_index("run_id")["processor"]
    assert {run: frame[run] for run in kinds} == kinds and frame.notna().sum() == 2
    told = "come from 2 kinds of processor (2 of x86_64 avx2, 1 of x86_64 avx512f), which round otherwise"
    assert told in said(load(made.folder))
