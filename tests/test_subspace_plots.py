"""Figures from a stored .npz: what is drawn is what was measured, one line per anchor."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from analysis import subspace_plots as plots
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


@pytest.mark.filterwarnings("error")
def test_every_figure_is_written_from_the_file_alone(arrays, tmp_path):
    save_arrays(tmp_path / "evaluation.npz", arrays)
    written = plots.render(tmp_path / "evaluation.npz", tmp_path / "figures")
    assert [path.stem for path in written] == ["eigenspectrum", "paths", "overlap", "circle", "operators", "harmonics"]
    for path in written:
        assert path.read_bytes()[:4] == b"\x89PNG" and plt.imread(path)[..., :3].std() > 0.03
    assert not plt.get_fignums()


@pytest.mark.filterwarnings("error")
def test_no_angle_no_baseline_and_a_code_at_rest_are_drawn_too(tmp_path):
    still = {name: (values, codes[:, :1].repeat(len(values), 1)) for name, (values, codes) in sweeps().items()}
    for name, made in {
        "rest": summary(still, angles=["rotation"], code="z_agg@3"),
        "lines": summary({"shift_x": sweeps()["shift_x"]}, angles=[]),
    }.items():
        save_arrays(tmp_path / f"{name}.npz", made.arrays)
        written = plots.render(tmp_path / f"{name}.npz", tmp_path / name)
        assert len(written) == (6 if name == "rest" else 3)


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
    assert panel.get_title() == f"{factor}: encoder"
    drawn = panel.collections[0].get_segments()
    stored = arrays[f"path/{factor}"]
    assert len(drawn) == pieces * len(stored)
    for number, path in enumerate(stored):
        own = drawn[number * pieces : (number + 1) * pieces]
        ends = np.roll(path, -1, axis=0)
        assert all(np.allclose(piece, [path[t], ends[t]]) for t, piece in enumerate(own))


def test_the_heat_map_names_factors_and_shows_their_overlap(arrays):
    figure = plots.overlap_figure(arrays)
    panel = figure.axes[0]
    names = ["rotation", "shift_x", "shift_y"]
    for axis in (panel.get_xticklabels(), panel.get_yticklabels()):
        assert [label.get_text() for label in axis] == names
    table = arrays["overlap/rotation+shift_x+shift_y"]
    shown = {text.get_position(): text.get_text() for text in panel.texts}
    assert shown == {(c, r): f"{table[r, c]:.2f}" for r in range(3) for c in range(3) if r != c}
    assert np.array_equal(panel.images[0].get_array(), table)
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[:3]] == ["encoder", "pixels", "untrained"]


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
    assert [panel.get_title() for panel in figure.axes] == ["rotation", "shift_x", "shift_y"]
    for line, code in zip(figure.axes[1].lines, ("", ".pixels", ".untrained"), strict=True):
        assert np.array_equal(line.get_ydata(), arrays[f"eigenspectrum/shift_x{code}"][0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["encoder", "pixels", "untrained"]


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name, word in (("missing.npz", "missing.npz"), ("text.npz", "not a readable"), ("other.npz", "factors")):
        with pytest.raises(UsageError, match=word):
            plots.render(tmp_path / name, tmp_path / "out")
        assert plots.main([str(tmp_path / name), str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert plots.main([]) == 2 and not (tmp_path / "out").exists()
