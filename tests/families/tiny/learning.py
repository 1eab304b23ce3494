"""The source, the method and the probes."""

from __future__ import annotations

import torch
from torch import nn

from trainer import world
from trainer.blocks.faces import make_encoder
from trainer.data.philox import Purpose, derived_seed
from trainer.losses.prediction import cosine_distance
from trainer.losses.term import make_regulariser, regularise
from trainer.method import Group, Method, Output, Probes
from trainer.probes.ranks import effective_ranks
from trainer.probes.ridge import Ridge


class Images:
    """Batches of single images, drawn with replacement from a generator that is part of the state."""

    def __init__(self, config, images, dtype, rank, workers):
        self._config, self._images, self._dtype, self._share = config, images, dtype, slice(rank, None, workers)
        self._generator = torch.Generator().manual_seed(derived_seed(config.seed, Purpose.ORDER))
        self.step, self.channels = 0, images.images.shape[1]

    def next(self):
        self.step += 1
        train, size = self._images.splits["train"], self._config.optim.batch_size
        index = train[torch.randint(len(train), (size,), generator=self._generator)][self._share]
        noise = torch.randn(
            size, self.channels, *self._images.images.shape[2:], generator=self._generator, dtype=self._dtype
        )
        return {"images": self.images(index), "noise": noise[self._share], "labels": self._images.labels[index]}

    def images(self, index):
        return self._images.images[index].to(self._dtype) / 255

    def state_dict(self):
        return {"step": self.step, "generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self.step = state["step"]
        self._generator.set_state(state["generator"])


class Tiny(Method):
    def __init__(self, config, channels):
        super().__init__()
        self._config, self.weights = config, config.objective.weights.model_dump()
        self.encoder = make_encoder(config.model.encoder, channels)
        self.predictor = nn.Linear(self.encoder.features, self.encoder.features)
        self.rate = make_regulariser("rate", config.objective.rate, config.seed)
        self.register_buffer("centre", torch.zeros(self.encoder.features))

    def code(self, images):
        return self.encoder.tokens(images).mean(1)

    def forward(self, batch):
        goal = self.code(batch["images"]).detach()
        codes = [self.code(batch["images"] + level * batch["noise"]) for level in (0.1, 0.5)]
        near, far = (cosine_distance(self.predictor(code), goal - self.centre) for code in codes)
        rate = regularise(self.rate, {"code": codes}, None)
        self._mean = world.mean_over_workers(goal.mean(0))
        return Output({"near": near, "far": far, "rate": rate.value}, {"code": goal}, rate.health)

    def parameter_groups(self):
        model, decay = self._config.model, self._config.optim.weight_decay
        return [
            Group(list(self.encoder.parameters()), decay),
            Group(list(self.predictor.parameters()), 0.0, model.lr_scale, model.clip_norm),
        ]

    def schedule(self, step):
        # the centre rests in the first epoch
        return {"centre_share": None if step < self._config.steps_per_epoch else 1 - self._config.model.momentum}

    @torch.no_grad()
    def after_step(self, scalars):
        if "centre_share" in scalars:
            self.centre.lerp_(self._mean, scalars["centre_share"])


class TinyProbes(Probes):
    def __init__(self, config, images, source):
        self._images, self._source, self.split, self._observed = images, source, config.data.select_on, 0
        self._norms = 0.0

    def observe(self, output, batch):
        self._observed += 1
        return {"norm": output.features["code"].norm(dim=1).mean()}

    def keep(self, kept):
        self._norms += float(kept["norm"])

    def at_start(self, method, baselines):
        return self._measured(self.untrained(method))

    def after_epoch(self, method, epoch, full, folder):
        norms, self._norms = self._norms, 0.0
        return {"norm_sum/code@1": norms, **(self._measured(method) if full else {})}

    def evaluate(self, method, untrained, wanted):
        wanted.say("codes")
        before = {f"untrained_{name}": value for name, value in self._measured(untrained, wanted.split).items()}
        return self._measured(method, wanted.split) | before | {"observed": float(self._observed)}

    @torch.no_grad()
    def _measured(self, method, split=None):
        method.eval()
        train, held = (self._images.splits[name] for name in ("train", split or self.split))
        codes, labels = (method.code(self._source.images(held)), self._images.labels[held])
        ridge = Ridge(method.code(self._source.images(train)), self._images.labels[train], self._images.classes)
        method.train()
        return {"linacc/code@1": ridge.accuracy(codes, labels), "rank_pr/code@1": effective_ranks(codes)["rank_pr"]}

    def state_dict(self):
        return {"observed": self._observed}

    def load_state_dict(self, state):
        self._observed = state["observed"]
