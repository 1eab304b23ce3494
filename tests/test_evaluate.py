"""Evaluating a checkpoint: the command from end to end, each probe against a reference, and what selection must not
see."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as ReferenceRidge
from sklearn.neighbors import KNeighborsClassifier
from small import config, views

from analysis.figures.subspace_plots import render as draw
from analysis.recorded.runs import read_run
from analysis.recorded.study import load
from trainer import evaluate, presets
from trainer.config import GateConfig
from trainer.data.images import load_images
from trainer.data.object_views import relative_quaternion
from trainer.data.sets import mini3d
from trainer.data.views import Views
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.diagnostics import MOST_PIXELS, Diagnostics, small
from trainer.families.seq_jepa.probing.features import Features
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.families.seq_jepa.probing.path import path_features, whole_path
from trainer.families.seq_jepa.probing.retrieval import CANDIDATES, candidate_codes, chance, retrieval_scores
from trainer.gates import judge
from trainer.loop import train
from trainer.probes import protocol
from trainer.probes.neighbours import TEMPERATURE, knn_accuracy
from trainer.probes.regression import r2
from trainer.record.identity import run_id
from trainer.record.run import comparable, read
from trainer.record.writer import RunRecord
from trainer.restored import restored
from trainer.subspace.summary import load_arrays
from trainer.subspace.sweeps import factor_sweeps, planar_pictures, through_zero, unmoved

RUN = ["data.sizes=[200,60,60]", "optim.batch_size=50", "objective.teacher=ema"]


def of(*overrides, **settings):
    return config(*RUN, *overrides, **settings)


@pytest.fixture(scope="module", autouse=True)
def narrow_probes():
    """The paper's networks of 1,024 units, dozens of them, took most of the time of every evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "HIDDEN", 64)
        patch.setattr(OnlineProbe, "HIDDEN", 64)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A two-epoch run with its baselines, in a study's folder."""
    folder, run = tmp_path_factory.mktemp("evaluated") / "study", of("eval.action_probe=true", epochs=2)
    train(run, folder / "runs", "study", baselines=True)
    (folder / "study.json").write_text(json.dumps({"study": "study", "epochs": 2}))
    return run, folder, folder / "runs" / run_id(run)


def command(path, *words):
    return evaluate.main(["--checkpoint", str(path / "checkpoint.pt"), *words])


QUICK = ["--epochs", "2", "--views", "2", "3"]


@pytest.fixture(scope="module")
def evaluated(trained):
    """Its evaluation on validation (twice) and on test, with what was on record before."""
    _, folder, path = trained
    before = (path / "records.jsonl").read_bytes(), load(folder).curves
    for words in ([], [], ["--split", "test"]):
        assert command(path, *QUICK, *words) == 0
    return list(read(path / "evaluation.jsonl")), before


# --- the command


