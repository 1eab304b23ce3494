"""Figures from a stored .npz: what is drawn is what was measured, one line per anchor."""

import json
import warnings
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from analysis.figures import subspace_plots as plots
from analysis.figures.subspace_about import with_study_label
from trainer.errors import UsageError
from trainer.subspace.summary import save_arrays, summary

ANCHORS, STEPS, WIDTH = 12, 12, 8
ANGLES, SHIFTS = torch.arange(STEPS) * 30.0, torch.arange(-2.0, 3.0)


def sweeps(seed=0, noise=0.2):
    rng, theta = np.random.default_rng(seed), np.deg2rad(ANGLES.numpy())
    turn = np.stack([np.cos(theta), np.sin(theta)], 1) @ rng.normal(size=(2, WIDTH))
    content = rng.normal(size=(ANCHORS, 1, WIDTH))
    line = SHIFTS.numpy()[:, None] * rng.normal(size=WIDTH)
    noisy = [content + part + noise * rng.normal(size=(ANCHORS, len(part), WIDTH)) for part in (turn, line, -line)]
    return {"rotation": (ANGLES, noisy[0]), "shift_x": (SHIFTS, noisy[1]), "shift_y": (SHIFTS, noisy[2])}


@pytest.fixture(scope="module")
def arrays():
    return summary(sweeps(), angles=["rotation"], baselines={"pixels": sweeps(1), "untrained": sweeps(2)}).arrays


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def warnings_are_errors(test):
    """Of the test's own doing: pytest's mark also takes for errors what earlier tests left to the garbage collector."""

    @wraps(test)
    def strict(*arguments, **named):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return test(*arguments, **named)

    return strict


@warnings_are_errors
def test_every_figure_is_written_from_the_file_alone(arrays, tmp_path):
    save_arrays(tmp_path / "evaluation.npz", arrays)
    open_before = plt.get_fignums()  # of other tests
    written = plots.render(tmp_path / "evaluation.npz", tmp_path / "figures")
    assert [path.stem for path in written] == [
        "eigenspectrum",
        "paths",
        "overlap",
        "operator_r2",
        "circle",
        "operators",
        "harmonics",
    ]
    for path in written:
        assert path.read_bytes()[:4] == b"\x89PNG" and plt.imread(path)[..., :3].std() > 0.03
    assert plt.get_fignums() == open_before


@warnings_are_errors
def test_no_angle_no_baseline_and_a_code_at_rest_are_drawn_too(tmp_path):
    still = {name: (values, codes[:, :1].repeat(len(values), 1)) for name, (values, codes) in sweeps().items()}
    for name, made in {
        "rest": summary(still, angles=["rotation"], code="z_agg@3"),
        "lines": summary({"shift_x": sweeps()["shift_x"]}, angles=[]),
    }.items():
        save_arrays(tmp_path / f"{name}.npz", made.arrays)
        written = plots.render(tmp_path / f"{name}.npz", tmp_path / name)
        assert len(written) == (7 if name == "rest" else 4)


def test_lines_join_one_anchors_own_sweep_and_circles_close(arrays):
    panel = plots.circle_figure(arrays).axes[0]
    lines = next(child for child in panel.collections if isinstance(child, LineCollection)).get_segments()
    stored = arrays["circle/rotation"]
    assert len(lines) == len(stored) == ANCHORS // 2
    for line, curve in zip(lines, stored, strict=True):
        assert np.allclose(line[:-1], curve) and np.array_equal(line[-1], line[0])
    scatter = next(child for child in panel.collections if not isinstance(child, LineCollection))
    angles = dict(zip(map(tuple, scatter.get_offsets().data.round(9)), scatter.get_array(), strict=True))
    assert all(angles[tuple(point)] == t * 30 for curve in stored.round(9) for t, point in enumerate(curve))


