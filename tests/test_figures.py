"""What every figure owes its reader: labelled axes, a legend of what is drawn, and no text cut off or on top of other
text.

The rules are checked on the artists of all figures, on studies and diagnostics from the usual to the broken.
"""

from __future__ import annotations

import warnings
from contextlib import suppress

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from test_analysis import EPOCHS, Builder, full
from test_confirmation import top_three
from test_subspace_plots import SHIFTS, sweeps

from analysis.figures import subspace_plots, subspace_style
from analysis.figures.style import nothing, png
from analysis.page.facts import gather
from analysis.page.figures import FIGURES
from analysis.page.figures.curves import MOST
from analysis.page.figures.drawing import INK, SOFT, WIDE, Refused
from analysis.page.figures.drawing import STYLE as OF_THE_PAGE
from analysis.recorded.study import load
from trainer.subspace.summary import summary

# --- studies


def front(folder):
    study = top_three(folder, search={"objectives": ["linacc", "r2_action"], "lag": 2})
    params = {"teacher": "ema", "lambda_rate": 0.2}
    for number, state in enumerate(("complete", "pruned")):
        study.decide({"event": "warm", "from": "earlier", "trial": number, "params": params, "state": state,
            "epoch": EPOCHS, "arm_id": "w",
                      "run_id": "w-s0", "objectives": {"linacc": 60.0 - number, "r2_action": 0.55},
                      "rungs": []})  # fmt: skip
    return study


def one_trial(folder):
    study = Builder(folder)
    study.trial(0, "ema", 0.0, 50.0)
    return study


def stopped_only(folder):
    study = Builder(folder)
    study.trial(0, "ema", 0.1, 50.0, 3, "pruned", r2=0.1)
    study.trial(1, "stopgrad", 0.03, 52.0, 1, "pruned", r2=0.2)
    return study


def only_nan(folder):
    study = Builder(folder)
    study.trial(0, "ema", 0.1, None, 2, "diverged")
    study.arm("a", "best", "ema", 0.1, [None, None, None], "b")
    return study


def two_seeds(folder):
    study = Builder(folder)
    study.arm("a", "best", "stopgrad", 0.3, [60.0, 62.0], "b")
    study.arm("b", "lambda0", "stopgrad", 0.0, ["missing", "missing"])
    study.arm("c", "shared", "shared", 0.0, [31.0, 30.0])
    return study


def half_finished(folder):
    study = Builder(folder)
    study.trial(0, "stopgrad", 0.3, None, None, "unfinished")
    study.run("r1", 60.0, epochs=3, reason=None)
    study.decide({"event": "compare", "arm_id": "a", "role": "best", "label": "best", "teacher": "stopgrad",
                  "lambda_rate": 0.3, "reference": "b", "runs": ["r1", "r2"], "seeds": [1, 2]})  # fmt: skip
    return study


def wide(folder):
    study = Builder(folder, study="a_study_with_a_long_name_as_people_give_them")
    for number in range(24):
        study.trial(
            number, "stopgrad" if number % 2 else "ema", 10.0 ** (-4 + number / 6), 50 + number / 4, r2=number / 30
        )
    study.arm("a", "shared", "shared", 0.1, [60.0, 61.0, 60.5], None)
    return study


def many(folder):
    study = Builder(folder)
    for number in range(14):
        study.arm(f"{number:x}", "grid" if number else "lambda0", "ema", 0.1 * number, [60.0 + number, 61.0, 60.5],
                  label=f"ema λ={0.1 * number:.1f}")  # fmt: skip
    return study


STUDIES = {"many": many,
    "full": full, "front": front, "empty": Builder, "one trial": one_trial, "stopped only": stopped_only,
    "only NaN": only_nan,
           "two seeds": two_seeds, "half finished": half_finished, "wide": wide}  # fmt: skip


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    made = {name: make(tmp_path_factory.mktemp("study") / "demo").folder for name, make in STUDIES.items()}
    return {name: gather(load(folder)) for name, folder in made.items()}


# --- diagnostics of a run

WHO = {"run": "0123456789-s3", "arm": "cifar10, stopgrad, λ=0.03, cosine warm-up 2, half-life 0.05 (τ=0.9864)",
    "seed": "3", "epoch": "20",
       "split": "validation", "score": "61.2"}  # fmt: skip


def measured(given, angles, units, **others):
    made = summary(given, angles=angles, baselines=others).arrays
    return made | {"units": np.array(units), "about": np.array(list(WHO.items()))}


