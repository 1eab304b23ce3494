"""Consolidation against the values of public implementations, and against its own definition."""

import pytest
import torch
from oracles import Case
from stream import stream
from torch import nn

from trainer.config.consolidation import ConsolidateConfig
from trainer.data.images import load_images
from trainer.families import seq_jepa
from trainer.losses.consolidation import Consolidation, information
from trainer.step import make_optimiser, optimise


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "quirks", "tasks"),
    [
        ("si_mammoth", (), 1),  # its clipping acts in the second task
        ("si_mammoth", ("clipped_gradient",), 2),
        ("si_mammoth_clipped", ("clipped_gradient",), 2),
        ("si_gmv", (), 1),  # without a penalty the total gradient is the task's
        ("si_gmv", ("total_gradient",), 2),
    ],
)
def test_synaptic_intelligence_is_the_references(name, quirks, tasks):
    """Two tasks of five steps of plain gradient descent, weights, path integrals, importances and penalties."""
    case = Case("continual", name)
    theta = nn.Parameter(case.inputs["theta0"].clone())
    theirs = ("omega", "W") if name == "si_gmv" else ("big_omega", "small_omega")
    held = Consolidation(ConsolidateConfig(strength=0.7, xi=0.1, quirks=quirks), {"theta": theta}).double()
    ours, paths, penalties = [], [], []
    for task in range(tasks):
        ours.append([theta.detach().clone()])
        paths.append([])
        penalties.append([])
        for _ in range(5):
            penalties[-1].append(held.penalty() / 0.7)
            apart = theta - case.inputs["centre"][task]
            theta.grad = None
            (0.5 * apart @ case.inputs["H"][task] @ apart).backward()
            with torch.no_grad():
                theta -= 0.1 * theta.grad
            held.after_step()
            ours[-1].append(theta.detach().clone())
            paths[-1].append(held._of("path", "theta").clone())
        held.end_segment()
        case.equals(held._of("importance", "theta"), case.outputs[theirs[0]][task], "importances")
    case.equals(torch.stack([torch.stack(one) for one in paths]), case.outputs[theirs[1]][:tasks], "path integrals")
    before = torch.tensor(penalties, dtype=torch.float64)
    case.equals(before, case.outputs["penalty_before_step"][:tasks], "penalties")
    if name != "si_gmv":
        case.equals(torch.stack([torch.stack(one) for one in ours]), case.outputs["theta"][:tasks], "weights")
    if tasks == 1:
        return
    with torch.no_grad():
        theta.copy_(case.inputs["probe"])
    case.equals(held.penalty() / 0.7, case.outputs["penalty_at_probe"], "penalties")
    case.equals(held.gradient("theta") / 0.7, case.outputs["penalty_grad_at_probe"], "gradients")


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "labels", "kind", "gamma", "quirks"),
    [
        ("ewc_offline_all", "all", "ewc", None, ("one_sample_less",)),
        ("ewc_offline_true", "true", "ewc", None, ("one_sample_less",)),
        ("ewc_offline_pred", "pred", "ewc", None, ("one_sample_less",)),
        ("ewc_online_all_gamma.9", "all", "online_ewc", 0.9, ("one_sample_less", "gamma_twice")),
        ("ewc_mammoth_gamma.9", "weighted", "online_ewc", 0.9, ("no_half",)),
    ],
)
def test_elastic_weight_consolidation_is_the_references(name, labels, kind, gamma, quirks):
    """A linear softmax classifier after two tasks. Offline, the sum of two terms is kept as one."""
    case = Case("continual", name)
    weight, bias = (nn.Parameter(case.inputs[each][0].clone()) for each in ("weight", "bias"))
    own = {"weight": weight, "bias": bias}
    strength = 0.5 if labels == "weighted" else 1.0
    held = Consolidation(ConsolidateConfig(kind=kind, strength=strength, gamma=gamma, quirks=quirks), own).double()
    x, truth = case.inputs["x"], case.inputs["labels"]

    def losses(task):
        for row in range(x.shape[1]):

            def scores(row=row):
                return torch.log_softmax(x[task, row] @ weight.T + bias, 0)

            chances = scores().detach().exp()
            if labels == "all":  # the exact information: every class with its probability, counted as one sample
                square = [(lambda c=c: (scores()[c], float(chances[c]))) for c in range(3)]
                yield square
                continue
            label = int(chances.argmax()) if labels == "pred" else int(truth[task, row])
            factor = float(chances[label]) if labels == "weighted" else 1.0
            yield [lambda label=label, factor=factor: (scores()[label], factor)]

    def fisher(task):
        rows = [information(own, parts) for parts in losses(task)]
        counts = [len(parts) for parts in losses(task)]
        total = {name: sum(row[name] * count for row, count in zip(rows, counts, strict=True)) for name in own}
        return {name: value / (len(rows) - ("one_sample_less" in quirks)) for name, value in total.items()}

    for task in range(2):
        with torch.no_grad():
            weight.copy_(case.inputs["weight"][task]), bias.copy_(case.inputs["bias"][task])
        found = fisher(task)
        held.end_segment(found)
        if kind == "ewc":
            for each in own:
                case.equals(found[each], case.outputs[f"fisher_{each}_after{task + 1}"], "importances")
    if labels == "weighted":
        flat = torch.cat([held._of("importance", each).flatten() for each in own])
        case.equals(flat, case.outputs["fisher_after2"], "importances")
    with torch.no_grad():
        weight.copy_(case.inputs["weight"][2]), bias.copy_(case.inputs["bias"][2])
    case.equals(held.penalty(), case.outputs["penalty"], "penalties")
    if labels == "weighted":
        flat = torch.cat([held.gradient(each).flatten() for each in own])
        case.equals(flat, case.outputs["penalty_grad"], "gradients")
    else:
        for each in own:
            case.equals(held.gradient(each), case.outputs[f"penalty_grad_{each}"], "gradients")


