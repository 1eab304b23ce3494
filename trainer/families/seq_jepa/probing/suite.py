"""Everything that is measured on a frozen checkpoint, from features that are encoded once.

Metric names are ``name/feature@views``; accuracies are percent. Features:

``z_agg@k``            the aggregate of the first k views
``z_mean@k``           the mean of their codes, the control
``z_1@1``              the first view's code
``z_res@1``            the code of the untransformed image; of objects and glimpses, which have none, the first view's
``z_agg_no_actions@M`` the aggregate with its embedded actions set to zero
``z_pair@2``           [z_1; z_2]
``untrained_...``      the same of the calibrated untrained model; ``pixels...`` raw pixels

Measures:

``linacc``            closed-form ridge; with the views and M of training the same number as in the run's record
``probe_linacc``      the paper's linear classifier (:mod:`trainer.probes.protocol`)
``knn1, knn20``       nearest neighbours by cosine
``online_linacc``     the classifier that was trained beside the model
``r2_F.S``            action factor F (``action``: all) under action scaling S, by the small network of training's
                      probes, from consecutive views; ``r2_F_linear.S`` by closed-form linear regression;
                      ``r2_F_paper_mlp.S`` and ``r2_F_paper_linear.S`` from views 1 and 2 by the paper's regressors;
                      ``r2_action_paper.S`` all components, each by the one the paper uses for its factor;
                      ``..._with_constants`` counts the constant components of ``pad_action`` as 0, as the research log
                      did
``r2_pose``           absolute parameters of view 1 from one feature: the aggregate should know less of them than z_1
                      does; ``_linear``, ``_paper_mlp``, ``_paper_linear`` and per factor as above
``leakage_r2_log.S``  the research log's leakage: a linear regressor reads the first action from z_agg, which was told
                      it
``leakage_linacc_log``  its class "leakage": linacc of z_agg@M (M views) minus that of z_1@1 (one view), points
``r2_path.none``      the way from view 1 to the target (:mod:`trainer.families.seq_jepa.probing.path`), unscaled;
                      ``_linear`` too
``mrr, hit1, hit5``   retrieval by the predictor (:mod:`trainer.families.seq_jepa.probing.retrieval`), in [0, 1]
``predict, rank_...`` as in training
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trainer.data.images import ImageSet
from trainer.data.views import Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.health import CHUNK, PAIRS, Metrics
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.families.seq_jepa.probing.parts import Part, Parts
from trainer.families.seq_jepa.probing.path import whole_path
from trainer.families.seq_jepa.probing.retrieval import candidate_codes, chance, retrieval_scores
from trainer.probes import protocol
from trainer.probes.neighbours import knn_accuracy
from trainer.probes.protocol import linear_prediction
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_prediction, r2
from trainer.probes.ridge import Ridge

QUICK = {"": mlp_prediction, "_linear": linear_prediction}
"""Regressors of every protocol, by the ending of the metric's name."""


