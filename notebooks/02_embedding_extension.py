# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Rows for the new letters
#
# A trained model goes in, and the corpus (or notebook 01's tokenizer) that says what it cannot read. The same model comes
# out with rows for it: every old row where it was, to the bit, and every sentence it could say sounding as before.
#
# Without `adapt.base` a small English model is trained here first, on synthetic speech, so that the notebook can be
# tried with nothing in hand.

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
system = None  # which text-to-speech system
run = None  # name of the run
minutes = None  # time budget of training (minutes)
tracking = None  # online, offline or disabled
overrides = None  # anything else, e.g. {"adapt.base": "outputs/studio/acoustic/base", "adapt.init": "romanised"}

# %%
from ttslib import params

p = params.from_dials(globals())
p.adapt

# %% [markdown]
# ## The base, and the base with more rows
#
# Rows are matched by the token's name, never by its position.

# %%
from ttslib import extension, show

grown = extension.grow(p)
show.table(extension.sizes(grown))

# %% [markdown]
# ## Which row comes from where?
#
# A point on the rising line is an old row that kept its place. Points on the floor are new rows, coloured by how they
# start: from the base's pieces of the token, from its romanisation, as a copy, or from the mean of all rows.

# %%
from ttslib.show import tokens

made = extension.recipes(grown)
tokens.row_map(grown.maps["text"], made)

# %%
show.table([{"new row": r.name, "start": r.how, "from": " ".join(r.rows[:6])} for r in made[:12]])

# %% [markdown]
# ## What do new rows lie next to?
#
# The nearest old rows by cosine, for random rows (what most recipes do) and for the start chosen here. A new letter
# should lie near letters that sound like it; a random one lies near nothing.

# %%
show.table(extension.neighbours(grown, made, p))

# %% [markdown]
# ## Did any old row move?
#
# Compared bit for bit, in every table; then everything outside the tables.

# %%
show.table(extension.identity(grown))

# %% [markdown]
# ## Does the base language sound as before?
#
# The same sentence of the base's language from both models. The difference must be zero, not small.

# %%
before, after, text = extension.outputs(grown)
print(f"{text!r}: largest difference {float((before - after).abs().max())}")
show.mels({"base": before, "extended": after}, grown.system.frame_seconds)

# %% [markdown]
# ## What was written
#
# An untrained checkpoint with its row map. Go on in notebook 03 with `overrides = {"adapt.base": "<this folder>"}`: the
# new rows learn (`adapt.train_rows`), the old ones cannot move.

# %%
show.table([{"file": f.name, "bytes": f.stat().st_size} for f in sorted(grown.folder.iterdir())])

# %%
print(grown.folder)