@pytest.mark.parametrize("column, factor, pieces", [(0, "rotation", STEPS), (1, "shift_x", len(SHIFTS) - 1)])
def test_paths_are_closed_for_angles_only(arrays, column, factor, pieces):
    panel = plots.paths_figure(arrays).axes[column]
    assert panel.get_title() == f"{factor}\nencoder"
    drawn = panel.collections[0].get_segments()
    stored = arrays[f"path/{factor}"]
    assert len(drawn) == pieces * len(stored)
    for number, path in enumerate(stored):
        own = drawn[number * pieces : (number + 1) * pieces]
        ends = np.roll(path, -1, axis=0)
        assert all(np.allclose(piece, [path[t], ends[t]]) for t, piece in enumerate(own))


def test_overlaps_are_drawn_beside_both_levels_of_chance(arrays):
    figure = plots.overlap_figure(arrays)
    names = ["rotation", "shift_x", "shift_y"]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        f"{names[a]} – {names[b]}" for a, b in pairs
    ]
    assert [panel.get_title() for panel in figure.axes] == ["encoder", "pixels", "untrained encoder"]
    for panel, code in zip(figure.axes, ("", ".pixels", ".untrained"), strict=True):
        stored = {
            kind: arrays[f"{kind}/rotation+shift_x+shift_y{code}"]
            for kind in ("overlap", "overlap_chance", "overlap_matched")
        }
        drawn = [line for line in panel.lines if line.get_marker() == "o"]
        bands = [line for line in panel.lines if line.get_linewidth() == 7]
        chance = [line for line in panel.lines if line.is_dashed()]
        for row, (pair, dot, band, level) in enumerate(zip(pairs, drawn, bands, chance, strict=True)):
            assert dot.get_xdata()[0] == stored["overlap"][pair] and dot.get_ydata()[0] == row
            assert list(band.get_xdata()) == [stored["overlap_matched"][end][pair] for end in (1, 2)]
            assert set(level.get_xdata()) == {stored["overlap_chance"][pair]}
            inside = stored["overlap_matched"][1][pair] <= stored["overlap"][pair] <= stored["overlap_matched"][2][pair]
            assert (dot.get_markerfacecolor() == "white") == inside
    for text in figure.axes[0].texts:
        assert text.get_text() in {f"{arrays['overlap/rotation+shift_x+shift_y'][pair]:.2f}" for pair in pairs}


def test_one_factor_alone_has_no_overlap_and_the_figure_says_so():
    made = summary({"shift_x": sweeps()["shift_x"]}, angles=[], baselines={"pixels": {"shift_x": sweeps(1)["shift_x"]}})
    figure = plots.overlap_figure(made.arrays)
    (panel,) = figure.axes
    assert not panel.images and not panel.axison and "Only shift_x was swept" in panel.texts[0].get_text()


def test_operators_are_judged_against_delta_and_by_composition(arrays):
    figure = plots.operator_r2_figure(arrays)
    curve, bars = figure.axes[:2]
    for line, code in zip(curve.lines, ("", ".pixels", ".untrained"), strict=False):
        assert np.array_equal(line.get_xdata(), arrays[f"operator_deltas/rotation{code}"])
        assert np.allclose(line.get_ydata(), np.maximum(arrays[f"operator_r2/rotation{code}"][2], -0.25))
    drawn = [bar.get_width() for bar in bars.containers[0]]
    assert drawn == [arrays[f"operator_composition/rotation{code}"][1] for code in ("", ".pixels", ".untrained")]
    assert curve.get_xlabel() == "change δ of rotation (degrees)"


WHO = {
    "run": "abc-s3",
    "arm": "digits, ema, λ=0.03",
    "seed": "3",
    "epoch": "20",
    "split": "validation",
    "score": "61.2",
}


def test_every_figure_names_run_arm_seed_epoch_and_score(arrays):
    known = arrays | {
        "about": np.array(list(WHO.items())),
        "units": np.array(["degrees", "half canvases", "half canvases"]),
    }
    line = "run abc-s3 (digits, ema, λ=0.03), seed 3, epoch 20, validation, linacc of z_agg 61.2 %"
    unscored = known | {"about": np.array(list((WHO | {"score": ""}).items()))}
    for name, draw in plots.figures_of(known).items():
        plt.close("all")
        assert line in draw(known).get_suptitle().replace("\n", " "), name
        assert "linacc not measured at this epoch" in draw(unscored).get_suptitle().replace("\n", " "), name
        assert "names no run" in draw(arrays).get_suptitle().replace("\n", " "), name
    assert "shift_x (half canvases)" in {panel.get_xlabel() for panel in plots.paths_figure(known).axes}


