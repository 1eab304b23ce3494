"""Tables of a paper in four formats from one set of numbers, and several studies in one table or the reason why not."""

from __future__ import annotations

import csv
import html
import html.parser
import io
import json

import pytest

import analysis
from analysis.__main__ import main
from analysis.comparison import comparison
from analysis.formats import to_html, to_latex, to_markdown
from analysis.layout import Sheet
from test_analysis import Builder, full

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
    sheets = comparison(analysis.load(study))
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
    assert "add --table arms or --table contrasts" in capsys.readouterr().err


def test_what_the_tables_say(study):
    arms, contrasts = comparison(analysis.load(study))
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
    only = comparison(analysis.load(study), ("contrasts",))
    assert [sheet.rows for sheet in only] == [contrasts.rows]


def test_search_and_confirmed_scores(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0], "s0", 65.0)
    study.arm("s2", "candidate", "stopgrad", 0.2, [62.0, 64.0, 66.0], "s1", 66.0)
    study.trial(0, "stopgrad", 0.1, 65.0, arm_id="s1")
    study.trial(1, "stopgrad", 0.2, 66.0, epoch=3, state="pruned", arm_id="s2")
    arms = comparison(analysis.load(study.folder))[0]
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
    assert "nothing has been compared yet" in capsys.readouterr().err
    assert main(["table", str(tmp_path / "none")]) == 2


def two(tmp_path, **differs) -> tuple[str, str]:
    first, second = full(tmp_path / "one").folder, full(tmp_path / "two").folder
    for folder, changed in ((first, {}), (second, differs)):
        for path in (folder / "runs").glob("*/records.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            lines[0]["config"]["data"] |= {"name": "digits", "max_angle": 180.0} | changed.get("data", {})
            lines[0]["split_hash"] = changed.get("split", "a" * 64)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        info = json.loads((folder / "study.json").read_text())
        (folder / "study.json").write_text(json.dumps(info | {"study": folder.name} | changed.get("info", {})))
    return str(first), str(second)


def test_studies_that_measure_the_same_stand_in_one_table(tmp_path, capsys):
    first, second = two(tmp_path)
    shown = said(capsys, "compare", first, second)
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 12 and {row[0] for row in rows} == {"| one", "| two"} and "no test" in shown
    numbers = list(csv.DictReader(io.StringIO(said(capsys, "compare", first, second, "--format", "csv"))))
    assert [row["study"] for row in numbers] == ["one"] * 6 + ["two"] * 6
    assert float(numbers[0]["mean"]) == 64.0 and "verdict" not in numbers[0]


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"data": {"max_angle": 90.0}}, "data.max_angle differs (one has 180.0; two has 90.0)"),
        ({"data": {"name": "mnist"}}, "data set differs (one has digits; two has mnist)"),
        ({"split": "b" * 64}, "split differs (one has aaaaaaaaaaaa; two has bbbbbbbbbbbb)"),
        ({"info": {"epochs": 3}}, "number of epochs differs (one has 6; two has 3)"),
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
    first, second = two(tmp_path, data={"added": 0}, info=base)
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
