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

# %%
from ttslib import exhibits, manifest, pipeline, show

found = manifest.prepare(p)
trained = pipeline.trained(p, watch=show.Live())
voice = pipeline.voice(trained)
held = exhibits.clips(voice, found, None)
trained.trained.resolve()

# %% [markdown]
# ## Before and after
#
# Sentences that it was not trained on, as it spoke them at the first and at the last evaluation, beside the recording; the
# worst first. What a recogniser heard stands above each, with its share of misread characters. If the corpus is
# synthetic, so is the recording. A voice of a few clips can know them by heart and nothing else.
#
# An encoder of voices (`system=style`) speaks with Supertonic's runtime, where `style.runtime` names its files: before, in the
# mean voice, and after, in the cloned one. **What ten preset voices cannot teach:** the best mixture of nine of them explains
# about a third of the tenth's deviation from their mean. An encoder trained on the presets and their mixtures places a new
# voice as near as these allow, and no nearer; the speakers of the pairs decide what can be cloned.

# %%
exhibits.before_after(trained, voice, p, found)

# %% [markdown]
# ## Can it be understood?
#
# On held-out texts, every voice under the same protocol, medians or rates with 95 % intervals. **Recordings** and their
# **copies** through the vocoder (and the codec) are the floors: nothing said through them is understood better. Names of
# baselines are yours (`evaluate.baselines`).
#
# * **CER, WER** – characters and words that a recogniser misreads; *CER above the recordings'* is what the voice adds.
#   *Not told apart*: do not rank the two, there are too few sentences.
# * **faulty** – silence, long pauses, no end, repetitions, cut endings, other words; **refused** – sentences with letters
#   that the voice never learnt
# * **similarity** – cosine of the speaker's embedding and that of his other recordings; **MOS** – predicted, by a network
#   that learnt from English
# * **MCD** – mel-cepstral distortion after time alignment (dB); **F0** – pitch error where both are voiced (1200 cents are
#   an octave); **duration error** – as a share of the recording's; **RTF** – seconds of work a second of speech, here
#
# Of `style`, over voices that it was not trained on (raw cosines of styles prove nothing, a constant has 0.96):
#
# * **ttl_cosine, dp_cosine** – of the deviations from the mean style (median); 0 is nobody's voice, 1 the right one
# * **ttl_r2, dp_r2** – share of these deviations that is explained
# * **top1, top3** – how often the voice is found again among all held-out ones
# * rows beside it: the same in noise, the mean style, and the training voice that is nearest to the right answer

# %%
from ttslib import scorecard

card = scorecard.make(trained.folder, p)
exhibits.scores(card)

# %%
exhibits.spread(card)

# %% [markdown]
# ## By kind of sentence, and who judged
#
# Out of the corpus's domain, numerals, questions, single words, long sentences, and pairs of words that differ in one sound.

# %%
exhibits.sets(card)

# %% [markdown]
# ## The worst sentences first

# %%
exhibits.details(card, found)

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
# ## A blind test
#
# The recording, hidden; the copy, the voice and the baselines; and a low anchor, in an order that nobody knows. Send the page
# to native speakers: it is one file, works offline, and saves their answers, which go into the folder `answers`. With a
# running kernel the form below is the same test. Words that a listener taps as mispronounced can be trained on:
# `python -m ttslib feedback`, then notebook 03 with `feedback`.

# %%
test = exhibits.blind(trained, card)
test.get("form", test["told"])

# %%
exhibits.opinions(trained, test)

# %% [markdown]
# ## What was written
#
# The model card states data, licences, base, scores with their floors, and what they do not tell.

# %%
from IPython.display import Markdown

from ttslib import card as model_card

Markdown(model_card.write(trained.folder).read_text(encoding="utf-8").split("---\n", 2)[2])

# %%
show.table(exhibits.written(voice, found, held, trained.folder / "spoken"))
