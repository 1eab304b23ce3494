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
# # What does a study show?
#
# The answer first, then the arms behind it, how far the search's own scores can be trusted, and what ended early.
# Every number comes from `analysis.load`; `analysis.columns()` explains every column.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import analysis
from analysis.figures.style import STYLE
from analysis.page.facts import gather
from analysis.page.figures import FIGURES
from analysis.recorded.packed import unpacked

STUDY = "digits.tar.xz"  # or a study's folder, as "results/step2_rate_digits"
frames = analysis.load(unpacked(STUDY))
pd.set_option(
    "display.width", 110, "display.precision", 2, "display.notebook_repr_html", False, "display.max_colwidth", 70
)
# %matplotlib inline
plt.rcParams.update(STYLE)

# %% [markdown]
# ## What was asked, and is it finished?

# %%
for row in frames.studies.itertuples():
    print(f"{row.study} is {row.state}, with {row.trials} trials and {row.runs} runs on record. It asks:")
    print(row.question)
if frames.studies.empty:
    print("No study here: runs alone have neither a question nor contrasts.")
frames.studies.set_index("study")[["dataset", "measures", "unit", "epochs", "seeds", "device"]].T

# %% [markdown]
# ## What did the contrasts decide that were declared before the data?
#
# Only these have a verdict, by Holm's rule over all of them; the interval is the one at which the rule decides.

# %%
declared = frames.contrasts.query("primary").set_index("contrast")
words = "; ".join(f"{n} {word}" for word, n in declared["verdict"].value_counts().sort_index().items())
whole = "" if frames.studies["state"].eq("finished").all() else "Not finished, so what follows is no verdict yet. "
print(f"{whole}Declared contrasts: {words}." if len(declared) else "No declared contrast is on record yet.")
columns = ["mean", "adjusted_low", "adjusted_high", "n", "p_adjusted", "resolvable", "verdict"]
declared[columns].rename(columns={"adjusted_low": "low", "adjusted_high": "high", "p_adjusted": "p"})

# %% [markdown]
# ## How good are the arms, and by how much did the search overestimate those it chose?
#
# `search_value` served the choice and tends to be too high; `mean` is over seeds that the search never saw.

# %%
arms = frames.arms.sort_values("mean", ascending=False).set_index("arm")
gain = (arms["search_value"] - arms.get("linacc_z_agg_mean", arms["mean"])).dropna()
said = f"Search score minus confirmed mean: {gain.mean():+.1f} points on average over {len(gain)} chosen arms."
print(said if len(gain) else "No arm has both a search score and a confirmed one yet.")
arms[["mean", "low", "high", "n", "planned", "search_value", "gate_passed", "collapsed"]]

# %% [markdown]
# ## How did they get there?

# %%
for study in frames.loaded:
    FIGURES["curves"].figure(gather(study))
scored = frames.epochs.query("split == 'validation' and origin == 'study'").dropna(subset="linacc/z_agg@M")
ends = f", the last at epoch {scored['epoch'].max()}" if len(scored) else ", so there is no curve yet"
print(f"{len(scored)} validation scores of {scored['run_id'].nunique()} runs{ends}.")

# %% [markdown]
# ## Which runs ended early, and why?

# %%
early = frames.runs[~frames.runs["complete"].fillna(False)]
hours = frames.runs["seconds"].sum() / 3600
print(
    f"{len(early)} of {len(frames.runs)} runs have not reached their last epoch; all together took {hours:.2f} hours."
)
early.groupby(["phase", "state", "reason"], observed=True, dropna=False).size().rename("runs").reset_index()