def test_the_mean_is_over_all_samples_unless_the_quirk_is_on():
    weight = nn.Parameter(torch.ones(2))
    losses = [lambda k=k: ((k * weight).sum(), 1.0) for k in range(4)]
    assert information({"w": weight}, losses)["w"].tolist() == [14 / 4] * 2
    assert information({"w": weight}, losses, one_less=True)["w"].tolist() == pytest.approx([14 / 3] * 2)


def test_three_segments_kept_as_one_parabola_are_their_sum():
    theta = nn.Parameter(torch.randn(5, dtype=torch.float64))
    held = Consolidation(ConsolidateConfig(kind="ewc", strength=2.0), {"theta": theta}).double()
    terms = []
    for _ in range(3):
        with torch.no_grad():
            theta.copy_(torch.randn(5))
        terms.append((torch.rand(5, dtype=torch.float64) * (torch.rand(5) > 0.3), theta.detach().clone()))
        held.end_segment({"theta": terms[-1][0]})
    with torch.no_grad():
        theta.copy_(torch.randn(5))
    penalty = sum((f * (theta.detach() - t).square()).sum() for f, t in terms)
    gradient = sum(2 * f * (theta.detach() - t) for f, t in terms)
    for found, expected in ((held.penalty(), penalty), (held.gradient("theta"), gradient)):
        torch.testing.assert_close(found.double(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["si", "ewc"])
def test_the_penalty_and_its_gradient_enter_every_step_without_another_backward_pass(kind):
    """The step is that of the same model whose loss has the penalty written out."""
    run = stream(f"objective.consolidate={{kind: {kind}, strength: 3.0}}", "precision=fp64", "model.norm=group")
    source = seq_jepa.source(run, load_images(run), torch.float64)
    method = seq_jepa.make(run, source).double()
    optimiser = make_optimiser(run, method)
    for step in range(3):
        optimise(run, step, method, method, optimiser, source.next())
    held = method.consolidation
    held.end_segment(
        {name: torch.rand_like(p) for name, p in held._own["parameters"].items()} if kind == "ewc" else None
    )
    for step in range(3, 6):
        optimise(run, step, method, method, optimiser, source.next())
    batch = source.next()
    method.zero_grad()
    output = method(batch)
    assert not output.terms["consolidate"].requires_grad and float(output.terms["consolidate"]) > 0
    sum(method.weights[name] * term for name, term in output.terms.items() if method.weights[name]).backward()
    found = {name: p.grad.clone() for name, p in held._own["parameters"].items()}
    terms = method(batch).terms
    written = torch.stack(
        [
            (held._of("importance", name) * (p - held._of("anchor", name)).square()).sum()
            for name, p in held._own["parameters"].items()
        ]
    ).sum() * (3.0 if kind == "si" else 1.5)
    task = sum(method.weights[name] * terms[name] for name in ("predict", "rate"))
    expected = torch.autograd.grad(task + written, list(held._own["parameters"].values()))
    for ours, theirs in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert float(written.detach() + held.rest * held.factor) == pytest.approx(
        float(output.terms["consolidate"]), rel=1e-9
    )