def test_an_arm_of_a_study_is_named_as_the_study_names_it(arrays, tmp_path):
    folder = tmp_path / "study" / "runs" / "abc-s3"
    folder.mkdir(parents=True)
    lines = [{"event": "suggest", "trial": 0, "name": "t000", "run_id": "other-s3", "label": "another"},
             {"event": "compare", "arm_id": "abc", "role": "best", "seeds": [3, 4], "runs": ["abc-s3", "abc-s4"],
                 "label": "ema λ=0.03 cosine"}]  # fmt: skip
    (tmp_path / "study" / "decisions.jsonl").write_text(
        "".join(json.dumps({"schema_version": 1, **line}) + "\n" for line in lines)
    )
    known = arrays | {"about": np.array(list(WHO.items()))}
    named = dict(with_study_label(known, folder / "subspace-epoch20.npz")["about"].tolist())
    assert named == WHO | {"arm": "ema λ=0.03 cosine"}
    assert dict(with_study_label(known, tmp_path / "x.npz")["about"].tolist()) == WHO
    assert with_study_label(arrays, tmp_path / "x.npz")["about"].tolist() == [["source", f"{tmp_path.name}/x.npz"]]


@warnings_are_errors
def test_files_of_earlier_versions_are_drawn_and_what_they_lack_is_said(arrays, tmp_path):
    new = ("overlap_matched", "operator_composition", "units", "about")
    old = {name: value for name, value in arrays.items() if name.partition("/")[0] not in new}
    save_arrays(tmp_path / "old.npz", old)
    assert len(plots.render(tmp_path / "old.npz", tmp_path / "figures")) == 7
    figure = plots.overlap_figure(old)
    assert "no covariance-matched null" in figure.get_suptitle().replace("\n", " ")
    assert not any(line.get_linewidth() == 7 for panel in figure.axes for line in panel.lines)
    assert "not in this file" in {
        text.get_text() for panel in plots.operator_r2_figure(old).axes for text in panel.texts
    }


def test_eigenvalues_are_those_of_the_angle_in_the_title(arrays):
    panel = plots.operators_figure(arrays).axes[0]
    chosen = int(np.argmin(np.abs(arrays["operator_deltas/rotation"] - 40)))
    assert f"{arrays['operator_deltas/rotation'][chosen]:g}°" in panel.get_title()
    drawn = panel.lines[-1]
    expected = arrays["operator_eigenvalues/rotation"][chosen]
    assert np.allclose(drawn.get_xdata() + 1j * drawn.get_ydata(), expected)
    assert {text.get_text() for text in panel.texts} == {str(k) for k in range(int(180 // 30) + 1)}


def test_bars_and_spectra_show_the_stored_numbers(arrays):
    bars = plots.harmonics_figure(arrays).axes[0].containers
    power = arrays["harmonic_power/rotation.pixels"][:, 1:]
    assert [bar.get_height() for bar in bars[1]] == pytest.approx((power / power.sum(1, keepdims=True)).mean(0)[:8])
    figure = plots.eigenspectrum_figure(arrays)
    assert [panel.get_title().split("\n")[0] for panel in figure.axes] == ["rotation", "shift_x", "shift_y"]
    assert figure.axes[1].get_title().split("\n")[1].startswith("-2 to 2 (")
    for line, code in zip(figure.axes[1].lines, ("", ".pixels", ".untrained"), strict=True):
        assert np.array_equal(line.get_ydata(), arrays[f"eigenspectrum/shift_x{code}"][0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["encoder", "pixels", "untrained encoder"]


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name, word in (("missing.npz", "missing.npz"), ("text.npz", "not a readable"), ("other.npz", "factors")):
        with pytest.raises(UsageError, match=word):
            plots.render(tmp_path / name, tmp_path / "out")
        assert plots.main([str(tmp_path / name), str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert plots.main([]) == 2 and not (tmp_path / "out").exists()
