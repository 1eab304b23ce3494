"""Retrieval by the predictor (2505.03176, appendix B.4): is the predicted code nearest to the right view of the image?

For each sequence the code predicted from M views and the action is compared, by cosine, with the target branch's codes
of CANDIDATES views of the *same* image: the true target and others in other poses. The candidates of an object are its
recorded views without the M observed ones. Recognising the image does not help; only the action tells the candidates
apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import SETS
from trainer.data.views import Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.probes.precision import in_double

CANDIDATES, HITS = 50, (1, 5)
IMAGES = 2_000
"""Each takes CANDIDATES passes through the encoder; 2,000 images give H@1 to about one point."""


@torch.no_grad()
def candidate_codes(
    method: SeqJEPA, views: Views, config: SeqJEPAConfig, split: str, chunk: int
) -> tuple[Tensor, Tensor]:
    """Predictions (n, D) and candidates (n, C, D), the true target first, of the first IMAGES images of a split."""
    m = config.data.observed_views
    predicted, truth = [], []
    for batch in views.fixed(split).limited(IMAGES).batches(chunk):
        actions = method.action(batch["actions"])
        z_agg = method.aggregator(method.encode(batch["observed"]), actions[:, :-1])
        predicted.append(method.predict(z_agg, actions[:, -1]))
        truth.append(method.target(batch["target"][0]))
    if config.data.transform == "object":
        # a sequence of all recorded views begins with the observed ones and the target
        everything = views.fixed(split, views=SETS[config.data.name].views - 1).limited(IMAGES)
        others = []
        # fifty views of an object are many pixels: few objects at a time, view by view
        for batch in everything.batches(max(2, chunk // 8)):
            rest = [*batch["observed"], *batch["target"]][m + 1 :]
            others.append(torch.stack([method.target(view) for view in rest]))
        others = torch.cat(others, dim=1)
    else:
        # targets of other draws; draw 0 is left out, because its second view was observed above
        draws = views.fixed(split, CANDIDATES, views=1).limited(IMAGES).batches(chunk)
        codes = torch.cat([method.target(batch["target"][0]) for batch in draws])
        others = codes.view(CANDIDATES, sum(map(len, truth)), -1)[1:]
    return torch.cat(predicted), torch.cat([torch.cat(truth)[None], others]).transpose(0, 1)


def retrieval_scores(predicted: Tensor, candidates: Tensor) -> dict[str, float]:
    """Mean reciprocal rank of the first candidate, and the share of sequences where it is among the first k (H@k).

    Equal cosines are ordered at random, in expectation: a predictor or target that has collapsed to one code scores
    exactly as chance.

    Args:
        predicted: (n, D); candidates: (n, C, D), the right one first.

    Returns:
        ``mrr``, ``hit1`` and ``hit5``, each in [0, 1].
    """
    cosine = torch.einsum(
        "nd,ncd->nc", F.normalize(in_double(predicted), dim=1), F.normalize(in_double(candidates), dim=2)
    )
    # sums of equal products can differ in the last bits
    better = (cosine[:, 1:] > cosine[:, :1] + 1e-12).sum(1)
    equal = ((cosine[:, 1:] - cosine[:, :1]).abs() <= 1e-12).sum(1)
    places = equal + 1
    harmonic = _harmonic(candidates.shape[1]).to(cosine.device)
    scores = {"mrr": ((harmonic[better + places] - harmonic[better]) / places).mean()}
    scores |= {f"hit{k}": ((k - better).clamp_min(0).minimum(places).double() / places).mean() for k in HITS}
    return {name: float(value) for name, value in scores.items()}


def chance(candidates: int) -> dict[str, float]:
    """The scores of a predictor that knows nothing."""
    return {"mrr": float(_harmonic(candidates)[-1]) / candidates, **{f"hit{k}": min(1.0, k / candidates) for k in HITS}}


def _harmonic(count: int) -> Tensor:
    """H_0 .. H_count."""
    return torch.cat(
        [torch.zeros(1, dtype=torch.float64), (1 / torch.arange(1, count + 1, dtype=torch.float64)).cumsum(0)]
    )
