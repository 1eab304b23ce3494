"""The page of what was compared: ``measured.md``, which every comparison reads, and the command writes."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_name("measured.md")
RECORD = "SEQ_JEPA_ORACLES"
"""Environment variable: the file that comparisons are appended to, instead of being looked up on the page."""

NOT_COMPARED = {
    "continual/ewc_mammoth_short_last_batch": "the reference divides by a wrong number of samples",
    "sigreg/buffers": "frequencies and weights, which every value is made of",
    "simdino/rate_v2_raw_scale": "rows of any length; ours are unit vectors",
    **{f"simdino/loss_{one}": "a whole loss that no method here has; its rate is compared"
       for one in ("v1_expa0", "v1_expa1", "v2_expa0", "v2_expa1", "v2_unnormalised_input")},
    "timm_vit/rope_table_half": "another order of channels, not offered here",
    "timm_vit/eva_attn_rope_half": "another order of channels, not offered here",
    "timm_vit/vit_block_layerscale_qknorm": "queries and keys are not normalised here",
    "timm_vit/eva_attn_rope": "a part of the block, which is compared",
    "timm_vit/eva_attn_rope_kept_tokens": "a part of the block, which is compared",
    "tost/class_block_cls_norm_only": "the reference has no backward pass here, and no published model uses it",
}  # fmt: skip
"""Pieces of the stored files that nothing is compared with, and why."""


class Row(NamedTuple):
    """One comparison: of what, how closely, and where the code of it is."""

    piece: str
    compared: str
    precision: str
    tolerance: str
    worst: str
    test: str

    @classmethod
    def of(cls, piece: str, compared: str, precision: str, tolerance: str, worst: str) -> Row:
        """Of the test that is running."""
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].partition("[")[0]
        return cls(piece, compared, precision, tolerance, worst, test.removeprefix("tests/"))

    @property
    def fixed(self) -> tuple[str, ...]:
        """All of it that does not depend on the machine."""
        return (*self[:4], self.test)


def note(row: Row) -> None:
    """Record a comparison that held, or see that the page has it, as the code makes it."""
    if os.environ.get(RECORD):
        with open(os.environ[RECORD], "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return
    assert row.fixed in known(), f"{PAGE.name} does not have {row.fixed}; make oracles writes it anew"


@cache
def known() -> frozenset[tuple[str, ...]]:
    return frozenset(row.fixed for row in rows())


def rows() -> list[Row]:
    """The rows that stand on the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [Row(*one) for one in cells if len(one) == len(Row._fields)][1:]