class Suite:
    """Measures a model on one split; probes are fitted on the train split.

    Args:
        split: ``validation`` or ``test``, what the probes are scored on.
        counts: numbers k of views to aggregate; the trained M is always among them.
        paper, ridge: which probes.
        epochs: of the paper's classifier and network; its linear regressors take at most protocol.LINEAR_EPOCHS.
        say: told what is being measured.
    """

    def __init__(
        self, config: SeqJEPAConfig, images: ImageSet, views: Views, split: str, counts: tuple[int, ...], *,
        paper: bool, ridge: bool, epochs: int, say: Callable[[str], None],
    ):  # fmt: skip
        self._config, self._class_count, self._views, self._split = config, images.classes, views, split
        self._m, self._scale = config.data.observed_views, config.data.action_scale
        self._parts = Parts(config, images, views, sorted({*counts, self._m}))
        self._paper, self._ridge, self._epochs, self._say = paper, ridge, epochs, say
        factors = views.transform.factors
        self._factors = factors if len(factors) > 1 else {}

    def measure(self, method: SeqJEPA, untrained: SeqJEPA, online: OnlineProbe) -> Metrics:
        """All metrics of the trained model beside its untrained self and raw pixels."""
        parts, splits = self._parts, ("train", self._split)
        self._say(f"features of the train and {self._split} images")
        train, held = (parts.of(method, split) for split in splits)
        before, held_before = (parts.of(untrained, split) for split in splits)
        pixels, held_pixels = (parts.of_pixels(split) for split in splits)
        metrics = self._state(held, online)
        for whose, prefix, pair, fitted, scored in (
            ("the trained model", "", "z_pair", train, held),
            ("the untrained model", "untrained_", "untrained_z_pair", before, held_before),
            ("pixels", "", "pixels_pair", pixels, held_pixels),
        ):
            metrics |= self._classes(fitted, scored, prefix, whose)
            metrics |= self._actions(fitted, scored, f"{pair}@2", whose)
        metrics |= self._leakage(train, held, metrics)
        several = [f"{name}@{self._m}" for name in ("z_mean", "z_agg", "z_agg_no_actions")]
        metrics |= self._poses([name for name in ("z_1@1", *several) if name in train.rows], train, held, "")
        metrics |= self._poses(["z_1@1"], before, held_before, "untrained_")
        metrics |= self._path(train, held)
        metrics |= self._retrieval(method, "z_hat") | self._retrieval(untrained, "untrained_z_hat")
        return metrics

    def _state(self, held: Part, online: OnlineProbe) -> Metrics:
        features, m = held.features, self._m
        metrics: Metrics = {f"predict/z_hat@{m}": features.loss}
        for name, rows in ((f"z@{m}", features.z.flatten(0, 1)), (f"z_agg@{m}", features.z_agg)):
            metrics |= {f"{kind}/{name}": rank for kind, rank in effective_ranks(rows).items()}
        metrics[f"online_linacc/z_agg@{m}"] = online.accuracy(features.z_agg, features.labels)
        if online.reads_actions:
            read = online.action_r2(features.codes[:, 0], features.codes[:, 1], features.factors[:, 0])
            metrics[f"online_r2_action.{self._scale}/z_pair@2"] = read
        return metrics

    def _classes(self, train: Part, held: Part, prefix: str, whose: str) -> Metrics:
        metrics: Metrics = {}
        labels, truth, classes = train.features.labels, held.features.labels, self._class_count
        if self._ridge:
            for name, rows in train.rows.items():
                metrics[f"linacc/{prefix}{name}"] = Ridge(rows, labels, classes).accuracy(held.rows[name], truth)
        if self._paper:
            self._say(f"the paper's linear classifiers of {len(train.rows)} features of {whose}, {self._epochs} epochs")
            found = protocol.classifier_accuracies(train.rows, labels, held.rows, truth, classes, self._epochs)
            metrics |= {f"probe_linacc/{prefix}{name}": accuracy for name, accuracy in found.items()}
        for name, rows in train.rows.items():
            for k, accuracy in knn_accuracy(rows, labels, held.rows[name], truth, classes).items():
                metrics[f"knn{k}/{prefix}{name}"] = accuracy
        return metrics

    def _actions(self, train: Part, held: Part, feature: str, whose: str) -> Metrics:
        """R2 of the action between two views, read from both codes."""
        metrics: Metrics = {}
        scale = f".{self._scale}"
        if self._ridge:
            pairs, goals = train.features.pairs(PAIRS)
            held_pairs, truth = held.features.pairs(PAIRS)
            for kind, read in QUICK.items():
                metrics |= self._r2s("r2_{}" + kind, scale, feature, truth, read(pairs, goals, held_pairs))
        if self._paper:
            self._say(f"the paper's regressors of actions from {whose}, {self._epochs} epochs")
            pairs, held_pairs = ({"pair": part.features.codes[:, :2].flatten(1)} for part in (train, held))
            goals, truth = train.features.factors[:, 0], held.features.factors[:, 0]
            by_kind = {kind: found["pair"] for kind, found in self._regressed(pairs, goals, held_pairs).items()}
            for kind, found in by_kind.items():
                metrics |= self._r2s("r2_{}_" + kind, scale, feature, truth, found)
            chosen = by_kind["paper_mlp"].clone()
            for factor, columns in self._views.transform.factors.items():
                if factor in protocol.LINEAR_FACTORS:
                    chosen[:, columns] = by_kind["paper_linear"][:, columns]
            metrics[f"r2_action_paper{scale}/{feature}"] = r2(truth, chosen)
        return metrics

    def _poses(self, names: list[str], train: Part, held: Part, prefix: str) -> Metrics:
        """R2 of view 1's absolute parameters from single features, by the same regressors for each."""
        metrics: Metrics = {}
        goals, truth = train.features.poses[:, 0], held.features.poses[:, 0]
        if self._ridge:
            for name in names:
                for kind, read in QUICK.items():
                    found = read(train.rows[name], goals, held.rows[name])
                    metrics |= self._r2s("r2_pose{}" + kind, "", f"{prefix}{name}", truth, found)
        if self._paper:
            self._say(f"the paper's regressors of poses from {prefix}{', '.join(names)}, {self._epochs} epochs")
            # pixels of a crop and radians must not share a learning rate
            spread = goals.std(0).clamp_min(1e-6)
            rows, held_rows = ({name: part.rows[name] for name in names} for part in (train, held))
            for kind, found in self._regressed(rows, goals / spread, held_rows).items():
                for name, prediction in found.items():
                    metrics |= self._r2s("r2_pose{}_" + kind, "", f"{prefix}{name}", truth, prediction * spread)
        return metrics

    def _leakage(self, train: Part, held: Part, metrics: Metrics) -> Metrics:
        """The research log's two numbers; the corrected ones are r2_pose, and linacc of z_agg@1 and of
        z_agg_no_actions."""
        feature, truth = f"z_agg@{self._m}", held.features.factors[:, 0]
        found = linear_prediction(train.features.z_agg, train.features.factors[:, 0], held.features.z_agg)
        live = truth.shape[1]
        counted = live / (live + self._config.data.pad_action)
        leaked = {f"leakage_r2_log.{self._scale}/{feature}": r2(truth, found) * counted}
        if self._ridge:
            leaked[f"leakage_linacc_log/{feature}"] = metrics[f"linacc/{feature}"] - metrics["linacc/z_1@1"]
        return leaked

    def _path(self, train: Part, held: Part) -> Metrics:
        self._say("path integration")
        goals, truth = (whole_path(part.features.poses, self._config.data) for part in (train, held))
        metrics: Metrics = {}
        for name, rows in train.path.items():
            for kind, read in QUICK.items():
                found = read(rows, goals, held.path[name])
                metrics |= self._r2s("r2_path{}" + kind, ".none", f"{name}@{self._m}", truth, found)
        return metrics

    def _retrieval(self, method: SeqJEPA, feature: str) -> Metrics:
        self._say(f"retrieval by the {'untrained ' if feature.startswith('untrained') else ''}predictor")
        with self._parts.frozen(method):
            predicted, candidates = candidate_codes(method, self._views, self._config, self._split, CHUNK)
        scores = {feature: retrieval_scores(predicted, candidates), "chance": chance(candidates.shape[1])}
        return {f"{name}/{whose}@{self._m}": value for whose, found in scores.items() for name, value in found.items()}

    def _regressed(self, rows: protocol.Rows, goals: Tensor, held: protocol.Rows) -> dict[str, dict[str, Tensor]]:
        """Predictions of the paper's network and of its linear regressor."""
        factors, linear = self._views.transform.factors, min(self._epochs, protocol.LINEAR_EPOCHS)
        return {
            "paper_mlp": protocol.regressor_predictions(rows, goals, held, factors, protocol.HIDDEN, self._epochs),
            "paper_linear": protocol.regressor_predictions(rows, goals, held, factors, 0, linear),
        }

    def _r2s(self, name: str, scale: str, feature: str, truth: Tensor, prediction: Tensor) -> Metrics:
        """R2 of all components and, of more than one factor, each; ``name`` has a place for the factor."""
        whole = r2(truth, prediction)
        of_actions = name.startswith("r2_{}")
        metrics = {f"{name.format('action' if of_actions else '')}{scale}/{feature}": whole}
        for factor, columns in self._factors.items():
            part = factor if of_actions else f"_{factor}"
            metrics[f"{name.format(part)}{scale}/{feature}"] = r2(truth[:, columns], prediction[:, columns])
        padding, live = self._config.data.pad_action, truth.shape[1]
        if padding and of_actions:
            metrics[f"{name.format('action')}_with_constants{scale}/{feature}"] = whole * live / (live + padding)
        return metrics