def diagnostics():
    codes = {f"z_agg@{k}": sweeps(k) for k in (1, 2, 3)} | {"pixels": sweeps(4), "untrained": sweeps(5)}
    units = ["degrees", "half canvases", "half canvases"]
    still = {name: (values, parts[:, :1].repeat(len(values), 1)) for name, (values, parts) in sweeps().items()}
    turns = {f"rotation_{axis}": sweeps(number)["rotation"] for number, axis in enumerate("xyz")}
    alone = {name: {"rotation": sweep["rotation"]} for name, sweep in codes.items()}
    found = {
        "affine": measured(sweeps(), ["rotation"], units, **codes),
        "rotation only": measured({"rotation": sweeps()["rotation"]}, ["rotation"], units[:1], **alone),
        "three turns": measured(turns, list(turns), ["degrees"] * 3),
        "at rest": measured(still, ["rotation"], units, untrained=sweeps()),
        "one shift": measured({"shift_x": (SHIFTS, sweeps()["shift_x"][1])}, [], units[1:2]),
    }
    old = {name: array for name, array in found["affine"].items() if name.partition("/")[0] in OLD_ARRAYS}
    return found | {"an earlier version's": old}


OLD_ARRAYS = {
    "factors", "codes", "angles", "values", "eigenspectrum", "basis", "path", "parallelism", "operator_deltas",
    "operator_eigenvalues",
    "operator_r2", "circle", "harmonic_power", "overlap", "overlap_chance", "projector",
}  # fmt: skip


def all_figures(studies):
    """(name, style, function that draws) of every figure of every sample."""
    for name, facts in studies.items():
        for kind in ("search", "curves", "objectives"):
            draw = FIGURES[kind].draw
            yield f"{name}: {kind}", OF_THE_PAGE, lambda draw=draw, facts=facts: draw(facts, WIDE)
    for name, arrays in diagnostics().items():
        for kind, draw in subspace_plots.figures_of(arrays).items():
            yield f"{name}: {kind}", subspace_style.STYLE, lambda draw=draw, arrays=arrays: draw(arrays)


@pytest.fixture(scope="module")
def drawn(studies):
    """Every figure, laid out."""
    figures = {}
    with plt.rc_context({"figure.max_open_warning": 0}):
        for name, style, draw in all_figures(studies):
            with plt.rc_context(style), suppress(Refused):
                figures[name] = draw()
                figures[name].canvas.draw()
    yield figures
    plt.close("all")


# --- the rules


def shown(figure):
    return [panel for panel in figure.axes if panel.get_visible() and panel.axison]


def unlabelled(figure):
    """Axes with numbers but without a name, of their own, shared, or of the whole figure."""
    bare = []
    for number, panel in enumerate(shown(figure)):
        # the page writes the name of the vertical axis above it
        above = f"{figure.get_suptitle()} {panel.get_title(loc='left')}".strip().startswith("linear")
        named = {"x": figure.get_supxlabel(), "y": figure.get_supylabel() or above}
        groups = {"x": panel.get_shared_x_axes(), "y": panel.get_shared_y_axes()}
        for side, axis in (("x", panel.xaxis), ("y", panel.yaxis)):
            own = [getattr(other, f"get_{side}label")() for other in groups[side].get_siblings(panel)]
            texts = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]
            # names on an axis (factors, codes) speak for themselves
            numbers = [text for text in texts if text.replace("−", "-").replace("-", "").replace(".", "").isdigit()]
            if numbers and not named[side] and not any(own):
                bare.append(f"{side} of panel {number}")
    return bare


def undrawn(figure):
    """Labels of legends whose mark is in no panel."""
    lines = [
        line
        for panel in shown(figure)
        for line in panel.lines
        if len(line.get_xdata()) and np.isfinite(line.get_xydata()).any()
    ]
    bars = [
        patch for panel in shown(figure) for box in panel.containers for patch in box if isinstance(patch, Rectangle)
    ]
    return [
        handle.get_label()
        for legend in [*figure.legends, *(panel.get_legend() for panel in shown(figure) if panel.get_legend())]
        for handle in legend.legend_handles
        if not (any(alike(handle, bar) for bar in bars) if isinstance(handle, Rectangle) else has(handle, lines))
    ]


def alike(handle, bar):
    return to_rgb(handle.get_facecolor()) == to_rgb(bar.get_facecolor())


def has(handle: Line2D, lines: list[Line2D]) -> bool:
    """Whether the handle's line and the handle's marker are drawn; grey and ink stand for any colour and shape."""
    generic = to_rgb(handle.get_color()) in {to_rgb(SOFT), to_rgb(INK)}

    def dashes(line):
        return None if line.get_linestyle() == "None" else line._unscaled_dash_pattern

    def shape(line):
        return "D" if line.get_marker() == "D" else "other" if generic else line.get_marker()

    def look(line):
        # the face, unless that is a colour
        face = line.get_markerfacecolor()
        hollow = isinstance(face, str) and face in ("white", "none")
        return shape(line), hollow, (line.get_alpha() or 1) < 1

    def coloured(line):
        return (
            generic
            or to_rgb(line.get_color()) == to_rgb(handle.get_color())
            or line.get_markeredgecolor() == handle.get_markeredgecolor()
        )

    marked = [line for line in lines if line.get_marker() not in (None, "None", "") and coloured(line)]
    stroked = [line for line in lines if dashes(line) is not None and coloured(line)]
    marker_ok = handle.get_marker() in (None, "None", "") or any(look(line) == look(handle) for line in marked)
    line_ok = dashes(handle) is None or any(dashes(line) == dashes(handle) for line in stroked)
    return marker_ok and line_ok


