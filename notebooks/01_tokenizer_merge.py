# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can the model read this language at all?
#
# A manifest goes in (notebook 00 makes it; where it is missing it is made here by the same call). A merged tokenizer comes
# out: the base's, plus what the new language needs, with every old id where it was.
#
# A letter that a tokenizer reads as unknown is a sound the model can never be told to make. It costs one minute to look.

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
system = None  # which text-to-speech system
run = None  # name of the run
minutes = None  # time budget of training (minutes)
tracking = None  # online, offline or disabled
overrides = None  # anything else, e.g. {"vocab.base": "/models/chatterbox/tokenizer.json", "vocab.tag": "[am]"}

# %%
from ttslib import params

p = params.from_dials(globals())
p.vocab

# %% [markdown]
# ## Which tokenizers could it start from?
#
# The base that is to learn the language (`vocab.base`; a small English one is trained here when none is given), the
# `vocab.candidates`, and the published tokenizers that are at hand.

# %%
from ttslib import extension, manifest, show, vocab

found = manifest.prepare(p)
lines = extension.lines(found, p.langs[0])
base = extension.base_tokenizer(p)
published = vocab.at_hand(p.langs[0])
show.table([{"system": row["system"], "at hand": row["reason"] or row["where"]} for row in published])

# %% [markdown]
# ## What would each do to this language?
#
# *Unknown* is the share of letters without a row. *Tokens a character* is how finely a text is cut: more tokens mean
# longer sequences, slower speech and sooner the model's limit.

# %%
checked = extension.checked(p, found, base, published)
show.table(extension.verdicts(checked))

# %% [markdown]
# **Letters the base has never seen**, each in a sentence of the corpus.

# %%
show.table([{"letter": letter, "in": text} for letter, text in list(checked[0]["unseen"].items())[:12]])

# %% [markdown]
# ## The merge
#
# New names hold only characters that the base cannot spell, so no old text can be read differently. The promise is
# checked on every shipped sentence of the base language; a merge that cannot keep it is refused.

# %%
merged = extension.merged(p, found, base)
report = merged.report
show.table(extension.summary(report))

# %% [markdown]
# ## How are the two languages cut into tokens?
#
# The same sentences before and after. The base language must look the same in both columns; in the new one red
# tokens are unknown.

# %%
from ttslib.show import tokens

tokens.side_by_side(base, merged.tokenizer, lines[:4], p.langs[0])

# %%
tokens.side_by_side(base, merged.tokenizer, extension.base_lines(base)[:4], extension.BASE_LANG)

# %% [markdown]
# ## How long do texts become?
#
# Tokens of each training text, before and after. An unknown run counts as one token a letter: short, and mute.

# %%
tokens.lengths(base, merged.tokenizer, lines, p.langs[0])

# %% [markdown]
# ## What was written

# %%
folder = extension.tokenizer_folder(p)
show.table([{"file": str(f.relative_to(folder)), "bytes": f.stat().st_size} for f in sorted(folder.rglob("*.*"))])

# %%
print(folder)