def test_a_line_says_what_was_measured_on_which_checkpoint(trained, evaluated):
    run, _, path = trained
    lines, _ = evaluated
    assert [(line["split"], line["attempt"]) for line in lines] == [("validation", 1), ("validation", 2), ("test", 3)]
    first = next(iter(read(path / "records.jsonl")))
    for line in lines:
        assert line["event"] == "eval" and line["epoch"] == line["probe_epoch"] == 2 and line["step"] == 8
        assert line["samples_seen"] == 400 and line["study"] == "study" and line["split_hash"] == first["split_hash"]
        assert (line["run_id"], line["arm_id"], line["seed"]) == (run_id(run), first["arm_id"], 0)
        assert (
            len(line["checkpoint"]["sha256"]) == 64
            and "commit" in line["provenance"]
            and line["seconds"]["evaluation"] > 0
        )
        assert line["settings"]["views"] == [2, 3] and line["settings"]["epochs"] == 2
        assert all(value is None or math.isfinite(value) for value in line["metrics"].values())
    names = lines[0]["metrics"].keys()
    for k in (1, 2, 3):
        assert {
            f"{probe}/{whose}z_agg@{k}"
            for probe in ("linacc", "probe_linacc", "knn20", "knn1")
            for whose in ("", "untrained_")
        } <= names
    assert {
        "probe_linacc/z_mean@2", "probe_linacc/z_1@1", "probe_linacc/z_res@1", "probe_linacc/pixels@1",
        "linacc/z_agg_no_actions@3",
        "r2_action.feature_std/z_pair@2", "r2_action_linear.feature_std/untrained_z_pair@2",
        "r2_action_paper_mlp.feature_std/pixels_pair@2",
        "r2_action_paper.feature_std/z_pair@2", "r2_pose/z_agg@3", "r2_pose_paper_mlp/z_1@1",
        "r2_pose_paper_mlp/z_agg_no_actions@3",
        "leakage_r2_log.feature_std/z_agg@3", "leakage_linacc_log/z_agg@3", "r2_path.none/z_agg_a@3",
        "r2_path.none/z_agg_no_vision_a@3",
        "r2_path_linear.none/z_agg_no_actions@3", "mrr/z_hat@3", "hit5/untrained_z_hat@3", "mrr/chance@3",
        "online_linacc/z_agg@3",
        "online_r2_action.feature_std/z_pair@2",
    } <= names  # fmt: skip


def test_the_same_command_gives_the_same_bits_and_another_split_others(evaluated):
    lines, _ = evaluated
    again, test = ({**comparable(line), "split": None} for line in lines[1:])
    assert again == {**comparable(lines[0]), "split": None}
    assert test["metrics"]["linacc/z_agg@3"] != again["metrics"]["linacc/z_agg@3"]


def test_what_training_measured_too_is_the_same_number(trained, evaluated):
    _, _, path = trained
    start, *_, end = (line["metrics"] for line in read(path / "records.jsonl") if line["event"] == "eval")
    found = evaluated[0][0]["metrics"]
    shared = {name for name in end if name in found}
    assert {
        "linacc/z_agg@3",
        "linacc/z_agg@1",
        "linacc/z_mean@3",
        "r2_action.feature_std/z_pair@2",
        "r2_pose/z_agg@3",
        "predict/z_hat@3",
        "rankme/z@3",
    } <= shared
    assert {name: found[name] for name in shared} == {name: end[name] for name in shared}
    for name in ("linacc/pixels@1", "r2_action.feature_std/pixels_pair@2"):
        assert found[name] == start[name]
    for name in ("linacc/z_agg@3", "linacc/z_1@1", "r2_pose/z_1@1", "r2_action.feature_std/z_pair@2"):
        kind, _, feature = name.partition("/")
        assert found[f"{kind}/untrained_{feature}"] == start[name]
    assert found["leakage_linacc_log/z_agg@3"] == found["linacc/z_agg@3"] - found["linacc/z_1@1"]


def test_features_of_a_restored_run_give_its_numbers_in_scikit_learn(trained):
    path = trained[2]
    *_, end = (line["metrics"] for line in read(path / "records.jsonl") if line["event"] == "eval")
    run = restored(str(path))
    fitted, held = run.probes.health.features(run.method)
    rows, scored = fitted.z_agg.double().numpy(), held.z_agg.double().numpy()
    penalty = 0.01 * len(rows) * np.square(rows - rows.mean(0)).mean()
    reference = ReferenceRidge(alpha=penalty).fit(rows, np.eye(10)[fitted.labels])
    right = reference.predict(scored).argmax(1) == held.labels.numpy()
    assert end["linacc/z_agg@3"] == pytest.approx(100 * right.mean())
    spread = np.linalg.svd(scored - scored.mean(0), compute_uv=False) ** 2
    assert end["rank_pr/z_agg@3"] == pytest.approx(spread.sum() ** 2 / np.square(spread).sum(), rel=1e-6)
    assert not run.method.training and run.probes.probe(run.untrained)["linacc/z_agg@3"] != end["linacc/z_agg@3"]
    with pytest.raises(evaluate.UsageError, match="the configuration given is arm .*, its own is"):
        restored(path, of("model.layers=1", epochs=1))


