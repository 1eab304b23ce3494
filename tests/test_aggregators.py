"""The aggregators, predictors and encoders of Steps 3 and 4: every setting acts, every view counts, with its sign, at
any number of views, and views may come one at a time."""

import gc
import weakref

import pytest
import torch
from small import config, method, views

from studies import step3_crate
from trainer import presets
from trainer.blocks.faces import make_aggregator, make_encoder
from trainer.blocks.streaming import Stream
from trainer.errors import UsageError
from trainer.record.identity import arm_id
from trainer.step import make_optimiser, optimise

NEW = ("crate", "crate_alpha", "tost")
KINDS = {
    "transformer": [],
    "crate": ["model.aggregator=crate"],
    "crate paper": ["model.aggregator=crate", "model.crate.form=paper"],
    "crate wide": ["model.aggregator=crate", "model.crate.expand=1.7"],
    "crate_alpha": ["model.aggregator=crate_alpha"],
    "tost": ["model.aggregator=tost"],
    "tost two": ["model.aggregator=tost", "model.tost.class_layers=2"],
    "tost pool": ["model.aggregator=tost", "model.tost.readout=pool"],
    "tost causal": ["model.aggregator=tost", "model.tost.causal=true"],
    "tost pool causal": ["model.aggregator=tost", "model.tost={readout: pool, causal: true, expand: 1.7}"],
}


