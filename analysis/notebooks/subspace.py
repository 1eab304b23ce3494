# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What subspace does a factor of the image move the code in?
#
# `python -m trainer.evaluate --subspace` sweeps each factor (here: a full turn of every image) and measures the
# differences Δz, of the code and, in the same way, of raw pixels and of the untrained encoder. Its records lie beside
# those of training. Nothing here chooses or tests: the differences of arms below are exploratory.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import analysis
from analysis.figures.subspace_about import with_study_label
from analysis.figures.subspace_plots import figures_of
from analysis.figures.subspace_style import STYLE
from analysis.recorded.packed import unpacked

STUDY = "digits.tar.xz"  # or a study's folder
folder = unpacked(STUDY)
frames = analysis.load(folder)
pd.set_option("display.width", 110, "display.precision", 2, "display.notebook_repr_html", False)
# %matplotlib inline
plt.rcParams.update(STYLE | {"figure.dpi": 80})

# %% [markdown]
# ## Which runs were evaluated?

# %%
wide = frames.epochs.query("origin == 'evaluation'").filter(regex=r"^run_id$|^subspace_\w+[.\w]*/")
rows = wide.melt("run_id").dropna(subset="value")
rows[["measure", "factor", "code"]] = rows["variable"].astype("string").str.extract(r"^(.*)/([^.]*)\.?(.*)$")
rows["code"] = rows["code"].replace("", "z")
rows["arm"] = rows["run_id"].map(frames.runs.drop_duplicates("run_id").set_index("run_id")["arm"])
count = rows.groupby("arm")["run_id"].nunique()
print(f"Evaluated: {count.sum()} runs of {len(count)} arms." if len(count) else "No run has subspace diagnostics yet.")
count.to_frame("runs")

# %% [markdown]
# ## In how many directions does the code move?
#
# Effective rank of Δz, mean over seeds: of z, of the aggregate of M views (`z_agg@M`), and beside them of pixels and of
# the untrained z.

# %%
tables = rows.pivot_table(index=["measure", "factor", "arm"], columns="code", values="value")
shown = list(dict.fromkeys(["untrained", "z", *tables.columns[-1:]]))
rank = tables[tables.index.get_level_values("measure") == "subspace_effrank"].droplevel("measure")
for (factor, arm), row in rank.iterrows():
    said = ", ".join(f"{code} {value:.1f}" for code, value in row.reindex(shown).dropna().items())
    print(f"{factor}, {arm}: {said} directions.")
rank if len(rank) else "Nothing to count."

# %% [markdown]
# ## How much of the movement do the leading directions hold?
#
# Share of the variance of Δz of held-out anchors in the k leading directions that the other anchors span (`pooled.kK`).

# %%
share = tables[tables.index.get_level_values("measure").str.startswith("subspace_ev.pooled")]
two = share[share.index.get_level_values("measure").str.endswith(".k2")].droplevel("measure")
for (factor, arm), row in two.iterrows():
    said = ", ".join(f"{code} {value:.0%}" for code, value in row.reindex(shown).dropna().items())
    print(f"{factor}, {arm}: in two directions {said}.")
share.rename(lambda name: name.rpartition(".")[2], level="measure") if len(share) else "Nothing to share."

# %% [markdown]
# ## What does one run look like?
#
# The figures of `analysis.figures.subspace_plots`, from the arrays that one run's evaluation left beside its record.
# A turn that the code represents is a ring in the colours' order; a line per held-out anchor.

# %%
left = sorted(folder.rglob("evaluation-*subspace.npz"))
print(f"Runs with arrays: {len(left)}; the first is drawn." if left else "No run has arrays on record.")
for path in left[:1]:
    arrays = with_study_label(dict(np.load(path, allow_pickle=False)), path)
    for name, draw in figures_of(arrays).items():
        if name in ("eigenspectrum", "circle"):
            draw(arrays)
