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
# # Does an early look predict the end?
#
# A gate, or a rung of early stopping, acts on an early epoch. Here runs that nothing stopped are judged at every epoch
# at which they were scored: would it have kept the right ones? One run per arm, all on one seed.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import analysis
from analysis.figures.style import STYLE
from analysis.recorded.packed import unpacked
from analysis.sentences.predicted import agreement

STUDY = "../../studies/replay/recorded/rotation.jsonl.gz"  # or the folder of a study that stopped nothing
frames = analysis.load(unpacked(STUDY))
pd.set_option("display.width", 110, "display.precision", 2, "display.notebook_repr_html", False)
# %matplotlib inline
plt.rcParams.update(STYLE)

# %% [markdown]
# ## Which runs can answer?
#
# Those of a search, or alone, that were scored at the last epoch. Runs of a verdict, a race or a noise floor are few
# settings many times.

# %%
alone = frames.runs["phase"].isna() | frames.runs["phase"].isin(["search", "single"])
runs = frames.runs[alone & frames.runs["complete"].fillna(False)]
rows = frames.epochs.query("split == 'validation' and origin != 'evaluation'").merge(runs[["study", "run_id"]])
scores = rows.pivot_table(index="run_id", columns="epoch", values="linacc/z_agg@M").dropna(axis="columns")
last = scores.columns.max()
at = f" at epoch {last}, the last that all of them have" if len(scores) else ""
print(f"{len(scores)} of {len(frames.runs)} runs have a score{at}.")
scores[last].describe().to_frame("linear accuracy (%)") if len(scores) else scores

# %% [markdown]
# ## Is the order of the arms at an early epoch their order at the end?
#
# Spearman's rank correlation with a 95 % bootstrap interval over arms; below four arms it is not computed. Epoch 0 is
# left out: all arms start from one encoder.

# %%
found = {epoch: agreement(scores[epoch].to_numpy(), scores[last].to_numpy()) for epoch in scores if 0 < epoch < last}
found = pd.DataFrame(found).T.reindex(columns=["correlation", "low", "high", "regret", "kept"]).rename_axis("epoch")
band = found[["correlation", "low", "high"]].astype(float)
sure = band.index[band["low"] > 0.5]
said = f"The interval lies above 0.5 first at epoch {sure.min()}." if len(sure) else "No interval lies above 0.5."
print(said if len(scores) >= 4 else f"{len(scores)} arms at the last epoch are too few for a rank correlation.")
band.iloc[::3]

# %%
figure, panel = plt.subplots(figsize=(7, 3), dpi=90)
panel.fill_between(band.index.astype(float), band["low"], band["high"], alpha=0.2, linewidth=0)
panel.plot(band.index.astype(float), band["correlation"], marker="o", markersize=3)
panel.axhline(0, color="grey", linewidth=0.8)
panel.set_title(f"{len(scores)} arms; band: 95 % bootstrap interval", loc="left")
panel.set(xlabel="epoch of the look", ylabel="rank correlation with\nthe last epoch", ylim=(-1, 1.05))
figure.tight_layout()

# %% [markdown]
# ## What does it cost to choose then?
#
# `regret`: points lost at the end by taking the best arm of the early epoch. `kept`: whether the arm that is best at
# the end is among the best third then, so that a rung which keeps a third would have kept it.

# %%
regret = found["regret"].astype(float)
costly, kept = regret.index[regret >= 1], found["kept"].eq(True).sum()
said = f"Keeping a third keeps the arm that is best at the end at {kept} of {len(found)} epochs."
print(said if len(found) else "No earlier epoch has scores.")
if len(costly):
    print(f"Keeping only the best loses a point or more as late as epoch {costly.max()}.")
found[["regret", "kept"]].astype({"regret": float}).iloc[::3]

# %% [markdown]
# ## Do collapsed runs end lower?
#
# Collapsed: the effective rank of z at the end is below half of its untrained value. The arms differ in more than that,
# so this is a description and no test.

# %%
ends = runs.set_index("run_id")[["collapsed"]].assign(end=scores[last] if len(scores) else float("nan"))
table = ends.groupby("collapsed")["end"].agg(["count", "mean", "min", "max"])
gap = table["mean"].reindex([True, False])
said = f"Collapsed runs end {gap[False] - gap[True]:.1f} points below the others on average."
print(said if gap.notna().all() else "There are not both collapsed runs and others to compare.")
table
