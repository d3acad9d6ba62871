# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What will the voice learn from?
#
# A corpus goes in; a manifest comes out: one line a clip, every dropped clip with its reason, every suspicious one
# marked. Training, listening and scoring all read this manifest and nothing else.
#
# The dials below are all there is to set here. `None` means "what `params/<lang>.yaml` says".

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
system = None  # which text-to-speech system
run = None  # name of the run
minutes = None  # time budget of training (minutes)
tracking = None  # online, offline or disabled
overrides = None  # anything else, e.g. {"corpus.source": "ljspeech", "corpus.path": "/data/my_voice"}

# %%
from ttslib import params

p = params.from_dials(globals())
p

# %% [markdown]
# ## Which clips survive the corpus doctor?
#
# The reader walks the corpus; the doctor decodes every file, trims silence at both ends and examines what is left. What
# cannot be used is dropped and explained, never silently. If the corpus is synthetic, the source column says so.

# %%
from ttslib import manifest, show

found = manifest.prepare(p)
show.table(found.totals())

# %%
show.table([{"source": s, "licence": li} for s, li in sorted({(r.source, r.licence) for r in found.rows})])

# %% [markdown]
# **What was dropped, and why.** A long list here is a reason to look at the corpus before training on it.

# %%
from collections import Counter

reasons = Counter(d["reason"] for d in found.dropped)
show.table([{"reason": reason, "clips": n} for reason, n in reasons.most_common()])

# %%
show.table(found.dropped[:10])

# %% [markdown]
# ## How long are they, and how fast are they spoken?
#
# Durations decide batch sizes. A second hump or a long tail in characters per second usually means transcripts that do
# not match their audio.

# %%
show.histogram([row.seconds for row in found.rows], "seconds", "duration of the trimmed clips")

# %%
show.histogram([len(row.text) / row.seconds for row in found.rows], "characters per second", "speaking rate")

# %% [markdown]
# ## Which characters does it have to learn?
#
# Counted over the normalised training text. A character seen only a few times will not be learnt well.

# %%
show.characters(found.charset())

# %% [markdown]
# ## What does it sound like?
#
# A short, a middling and a long clip, as the model will hear them.

# %%
from ttslib import speech

by_length = sorted(found.rows, key=lambda row: row.seconds)
chosen = [by_length[i * (len(by_length) - 1) // 4] for i in (1, 2, 4)]
show.table(
    [
        {"text": r.text, "speaker": r.speaker, "speech": show.spoken(speech.recording(found, r, 16000), 16000)}
        for r in chosen
    ]
)

# %% [markdown]
# ## What is left of it in codes?
#
# Systems such as `t3` do not learn sound but the codes of a codec. Ours are trained on this very corpus, here, where there is
# none yet (some minutes); published ones are named by `codec` in the params. No voice can sound better than its codec.

# %%
from ttslib import exhibits

show.table(exhibits.codec_facts(p))

# %%
copies = exhibits.copies(p, found)
show.table([{name: show.spoken(*heard) for name, heard in row.items()} for row in copies])

# %%
from ttslib import audio

mels = {name: audio.log_mel(wav, rate, hop=rate // 64).T for name, (wav, rate) in copies[0].items()}
show.mels(mels, 1 / 64)

# %% [markdown]
# ## Which clips should a person hear first?
#
# Suspects are kept, because a rule cannot be sure. Hear them; fix or remove the bad ones in the corpus, then run this
# notebook again with `manifest.prepare(p, again=True)`.

# %%
suspects = sorted((r for r in found.rows if r.suspects), key=lambda r: -len(r.suspects))
show.table(
    [{"why": why, "clips": n} for why, n in Counter(s.split(":")[0] for r in suspects for s in r.suspects).items()]
)

# %%
show.table(
    [
        {
            "id": r.id,
            "text": r.text,
            "why": "; ".join(r.suspects),
            "speech": show.spoken(speech.recording(found, r, 16000), 16000),
        }
        for r in suspects[:6]
    ]
)

# %% [markdown]
# ## What was written

# %%
show.table([{"file": file.name, "bytes": file.stat().st_size} for file in sorted(found.folder.glob("*.json*"))])

# %%
print(found.folder)