def texts_of(figure):
    renderer = figure.canvas.get_renderer()
    found = [(figure._suptitle, "title"), (figure._supxlabel, "x label"), (figure._supylabel, "y label")]
    found = [(text, name) for text, name in found if text is not None]
    found += [(text, text.get_text()) for text in figure.texts if text not in [one for one, _ in found]]
    for panel in shown(figure):
        parts = [panel.title, panel._left_title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        found += [(text, text.get_text()) for text in parts if text.get_visible() and text.get_text()]
    return [(text.get_window_extent(renderer), name) for text, name in found if text.get_text()]


def cut(figure):
    """Texts and legends that leave the picture, by more than rounding."""
    width, height = figure.bbox.width, figure.bbox.height
    boxes = texts_of(figure) + [(legend.get_window_extent(), "legend") for legend in figure.legends]
    return [name for box, name in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def collisions(figure):
    """Pairs of texts, or of a text and the figure's legend, on top of each other."""
    boxes = texts_of(figure)
    for legend in figure.legends:
        boxes += [(text.get_window_extent(), f"legend: {text.get_text()}") for text in legend.get_texts()]
    shrunk = [(box.padded(-1.5), name) for box, name in boxes]
    return [(a, b) for i, (box, a) in enumerate(shrunk) for other, b in shrunk[i + 1 :] if box.overlaps(other)]


def short(figure):
    """Samples of a line beside its name that end before its dashes are told from others."""
    samples = [line for line in figure.artists if isinstance(line, Line2D)]
    lengths = {line: float(np.ptp(line.get_xdata())) * figure.bbox.width for line in samples}
    dashes = {line: sum(line._dash_pattern[1] or ()) * figure.dpi / 72 for line in samples}
    return [line.get_linestyle() for line in samples if lengths[line] < dashes[line]]


@pytest.mark.parametrize("rule", [unlabelled, undrawn, cut, collisions, short])
def test_no_figure_breaks_a_rule(drawn, rule):
    assert len(drawn) > 50
    broken = {name: found for name, figure in drawn.items() if (found := rule(figure))}
    assert not broken


def test_more_arms_than_there_is_room_for_are_grey_lines_that_the_title_counts(drawn):
    (panel,) = drawn["many: curves"].axes
    grey = [line for line in panel.lines if line.get_linewidth() == 0.5]
    assert len(grey) == 14 - MOST and all(line.get_color() == SOFT for line in grey)
    assert panel.get_title(loc="left").endswith(f"; {14 - MOST} more arms in grey")


def test_an_empty_panel_says_what_is_missing(drawn):
    for name, figure in drawn.items():
        for panel in shown(figure):
            # a level across the panel is no mark
            marks = [line for line in panel.lines if line.get_transform() == panel.transData and len(line.get_xdata())]
            pieces = [
                part for part in panel.collections if not isinstance(part, LineCollection) or len(part.get_segments())
            ]
            if not (marks or pieces or panel.patches or panel.images):
                assert panel.texts, name


def test_letters_that_no_font_has_are_no_warning():
    def draw(text):
        figure, panel = plt.subplots()
        nothing(panel, text)
        return figure

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(draw, "\u5b66\u4e60\u7387")


def test_levels_that_need_no_training_are_told_apart_without_colour(drawn):
    levels = [line for line in drawn["full: search"].axes[0].lines if line.is_dashed()]
    assert len({str(line._unscaled_dash_pattern) for line in levels}) == len(levels) == 2


@pytest.mark.parametrize(("name", "ticks"), [("full", ["0"]), ("wide", ["0.0001", "0.001", "0.01", "0.1", "1"])])
def test_a_level_run_only_at_zero_has_one_tick_and_one_with_rates_names_every_decade(drawn, name, ticks):
    (panel,) = [panel for panel in drawn[f"{name}: search"].axes if panel.get_title(loc="left") == "shared"]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ticks


def test_every_place_of_the_pareto_plot_can_be_read(drawn):
    figure = drawn["front: objectives"]
    (panel,) = figure.axes
    notes = [text for text in panel.texts if text.get_text().isdigit()]
    assert sorted(text.get_text() for text in notes) == ["1", "2", "3"]
    marks = [line for line in panel.lines if line.get_marker() in ("D", "o", "s")]
    for note in notes:
        box = note.get_window_extent()
        for line in marks:
            radius = line.get_markersize() / 2 * figure.dpi / 72
            points = panel.transData.transform(line.get_xydata())
            # a diamond's or circle's centre is at least its radius away from the text
            outside = np.maximum(np.maximum([box.x0, box.y0] - points, points - [box.x1, box.y1]), 0)
            assert (np.abs(outside).max(1) > 0.5 * radius).all()
