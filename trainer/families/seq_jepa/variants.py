"""Which method a configuration asks for."""

from __future__ import annotations

from typing import Any

from trainer.blocks.stream_norm import replace_norms
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA


def make(config: SeqJEPAConfig, channels: int, source: Any) -> SeqJEPA:
    """The configured method; ``source`` is what it will be trained on."""
    if config.data.stream is not None:
        from trainer.families.seq_jepa.continual.method import StreamJEPA

        method: SeqJEPA = StreamJEPA(config, channels, source)
    elif config.objective.local is not None:
        from trainer.families.seq_jepa.local.method import LocalJEPA

        method = LocalJEPA(config, channels, source)
    else:
        method = SeqJEPA(config, channels, source.action_dim)
    replace_norms(method, config.model.norm, config.data.stream.segments if config.data.stream else 1)
    return method
