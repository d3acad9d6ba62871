# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which system for my language and my budget?
#
# A manifest goes in (notebook 00 makes it; where it is missing it is made here by the same call). A run of every system comes
# out, trained under one budget on the same clips, and scored on the same held-out sentences by the same judges: a table, a
# verdict that ranks only what can be told apart, and a blind test page.
#
# Systems start as their params say, from scratch unless `adapt.base` names a base. What wins after five minutes on a CPU need
# not win after a night on a GPU: the same file runs there with larger numbers.

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
systems = None  # which: a list or "acoustic,t3"; None takes acoustic, vits, t3 and pocket
run = None  # name of the comparison; None takes the budget
minutes = None  # time budget of each system's training, evaluation and saving (minutes); None leaves it to train.steps
tracking = None  # online, offline or disabled
overrides = None  # anything else, for all systems, e.g. {"vits.preset": "tiny", "evaluate.in_domain": 40}

# %%
from ttslib import compare

asked = compare.from_dials(globals())
{name: compare.budget(p) for name, p in asked.items()}

# %% [markdown]
# ## Training and scoring
#
# One system after the other, each in a process of its own; what they say is in the `.log` files. The recogniser is trained
# once, before; neither it nor a codec nor the features are in the budget. A run that was stopped is continued, a finished one
# is found. A system that fails is a row with its reason.

# %%
told = compare.make(asked)
told["folder"]

# %% [markdown]
# ## The verdict
#
# Two systems are ranked only where the interval of their difference, over sentences that both spoke, leaves out 0 and their
# own intervals do not overlap; on fewer than six sentences nothing is. Raise `evaluate.in_domain`, and the share of held-out
# clips (`doctor.test_share`), to tell more apart.

# %%
from ttslib.compare import tables

tables.ranked(told)

# %% [markdown]
# ## How well?
#
# On held-out texts, rates or medians with 95 % intervals; columns as in notebook 04. The recordings and their copies through
# vocoder and codec come first: they are the floors. A system of codes is understood no better than its codec's copy; where
# that is bad, train the codec longer (`mel_codec.steps`) before you judge the system.
#
# * **of all sentences** – how often speech did not end by itself, was silent, or was refused, in all sets together
#
# In the picture a point without whiskers is one sentence: it says nothing of its system.

# %%
tables.quality(told)

# %%
tables.spread(told)

# %% [markdown]
# ## At what cost?
#
# * **RTF** – seconds of work a second of speech, on this machine; **first audio** – seconds until the whole sentence is there:
#   no system is streamed here
# * **memory** – the peak of the training process, PyTorch and evaluations included; on a GPU, of its allocator
# * **audio trained** – seconds of speech a second of training steps; **parameters** – without codec and vocoder

# %%
tables.costs(told)

# %%
tables.trade(told)

# %% [markdown]
# ## The same sentences by each
#
# What the recogniser heard stands above, with its share of misread characters. If the corpus is synthetic, so is the recording.

# %%
from ttslib import manifest

found = manifest.read(told["manifest"])
tables.players(told, found)

# %% [markdown]
# ## A blind test
#
# All systems, the recording, its copy and a low anchor in an order that nobody knows: one file to send to native speakers.
# Their answers go into the folder `answers`; run the cell again to read them.

# %%
tables.blind(told, found)

# %% [markdown]
# ## What was written

# %%
from ttslib import provenance, show

show.table([{"comparison": f"{told['folder']}/compare.json"} | provenance.describe()])