def made(*words, seed=0, m=3, batch=4):
    """An aggregator in fp64 with tokens and vectors away from their start, and codes and actions for it."""
    run = config("precision=fp64", *words)
    torch.manual_seed(seed)
    aggregator = make_aggregator(run.model).double().eval()
    with torch.no_grad():
        for parameter in aggregator.parameters():
            if parameter.ndim == 1 or parameter.shape[:2] == (1, 1):
                parameter.add_(0.3 * torch.randn_like(parameter))
    torch.manual_seed(seed + 1)
    z = torch.randn(batch, m, run.model.encoder.features, dtype=torch.float64)
    return aggregator, z, torch.randn(batch, m - 1, run.model.action_dim, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_aggregate_depends_on_every_view_its_sign_and_every_action(kind):
    aggregator, z, actions = made(*KINDS[kind])
    with torch.no_grad():
        before = aggregator(z, actions)
        assert before.shape == (4, aggregator.width)
        for i in range(z.shape[1]):
            for factor in (1.5, -1.0):
                other = z.clone()
                other[:, i] *= factor
                assert (aggregator(other, actions) - before).norm(dim=1).min() > 1e-4, (i, factor)
        for i in range(actions.shape[1]):
            other = actions.clone()
            other[:, i] *= -1
            assert (aggregator(z, other) - before).norm(dim=1).min() > 1e-5, i


@pytest.mark.parametrize("kind", KINDS)
def test_at_its_start_the_aggregate_still_depends_on_the_views(kind):
    """With [AGG] still zero: what plain token-statistics attention fails."""
    run = config("precision=fp64", *KINDS[kind])
    torch.manual_seed(0)
    aggregator = make_aggregator(run.model).double()
    z = torch.randn(4, 3, run.model.encoder.features, dtype=torch.float64, requires_grad=True)
    out = aggregator(z, torch.zeros(4, 2, run.model.action_dim, dtype=torch.float64))
    (out * torch.randn_like(out)).sum().backward()
    assert z.grad.norm(dim=2).min() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_many_more_views_than_in_training(kind):
    aggregator, _, _ = made(*KINDS[kind], "model.time_embedding=true")
    torch.manual_seed(3)
    z, actions = (torch.randn(1, n, d, dtype=torch.float64) for n, d in ((512, 16), (511, 8)))
    with torch.no_grad():
        found = aggregator(z, actions)
        assert found.isfinite().all()
        assert not torch.allclose(found, aggregator(z[:, :256], actions[:, :255]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_embedding_tells_views_apart_that_are_equal(kind):
    z = torch.randn(2, 1, 16, dtype=torch.float64).expand(2, 3, 16) * torch.tensor([1.0, 0.5, 2.0])[None, :, None]
    nothing = torch.zeros(2, 2, 8, dtype=torch.float64)
    differ = {}
    for word in ("false", "true"):
        aggregator, _, _ = made(*KINDS[kind], f"model.time_embedding={word}", "model.condition=predictor")
        swapped = aggregator(z[:, [1, 0, 2]], nothing) - aggregator(z, nothing)
        differ[word] = float(swapped.detach().abs().max())
    assert differ["true"] > 1e-4
    # the causal forms know an order by themselves
    assert "causal" in kind or differ["false"] < 1e-12


SWITCHES = [
    ("crate", "model.crate.form=paper"), ("crate", "model.crate.step=0.3"), ("crate", "model.crate.threshold=0.3"),
    ("crate", "model.crate.expand=1.7"), ("crate", "model.layers=1"), ("crate", "model.heads=2"),
    ("crate_alpha", "model.crate_alpha.ratio=2.0"), ("crate_alpha", "model.crate_alpha.scale=0.5"),
    ("crate_alpha", "model.crate_alpha.form=paper"), ("crate_alpha", "model.crate_alpha.step=0.3"),
    ("crate_alpha", "model.crate_alpha.threshold=0.3"), ("crate_alpha", "model.crate_alpha.expand=1.7"),
    ("tost", "model.tost.readout=pool"), ("tost", "model.tost.class_layers=2"), ("tost", "model.tost.causal=true"),
    ("tost", "model.tost.scale=0.5"), ("tost", "model.tost.expand=1.7"), ("tost", "model.ffn_ratio=2.0"),
    ("tost", "model.layers=1"), ("tost", "model.heads=2"),
]  # fmt: skip


@pytest.mark.parametrize("name, word", SWITCHES)
def test_a_switch_changes_the_arm_and_what_is_computed(name, word):
    base = [f"model.aggregator={name}"]
    (first, z, actions), (other, _, _) = made(*base), made(*base, word)
    assert not torch.allclose(first(z, actions), other(z, actions))
    assert arm_id(config(*base)) != arm_id(config(*base, word))


def test_expansion_is_rounded_to_the_heads_and_keeps_the_width_of_the_aggregate():
    aggregator, z, actions = made("model.aggregator=crate", "model.crate.expand=1.7")  # 40.8 of 24
    assert aggregator.inner.width == 40 and aggregator(z, actions).shape == (4, 24) and aggregator.width == 24
    assert made("model.aggregator=crate", "model.crate.expand=1.7", "model.heads=5")[0].inner.width == 40


def test_the_papers_compression_acts():
    base = ["model.aggregator=crate", "model.crate.form=paper"]
    (first, z, actions), (other, _, _) = made(*base), made(*base, "model.crate.compression=0.9")
    assert not torch.allclose(first(z, actions), other(z, actions))


@pytest.mark.parametrize("name", NEW)
def test_dropout_acts_in_training_only(name):
    aggregator, z, actions = made(f"model.aggregator={name}", "model.dropout=0.5")
    assert torch.equal(aggregator(z, actions), aggregator(z, actions))
    aggregator.train()
    assert not torch.equal(aggregator(z, actions), aggregator(z, actions))


@pytest.mark.parametrize(
    "words, said",
    [
        (["model.crate.step=0.2"], "crate = .* has a meaning only with model.aggregator=crate; remove it"),
        (["model.aggregator=tost", "model.crate={}"], "crate = .* only with model.aggregator=crate; remove it"),
        (["model.aggregator=crate", "model.ffn_ratio=2.0"], "ffn_ratio = 2.0 .* model.aggregator=transformer or tost"),
        (["model.aggregator=crate", "model.crate.compression=0.3"], "compression = 0.3 .* only with form=paper"),
        (["model.aggregator=crate", "model.heads=5"], "model.heads = 5 must divide the token width 24"),
        (["model.aggregator=crate", "model.crate.expand=0"], "model.crate.expand"),
        (["model.aggregator=tost", "model.tost={readout: pool, class_layers: 1}"], "only with readout=class_attention"),
        (["model.aggregator=crate_alpha", "model.crate_alpha.ratio=0.5"], "model.crate_alpha.ratio"),
        (["model.predictor=crate"], "predictor_hidden = 32 has a meaning only with model.predictor=mlp; remove it"),
        (["model.predictor_crate.layers=2"], "predictor_crate = .* only with model.predictor=crate"),
        (
            ["model.predictor=crate", "model.predictor_hidden=null", "model.predictor_crate.heads=5"],
            "model.predictor_crate.heads = 5 must divide the token width 24",
        ),
        (["model.predictor=gru"], "'gru' must be one of mlp, crate"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(words, said):
    with pytest.raises(UsageError, match=said) as caught:
        config(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NEW)
def test_a_step_of_training_moves_every_parameter_and_tells_its_health(name, digits):
    run = config(f"model.aggregator={name}", "model.predictor=crate", "model.predictor_hidden=null")
    model, batch = method(run), views(run, digits).next()
    health = model(batch).health
    assert ("code_zeros/agg" in health) is (name != "tost") and "last_norm_gain/agg" in health
    if name != "tost":
        assert 0.02 < float(health["code_zeros/agg"]) < 1
    optimiser = make_optimiser(run, model)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    for step in (0, 1, 2):
        optimise(run, step, model, model, optimiser, batch)
    for key, value in model.named_parameters():
        if key.startswith(("aggregator", "predictor")):
            assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", NEW)
def test_vectors_are_not_decayed(name):
    model = method(config(f"model.aggregator={name}"))
    decayed, free = ({id(p) for p in group.params} for group in model.parameter_groups())
    for key, value in model.aggregator.named_parameters():
        vector = value.ndim < 2 or key.endswith(("token", "temperature"))
        assert id(value) in (free if vector else decayed), key


# --- predictors


@pytest.mark.parametrize("condition", ["both", "aggregator"])
def test_the_crate_predictor_reads_the_aggregate_and_the_action_if_told(condition):
    words = ["model.predictor=crate", "model.predictor_hidden=null", f"model.condition={condition}"]
    model = method(config(*words)).eval()
    torch.manual_seed(0)
    z_agg, action = torch.randn(6, model.aggregator.width), torch.randn(6, 8)
    found = model.predict(z_agg, action)
    assert found.shape == (6, 16) and float(found.detach().min()) < 0  # the head is free of the code's sign
    assert not torch.allclose(model.predict(-z_agg, action), found)
    assert torch.allclose(model.predict(z_agg, -action), found) is (condition == "aggregator")


@pytest.mark.parametrize("word", ["layers=2", "heads=2", "step=0.3", "threshold=0.3", "form=paper"])
def test_every_setting_of_the_crate_predictor_acts(word):
    base = ["model.predictor=crate", "model.predictor_hidden=null"]
    rows = torch.randn(5, 32)
    first, other = (method(config(*base, *more)).predictor(rows) for more in ([], [f"model.predictor_crate.{word}"]))
    assert not torch.allclose(first, other)


# --- encoders of patches

PATCHES = {
    "vit": ["model.encoder={name: vit, width: 16, vit: {depth: 2, heads: 2}}"],
    "crate": ["model.encoder={name: crate, width: 16, crate: {depth: 2, heads: 2}}"],
    "crate paper": ["model.encoder={name: crate, width: 16, crate: {depth: 2, heads: 2, form: paper}}"],
    "crate alpha": ["model.encoder={name: crate, width: 16, crate: {depth: 2, heads: 2, dictionary: overcomplete}}"],
}


def encoder(*words, seed=0):
    torch.manual_seed(seed)
    return make_encoder(config(*words).model.encoder, 1).eval()


@pytest.mark.parametrize("kind", PATCHES)
def test_an_encoder_of_patches_computes_those_it_is_shown(kind):
    made_of, images = encoder(*PATCHES[kind]), torch.randn(3, 1, 12, 12)
    order = torch.randperm(9).expand(3, 9)
    with torch.no_grad():
        whole = made_of.tokens(images)
        assert whole.shape == (3, 9, 16) and float(whole.min()) < 0  # the norm behind the sparse code
        shuffled = made_of.tokens(images, order)
        torch.testing.assert_close(shuffled, whole[:, order[0]], rtol=1e-4, atol=1e-5)
        keep, hidden = torch.tensor([[7, 0, 4]] * 3), images.clone()
        hidden[:, :, :4, 4:8] += 5.0  # patch 1
        assert torch.equal(made_of.tokens(hidden, keep), made_of.tokens(images, keep))
        assert not torch.allclose(made_of.tokens(hidden)[:, 0], whole[:, 0])  # patches see each other
        # the place of a patch counts: equal patches are told apart
        assert not torch.allclose(*made_of.tokens(torch.ones(1, 1, 12, 12))[0, [1, 5]])


@pytest.mark.parametrize(
    "more",
    ["depth: 1", "heads: 2", "patch: 6", "form: paper", "form: paper, compression: 0.9", "step: 0.3", "threshold: 0.3",
     "dictionary: overcomplete", "dictionary: overcomplete, ratio: 2.0", "dictionary: overcomplete, scale: 0.1"],
)  # fmt: skip
def test_every_setting_of_the_crate_encoder_acts(more):
    base = "model.encoder={{name: crate, width: 16, crate: {{{}}}}}"
    words, images = [[base.format(one)] for one in ("", more)], torch.randn(2, 1, 12, 12)
    first, other = (encoder(*one).tokens(images).mean(1) for one in words)
    assert not torch.allclose(first, other, atol=1e-4)
    assert arm_id(config(*words[0])) != arm_id(config(*words[1]))


@pytest.mark.parametrize(
    "words, said",
    [
        ("{name: crate, width: 16, crate: {heads: 3}}", "model.encoder.crate: heads = 3 must divide the width 16"),
        ("{name: crate, width: 6, crate: {heads: 3}}", "width = 6 must be a multiple of 4"),
        ("{name: vit, width: 16, crate: {}}", "crate = .* has a meaning only with encoder.name=crate; remove it"),
        ("{name: crate, width: 16, crate: {ratio: 2.0}}", "ratio = 2.0 .* only with dictionary=overcomplete"),
    ],
)
def test_what_no_encoder_can_be_is_refused_in_one_line(words, said):
    with pytest.raises(UsageError, match=said) as caught:
        config(f"model.encoder={words}")
    assert "\n" not in str(caught.value)


def test_patches_that_do_not_fill_the_image_are_refused():
    with pytest.raises(UsageError, match="data.canvas = 14 must be a multiple of model.encoder.crate.patch = 4"):
        config(*PATCHES["crate"], "data.canvas=14")


@pytest.mark.parametrize("kind", ["vit", "crate", "crate alpha"])
def test_a_step_of_training_moves_every_parameter_of_an_encoder_of_patches(kind, digits):
    run = config(*PATCHES[kind], "objective.teacher=ema")
    model, batch = method(run), views(run, digits).next()
    optimiser = make_optimiser(run, model)
    before = {key: value.detach().clone() for key, value in model.encoder.named_parameters()}
    for step in (0, 1, 2):
        optimise(run, step, model, model, optimiser, batch)
        model.after_step({"ema_decay": 0.5})
    teacher = dict(model.target_branch.average.named_parameters())
    for key, value in model.encoder.named_parameters():
        assert not torch.equal(value, before[key]) and not torch.equal(teacher[key], before[key]), key


# --- one view at a time

STREAMED = {
    "attention": ["model.aggregator=tost", "model.tost.causal=true"],
    "pool": ["model.aggregator=tost", "model.tost={readout: pool, causal: true, expand: 1.7}"],
    "timed": ["model.aggregator=tost", "model.tost.causal=true", "model.time_embedding=true"],
    "codes": ["model.aggregator=tost", "model.tost.causal=true", "model.condition=predictor"],
}


@pytest.mark.parametrize("kind", STREAMED)
def test_a_stream_equals_the_batch_for_every_prefix(kind):
    aggregator, z, actions = made(*STREAMED[kind], m=16, batch=2)
    stream = Stream(aggregator)
    with torch.no_grad():
        state = stream.begin(z[:, 0])
        for m in range(1, z.shape[1] + 1):
            state, found = stream.update(state, z[:, m - 1], None if m == 1 else actions[:, m - 2])
            torch.testing.assert_close(found, aggregator(z[:, :m], actions[:, : m - 1]), rtol=1e-9, atol=1e-11)
    assert state.count == 16


@pytest.mark.parametrize("kind", ["attention", "pool"])
def test_many_views_one_at_a_time_in_constant_memory(kind):
    """In fp32, whose sums over hundreds of views would drift: the stream's run in fp64."""
    aggregator, z, actions = made(*STREAMED[kind], "model.layers=1", m=512, batch=1)
    aggregator, z, actions = aggregator.float(), z.float(), actions.float()
    stream = Stream(aggregator)
    sizes, worst = set(), 0.0
    with torch.no_grad():
        state = stream.begin(z[:, 0])
        for m in range(1, 513):
            previous = weakref.ref(state.blocks[0].squares)
            state, found = stream.update(state, z[:, m - 1], None if m == 1 else actions[:, m - 2])
            sums = [*(one for block in state.blocks for one in block), *state.read]
            sizes.add(sum(one.numel() for one in (*sums, state.pending)))
            if m & (m - 1) == 0:
                whole = aggregator(z[:, :m], actions[:, : m - 1])
                worst = max(worst, float((found - whole).abs().max() / whole.abs().max()))
        gc.collect()
        assert previous() is None  # nothing holds on to earlier states
    assert found.dtype == torch.float32 and all(one.dtype == torch.float64 for one in sums)
    assert len(sizes) == 1 and worst <= 1e-6, (sizes, worst)


def test_what_cannot_be_streamed_says_what_to_set():
    for words, said in (
        (["model.aggregator=tost"], "model.tost.causal = False: .*set it to true"),
        (["model.aggregator=tost", "model.tost={causal: true, class_layers: 2}"], "class_layers = 2: .*set it to 1"),
    ):
        with pytest.raises(UsageError, match=said):
            Stream(made(*words)[0])
    stream, (_, z, actions) = Stream(made(*STREAMED["pool"])[0]), made(*STREAMED["pool"])
    with pytest.raises(ValueError, match="None for the first view"):
        stream.update(stream.begin(z[:, 0]), z[:, 0], actions[:, 0])


@pytest.mark.parametrize("preset", ["digits", "cifar100_aug_30"])
def test_arms_matched_for_parameters_have_the_transformers(preset):
    def size(*settings):
        with torch.device("meta"):
            return sum(p.numel() for p in make_aggregator(presets.load(preset, list(settings)).model).parameters())

    whole = size("model.aggregator=transformer")
    for name, expand in step3_crate.EXPAND.items():
        own = size(f"model.aggregator={name}", f"model.{name}.expand={expand}")
        assert abs(own / whole - 1) < 0.06, (name, own, whole)
        assert abs(size(f"model.aggregator={name}") / whole - 1) > 0.15, "as deep alone it is far from it"