def test_settings_of_the_evaluation_change_what_they_name(trained, tmp_path, capsys):
    _, _, path = trained

    def measured(*words):
        assert command(path, "--out", str(tmp_path / "e.jsonl"), "--views", "3", *words) == 0
        return list(read(tmp_path / "e.jsonl"))[-1]["metrics"]

    ridge = measured("--protocol", "ridge")
    assert not any("paper" in name or name.startswith("probe_") for name in ridge) and "linacc/z_agg@3" in ridge
    paper = measured("--protocol", "paper", "--epochs", "1")
    assert not any(name.startswith("linacc") for name in paper) and "r2_action.feature_std/z_pair@2" not in paper
    linear = "r2_action_paper_linear.feature_std/z_pair@2"
    assert paper[linear] != measured("--protocol", "paper", "--epochs", "2")[linear]
    batch = measured("--protocol", "ridge", "--set", "eval.probe_bn=train", "runtime.threads=1")
    assert batch["rank_pr/z@3"] != ridge["rank_pr/z@3"]
    shown = capsys.readouterr().out
    assert "mean z" in shown and "untr." in shown and f"{ridge['linacc/z_agg@3']:.1f}" in shown


def test_subspace_diagnostics_of_a_checkpoint_are_drawn_from_their_file(trained, tmp_path, capsys):
    _, _, path = trained
    words = ["--protocol", "ridge", "--subspace", "--set", "eval.subspace.anchors=8", "--set", "eval.subspace.steps=12"]
    assert command(path, *words, "--split", "test", "--out", str(tmp_path / "e.jsonl")) == 0
    (line,) = read(tmp_path / "e.jsonl")
    assert {
        "circle_score.h1/rotation",
        "circle_score.h1/rotation.pixels",
        "parallelism/rotation.untrained",
        "subspace_effrank/rotation.z_agg@1",
    } <= line["metrics"].keys()
    arrays = tmp_path / "evaluation-test-subspace.npz"
    assert f"python -m analysis.figures.subspace_plots {arrays}" in capsys.readouterr().out
    assert load_arrays(arrays)["values/rotation"].shape == (12,)
    assert len(draw(arrays, tmp_path / "figures")) == 7
    said = dict(load_arrays(arrays)["about"].tolist())
    assert (
        said["run"] == line["run_id"]
        and said["split"] == "test"
        and said["score"] == f"{line['metrics']['linacc/z_agg@3']:.1f}"
    )
    assert load_arrays(arrays)["units"].tolist() == ["degrees"]
    assert load_arrays(arrays)["codes"].tolist() == ["", "z_agg@1", "z_agg@2", "z_agg@3", "pixels", "untrained"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--views", "-1"], "--views -1"),
        (["--views", "9"], "must be 1 to 8"),
        (["--split", "train"], "'train'"),
        (["--epochs", "0"], "--epochs 0"),
        (["--protocol", "linear"], "'linear'"),
        (["--set", "optim.lr=1"], "optim.lr=1"),
        (["--set", "eval.probe_epochs=[1]"], "eval.probe_epochs"),
        (["--set", "runtime.threads={"], "not valid YAML"),
        (["--set", "runtime.threads=0"], "runtime.threads = 0"),
        (["--out", "records.jsonl"], "studies select by"),
        (["--spilt", "test"], "did you mean --split"),
        (["--device", "mps"], "not present"),
    ],
)
def test_a_wrong_option_is_one_line(trained, capsys, words, expected):
    before = sorted(trained[2].iterdir())
    assert command(trained[2], *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and expected in error
    assert sorted(trained[2].iterdir()) == before


def test_missing_and_contradicting_files_are_one_line(trained, tmp_path, capsys):
    def fails(expected, *words):
        assert evaluate.main(["--checkpoint", str(tmp_path), *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and expected in error, error

    assert evaluate.main([]) == 2 and "--checkpoint" in capsys.readouterr().err
    fails("there is no file")
    checkpoint, records = (
        trained[2] / "checkpoint.pt",
        (trained[2] / "records.jsonl").read_text().splitlines(keepends=True),
    )
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint.read_bytes())
    fails("how the checkpoint was trained")
    (tmp_path / "records.jsonl").write_text(records[1])
    fails("no configuration")
    (tmp_path / "records.jsonl").write_text(records[0].replace('"width":4', '"width":8'))
    fails("recorded as")
    other = of("model.layers=1", epochs=1)
    train(other, tmp_path / "runs")
    (tmp_path / "records.jsonl").write_bytes((tmp_path / "runs" / run_id(other) / "records.jsonl").read_bytes())
    fails("belongs to arm")
    (tmp_path / "checkpoint.pt").write_bytes(b"PK" + bytes(100))
    fails("cannot be read")


# --- what selection must not see


def test_an_evaluation_leaves_no_trace_in_what_studies_read(trained, evaluated):
    _, folder, path = trained
    record, curves = evaluated[1]
    assert (path / "records.jsonl").read_bytes() == record
    assert load(folder).curves.equals(curves)


def test_a_test_line_in_a_record_is_refused_as_input_to_selection(tmp_path):
    run = of("gates.g={epoch: 1, rank_agg_min: 1e6}", epochs=1)
    train(run, tmp_path)
    path = tmp_path / run_id(run) / "records.jsonl"
    (gold,) = (line["metrics"] for line in read(path) if line["event"] == "eval" and line["epoch"] == 1)
    record = RunRecord(run, path.parent, "single")
    summary = record.summary(1)
    record.write("eval", dict.fromkeys(gold, 1000000000.0), 4, 1, split="test")
    assert record.summary(1) == summary and summary["score"] == gold["linacc/z_agg@3"]
    assert read_run(path).evals[1]["metrics"] == gold
    assert isinstance(run.gates["g"], GateConfig) and not judge(run, "g", record.lines()).passed
    record.close()


# --- probes against references


def blobs(n, classes=4, width=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    centres = np.random.default_rng(9).normal(size=(classes, width))
    return torch.tensor(centres[labels] + rng.normal(size=(n, width)), dtype=torch.float32), torch.tensor(labels)


def test_neighbours_vote_as_in_scikit_learn():
    (x, y), (held, truth) = blobs(300), blobs(200, seed=1)
    found = knn_accuracy(x, y, held, truth, 4)
    weights = lambda distance: np.exp((1 - distance) / TEMPERATURE)  # noqa: E731
    for k in (1, 20):
        reference = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(x.double().numpy(), y.numpy())
        assert found[k] == pytest.approx(100 * reference.score(held.double().numpy(), truth.numpy()), abs=1e-9)
    assert found[1] != found[20]
    assert knn_accuracy(x, y, torch.zeros_like(held), truth, 4)[20] >= 0


def test_the_papers_classifier_ends_where_logistic_regression_does():
    (x, y), (held, truth) = blobs(600), blobs(500, seed=1)
    found = protocol.classifier_accuracies({"a": x}, y, {"a": held}, truth, 4, epochs=200)["a"]
    reference = 100 * LogisticRegression(C=1e6).fit(x.numpy(), y.numpy()).score(held.numpy(), truth.numpy())
    assert found == pytest.approx(reference, abs=2) and reference > 70
    barely = protocol.classifier_accuracies({"a": x}, y, {"a": held}, truth, 4, epochs=1)["a"]
    assert barely < found - 10


def test_probes_trained_side_by_side_are_those_trained_alone():
    (x, y), (held, truth) = blobs(300), blobs(200, seed=1)
    wide, wide_held = x @ torch.ones(6, 9) + x[:, :1], held @ torch.ones(6, 9) + held[:, :1]
    both = protocol.classifier_accuracies({"a": x, "b": wide}, y, {"a": held, "b": wide_held}, truth, 4, epochs=20)
    assert both["b"] == protocol.classifier_accuracies({"b": wide}, y, {"b": wide_held}, truth, 4, epochs=20)["b"]
    goals, factors = x[:, :3].tanh(), {"rotation": slice(0, 2), "blur": slice(2, 3)}
    one = protocol.regressor_predictions({"b": wide}, goals, {"b": wide_held}, factors, 16, 3)["b"]
    two = protocol.regressor_predictions({"a": x, "b": wide}, goals, {"a": held, "b": wide_held}, factors, 16, 3)["b"]
    assert torch.equal(one, two) and one.isfinite().all()
    state = torch.get_rng_state()
    protocol.regressor_predictions({"a": x}, goals, {"a": held}, factors, 0, 1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_reads_what_no_line_can():
    rng = torch.Generator().manual_seed(0)
    x, held = (torch.randn(n, 4, generator=rng) for n in (1500, 500))
    goals, truth = (torch.stack([v[:, 0] * v[:, 1], v[:, 2]], 1) for v in (x, held))
    factors = {"rotation": slice(0, 1), "blur": slice(1, 2)}
    line = protocol.regressor_predictions({"x": x}, goals, {"x": held}, factors, 0, 400)["x"]
    net = protocol.regressor_predictions({"x": x}, goals, {"x": held}, factors, 64, 100)["x"]
    assert (
        r2(truth[:, :1], line[:, :1]) < 0.05 < 0.8 < r2(truth[:, :1], net[:, :1])
        and r2(truth[:, 1:], line[:, 1:]) > 0.95
    )
    closed = protocol.linear_prediction(x, goals, held)
    assert r2(truth[:, 1:], closed[:, 1:]) > 0.99 and r2(truth[:, :1], closed[:, :1]) < 0.05


@pytest.mark.parametrize("shape", [(50, 8), (20, 64)])
def test_linear_regression_equals_scikit_learns_ridge_on_either_side(shape):
    rng = np.random.default_rng(0)
    x, y, held = rng.normal(size=shape) * 3, rng.normal(size=(shape[0], 2)), rng.normal(size=(7, shape[1]))
    penalty = 0.01 * x.var(0).mean() * len(x)
    found = protocol.linear_prediction(*(torch.tensor(v) for v in (x, y, held))).numpy()
    assert np.allclose(found, ReferenceRidge(alpha=penalty).fit(x, y).predict(held), atol=1e-9)


# --- retrieval


def test_a_perfect_predictor_and_every_rank_score_as_they_should():
    candidates = torch.randn(40, 10, 6, generator=torch.Generator().manual_seed(0))
    assert retrieval_scores(3 * candidates[:, 0], candidates) == {"mrr": 1.0, "hit1": 1.0, "hit5": 1.0}
    aside = torch.eye(10)[None].repeat(4, 1, 1)
    for better in range(10):
        prediction = (aside[:, 0] + 2 * aside[:, 1 : 1 + better].sum(1)).expand(4, 10)
        found = retrieval_scores(prediction, aside)
        assert (
            found["mrr"] == pytest.approx(1 / (1 + better))
            and found["hit1"] == (better < 1)
            and found["hit5"] == (better < 5)
        )


def test_a_predictor_that_knows_nothing_scores_chance():
    random = torch.Generator().manual_seed(0)
    candidates, guess = torch.randn(6000, 12, 8, generator=random), torch.randn(6000, 8, generator=random)
    expected = chance(12)
    assert expected["mrr"] == pytest.approx(sum(1 / r for r in range(1, 13)) / 12) and expected[
        "hit5"
    ] == pytest.approx(5 / 12)
    assert retrieval_scores(guess, candidates) == pytest.approx(expected, abs=0.02)
    # collapsed: all codes are one
    assert retrieval_scores(guess, candidates[:, :1].expand(-1, 12, -1)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["digits", "mini3d"])
def test_candidates_are_other_views_of_the_same_image(name):
    tree = {
        "data": {"name": name, "transform": "rotation" if name == "digits" else "object", "sizes": [16, 12, 8]},
        "optim": {"batch_size": 8},
    }
    run = presets.build(tree)
    images = load_images(run).to(torch.device("cpu"), 1000)
    source = Views(run, images, torch.float32)
    torch.manual_seed(0)
    method = SeqJEPA(run, 1 if name == "digits" else 3, source.action_dim).eval()
    # a picture is its own code, so that candidates can be recognised
    method.target = lambda pictures: pictures.flatten(1)
    predicted, candidates = candidate_codes(method, source, run, "validation", 5)
    (batch,) = source.fixed("validation").batches(100)
    assert predicted.shape == (12, method.encoder.features)
    assert torch.equal(candidates[:, 0], batch["target"][0].flatten(1))
    assert candidates.shape[1] == (CANDIDATES if name == "digits" else 20 - 3)
    observed = torch.stack(batch["observed"], 1).flatten(2)
    same = (candidates[:, :, None] == torch.cat([observed, candidates[:, :1]], 1)[:, None]).all(-1)
    assert same[:, 0, -1].all() and same.sum() == 12, "an observed view, or the target again, is among the candidates"


# --- path integration


def fake(aggregator):
    return SimpleNamespace(aggregator=aggregator)


def path_scores(method):
    random = torch.Generator().manual_seed(0)
    poses = torch.rand(400, 4, 2, generator=random)
    actions, z = poses.diff(dim=1), poses[:, :3]
    z_agg = method.aggregator(z, actions[:, :-1])
    nothing = torch.zeros(400, dtype=torch.int64)
    inputs = path_features(method, Features(z, z_agg, z, nothing, actions, poses, float("nan"), actions))
    goals = whole_path(poses, presets.build({"data": {"name": "cifar10", "transform": "glimpse"}}).data)
    return {
        name: r2(goals[200:], protocol.linear_prediction(x[:200], goals[:200], x[200:])) for name, x in inputs.items()
    }


def test_path_integration_by_eye_needs_vision_and_by_reckoning_needs_actions():
    by_eye = path_scores(fake(lambda z, actions: z.flatten(1)))
    assert min(by_eye["z_agg_a"], by_eye["z_agg_no_actions_a"]) > 0.98
    assert max(by_eye["z_agg_no_vision_a"], by_eye["z_agg_no_actions"], by_eye["a"]) < 0.6
    by_reckoning = path_scores(fake(lambda z, actions: actions.sum(1)))
    assert min(by_reckoning["z_agg_a"], by_reckoning["z_agg_no_vision_a"]) > 0.98
    assert max(by_reckoning["z_agg_no_actions_a"], by_reckoning["z_agg_no_actions"]) < 0.6


def test_the_whole_path_is_the_composition_of_its_steps(digits):
    run = config("data.transform=affine", "data.action_scale=none", "data.max_angle=170", "precision=fp64")
    batch = next(views(run, digits).fixed("validation").batches(50))

    def matrix(p):
        sin, cos, x, y, log_scale = p.unbind(-1)
        s, zero, one = log_scale.exp(), torch.zeros_like(x), torch.ones_like(x)
        rows = [s * cos, -s * sin, x], [s * sin, s * cos, y], [zero, zero, one]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    steps = matrix(batch["actions"])
    composed = steps[:, 2] @ steps[:, 1] @ steps[:, 0]
    assert torch.allclose(matrix(whole_path(batch["poses"], run.data)), composed, atol=1e-5)
    turns = Rotation.random(8, random_state=0).as_quat().reshape(2, 4, 4)
    upright = torch.tensor(np.where(turns[..., 3:] < 0, -turns, turns))
    found = whole_path(upright, presets.build({"data": {"name": "mini3d", "transform": "object"}}).data)
    expected = (Rotation.from_quat(turns[:, 0]).inv() * Rotation.from_quat(turns[:, -1])).as_matrix()
    assert np.allclose(Rotation.from_quat(found.numpy()).as_matrix(), expected, atol=1e-6)


# --- factor sweeps


def test_a_sweep_turns_the_picture_about_its_centre_and_starts_unmoved(digits):
    run = config()
    source, index = views(run, digits), digits.splits["validation"][:5]
    (sweep,) = factor_sweeps(run, digits, source, index, 8).values()
    pictures = torch.cat(list(sweep.batches())).view(5, 8, 1, 12, 12)
    assert sweep.angle and sweep.values.tolist() == [0, 45, 90, 135, 180, 225, 270, 315]
    stored = torch.nn.functional.pad(source.images_of(index), (2, 2, 2, 2))
    assert torch.allclose(pictures[:, 0], stored, atol=1e-5)
    # positive angles turn x towards y, clockwise on screen
    assert torch.allclose(pictures[:, 2], torch.rot90(stored, -1, (2, 3)), atol=1e-5)
    assert torch.equal(planar_pictures(run, digits, index, unmoved()), pictures[:, 0])


def test_shifts_move_pixels_and_black_is_normalised_after_rendering():
    tree = {
        "data": {
            "name": "cifar10",
            "transform": "affine",
            "generated": True,
            "sizes": [8, 8, 4],
            "normalize": "dataset",
            "max_shift": 0.5,
        }
    }
    run = presets.build(tree | {"optim": {"batch_size": 8}})
    images = load_images(run).to(torch.device("cpu"), 100)
    source, index = Views(run, images, torch.float32), images.splits["test"]
    sweeps = factor_sweeps(run, images, source, index, 9)
    assert list(sweeps) == ["rotation", "shift_x", "shift_y", "scale"] and not sweeps["shift_x"].angle
    assert sweeps["shift_x"].values.tolist() == [-0.5, -0.375, -0.25, -0.125, 0, 0.125, 0.25, 0.375, 0.5]
    pictures = torch.cat(list(sweeps["shift_x"].batches())).view(4, 9, 3, 32, 32)
    whole = source.images_of(index)
    assert torch.allclose(pictures[:, 4], whole, atol=1e-4)
    assert torch.allclose(
        pictures[:, 6, :, :, 4:], whole[..., :-4], atol=1e-4
    )  # a quarter of half a canvas: 4 pixels right
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    assert torch.allclose(pictures[0, 6, :, 0, 0], -mean / std, atol=1e-4)
    assert small(pictures[:, 0]).shape == (4, 3, 16, 16) and 3 * 16 * 16 <= MOST_PIXELS


@pytest.mark.parametrize(
    ("low", "high", "steps", "count"),
    [(-1, 1, 9, 9), (-1, 1, 8, 7), (-2, 1, 8, 7), (0.5, 1, 5, 5), (-0.7, 0.4, 12, 12), (0, 0, 9, 1)],
)
def test_a_grid_goes_through_zero_inside_its_range(low, high, steps, count):
    values = through_zero(low, high, steps)
    assert len(values) == count and 0 in values.tolist()
    assert min(low, 0) - 1e-9 <= values.min() and values.max() <= max(high, 0) + 1e-9
    if count > 1:
        assert torch.allclose(
            values.diff(), torch.tensor((max(high, 0) - min(low, 0)) / (steps - 1), dtype=torch.float64)
        )


def test_an_object_is_turned_by_the_action_itself():
    run = presets.build(
        {"data": {"name": "mini3d", "transform": "object", "sizes": [16, 8, 8]}, "optim": {"batch_size": 8}}
    )
    images = load_images(run).to(torch.device("cpu"), 1000)
    source, index = Views(run, images, torch.float32), images.splits["validation"][:4]
    sweeps = factor_sweeps(run, images, source, index, 12)
    assert list(sweeps) == ["rotation_x", "rotation_y", "rotation_z"]
    pictures = torch.cat(list(sweeps["rotation_y"].batches())).view(4, 12, 3, 32, 32)
    assert torch.equal(pictures[:, 0], source.images_of(index))
    # the same object, its faces turned beforehand by 60 degrees about y, in the first recorded pose
    turn = Rotation.from_rotvec([0, np.pi / 3, 0])
    planes = mini3d.solid_planes(np.arange(600) % 10, 0)[index.numpy()]
    planes[..., :3] = planes[..., :3] @ turn.as_matrix().T
    start, hue = images.extras["quaternion"][index, 0], images.extras["hue"][index, 0]
    expected = torch.from_numpy(mini3d.render(planes, start.numpy(), hue.numpy(), 32)) / 255
    assert ((pictures[:, 2] - expected).abs() > 0.02).float().mean() < 0.002
    assert ((pictures[:, 1] - expected).abs() > 0.02).float().mean() > 0.01
    end = torch.tensor((Rotation.from_quat(start.numpy()) * turn).as_quat())
    assert torch.allclose(
        relative_quaternion(start.double(), end), torch.tensor(turn.as_quat()).expand(4, 4), atol=1e-6
    )


def test_recorded_pictures_cannot_be_swept_and_the_command_says_so():
    tree = {"name": "3diebench", "transform": "object", "generated": True, "sizes": [8, 8, 4]}
    run = presets.build({"data": tree, "optim": {"batch_size": 8}})
    images = SimpleNamespace(splits={"validation": torch.arange(8)})
    with pytest.raises(evaluate.UsageError, match="recorded in poses of their own"):
        Diagnostics(run, images, None, None, "validation")
    with pytest.raises(evaluate.UsageError, match="--subspace: 3diebench has no factor that could be swept alone"):
        evaluate._check(run, SimpleNamespace(views=[1], subspace=True))
    evaluate._check(run, SimpleNamespace(views=[1], subspace=False, epochs=1))


def test_diagnostics_in_training_change_nothing_and_survive_a_resume(tmp_path):
    swept = "eval.subspace={epochs: [1, 2], anchors: 8, steps: 8}"
    words = ["model.dropout=0.1", "model.aggregator=crate"]
    plain, on = of(*words, epochs=2), of(*words, swept, epochs=2)
    train(plain, tmp_path / "plain")
    train(on, tmp_path / "on")
    train(of(*words, swept, epochs=1), tmp_path / "resumed")
    train(on, tmp_path / "resumed")
    folders = {name: tmp_path / name / run_id(on) for name in ("plain", "on", "resumed")}
    weights = {
        name: torch.load(folder / "checkpoint.pt", weights_only=True)["method"] for name, folder in folders.items()
    }
    assert all(
        torch.equal(weights["plain"][key], weights[name][key]) for name in ("on", "resumed") for key in weights["plain"]
    )
    lines = {
        name: [line for line in read(folder / "records.jsonl") if line["event"] in ("epoch", "eval")]
        for name, folder in folders.items()
    }
    assert [comparable(line)["metrics"] for line in lines["on"][:4]] == [
        line["metrics"] for line in lines["resumed"][:4]
    ]
    for without, with_it in zip(lines["plain"], lines["on"], strict=True):
        assert without["metrics"].items() <= with_it["metrics"].items()
        added = with_it["metrics"].keys() - without["metrics"].keys()
        assert bool(added) == (with_it["event"] == "eval" and with_it["epoch"] > 0)
    last = lines["on"][-1]["metrics"]
    assert {"stability.k4/rotation", "circle_score.h1/rotation.pixels", "code_l0.layer1/aggregator@3"} <= last.keys()
    assert "stability.k4/rotation" not in lines["on"][2]["metrics"]
    for name in ("on", "resumed"):
        assert sorted(path.name for path in folders[name].glob("*.npz")) == [
            "subspace-epoch1.npz",
            "subspace-epoch2.npz",
        ]
    arrays = [load_arrays(folders[name] / "subspace-epoch2.npz") for name in ("on", "resumed")]
    for key, values in arrays[0].items():
        np.testing.assert_array_equal(values, arrays[1][key], err_msg=key)  # NaN equals NaN
    assert not list(folders["plain"].glob("*.npz"))
