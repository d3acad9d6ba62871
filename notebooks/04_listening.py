# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does it speak?
#
# A trained run goes in (the last one, or the one `run` names; where there is none it is trained here by the same call as
# in notebook 03). A scorecard and audio come out.

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
system = None  # which text-to-speech system
run = None  # name of the run; None takes the one trained last
minutes = None  # time budget, should it have to be trained first (minutes)
tracking = None  # online, offline or disabled
overrides = None  # anything else, e.g. {"corpus.source": "asterisk"}

# %%
from ttslib import params

p = params.from_dials(globals())
p.lang, p.system, p.run

# %% [markdown]
# ## Sentences it has never seen, and some that it has
#
# The recording, the recording through mel and Griffin-Lim (the best this vocoder can sound), and the voice. A voice of a few
# clips can know them by heart and nothing else.
#
# An encoder of voices (`system=style`) speaks with Supertonic's runtime, where `style.runtime` names its files: before, in the
# mean voice, and after, in the cloned one. **What ten preset voices cannot teach:** the best mixture of nine of them explains
# about a third of the tenth's deviation from their mean. An encoder trained on the presets and their mixtures places a new
# voice as near as these allow, and no nearer; the speakers of the pairs decide what can be cloned.

# %%
from ttslib import exhibits, manifest, pipeline, show

found = manifest.prepare(p)
trained = pipeline.trained(p, watch=show.Live())
voice = pipeline.voice(trained)
held = exhibits.clips(voice, found, None)
trained.trained.resolve()

# %%
show.table(exhibits.heard(voice, found))

# %% [markdown]
# ## Scorecard
#
# Against the recordings, over the held-out sentences. `floor` is the vocoder alone. Lower is better everywhere.
#
# * **mcd_db** – mel-cepstral distortion after time alignment (dB)
# * **duration_error** – difference in length, as a share of the recording's
# * **length_ratio** – length of the speech over the recording's; 1 is as long
# * **f0_cents** – pitch error where both are voiced (1200 cents are an octave)
# * **rtf** – seconds of work per second of speech, on this machine
# * **spoken, rerolled, stop, loop, limit**, for systems that sample – sentences, further attempts at them, and how they ended:
#   by themselves, repeating themselves, or cut off
#
# None of these says that the speech is understood: hear it.
#
# Of `style`, over voices that it was not trained on (raw cosines of styles prove nothing, a constant has 0.96):
#
# * **ttl_cosine, dp_cosine** – of the deviations from the mean style (median); 0 is nobody's voice, 1 the right one
# * **ttl_r2, dp_r2** – share of these deviations that is explained
# * **top1, top3** – how often the voice is found again among all held-out ones
# * rows beside it: the same in noise, the mean style, and the training voice that is nearest to the right answer

# %%
card = pipeline.evaluate(trained.folder)
exhibits.scores(card)

# %%
show.table(card["sentences"][:20])

# %%
exhibits.spread(card)

# %% [markdown]
# ## What has it learnt?
#
# Which sound belongs to which letter of a held-out sentence; of an encoder of voices, where held-out voices lie (blue) and
# where it hears them (red).

# %%
exhibits.learnt(voice, found)

# %% [markdown]
# ## Slower, faster

# %%
exhibits.tempo(voice, held[0])

# %% [markdown]
# ## Say something yourself
#
# With a running kernel: type, choose, press *Speak*. Without one the panel is inert, and the tables above are what there
# is.

# %%
from ttslib import studio

studio.panel(voice, held[0].raw)

# %% [markdown]
# ## What was written

# %%
show.table(exhibits.written(voice, found, held, trained.folder / "listening"))
