# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Teaching a voice to speak
#
# A manifest goes in (notebook 00 makes it; where it is missing it is made here by the same call). A trained run comes
# out: checkpoints, history, and the same sentences spoken before and after.

# %% tags=["parameters"]
lang = "am"  # language: a file in params/, or the path of a params file
system = None  # which text-to-speech system
run = None  # name of the run; None takes the next number
minutes = None  # time budget of training, evaluation and saving (minutes); None leaves it to train.steps
tracking = None  # online, offline or disabled
overrides = None  # anything else, e.g. {"train.lr": 5.0e-4, "text.units": "phonemes"}
feedback = None  # file of listeners' feedback (ttslib feedback) to train a base with: adapt.base in overrides

# %%
from ttslib import params

p = params.from_dials(globals())
p

# %% [markdown]
# ## What will it see?
#
# One training clip: the text as the model reads it, its mel spectrogram, and the recording itself.

# %%
from ttslib import manifest, pipeline, show, speech

found = manifest.prepare(p)
row = sorted(found.split("train"), key=lambda r: abs(r.seconds - 3))[0]
show.clip(speech.recording(found, row, 16000), 16000, row.text)

# %%
show.spoken(speech.recording(found, row, 16000), 16000)

# %% [markdown]
# ## Is the pipeline whole?
#
# Ten checks on a few clips, in seconds, before hours are spent: recordings against their rows, text against ids, targets
# against a fresh encoding, gradients, a few steps that must lower the loss, a run that is killed and resumed, speech,
# export. A row that failed says what to do; what depends on it was not run.

# %%
from ttslib import checks, together

together.apart(checks.run, p)

# %% [markdown]
# ## Training
#
# Every loss term has a name. For the acoustic system:
#
# * **mel** – mean absolute error of the spoken mel, in units of each band's standard deviation. It should fall quickly,
#   then slowly; a validation curve that rises while training falls means over-fitting.
# * **prior** – how well each letter alone predicts its frames; the alignment search works with it. It falls in a bend
#   once letters and sounds have found each other.
# * **duration** – squared error of the log number of frames per letter.
#
# For `system=vits`:
#
# * **mel** – mean absolute error of the log-mel of a half-second of speech, rebuilt from the recording, times 45.
# * **kl** – how far what the recording says of each frame is from what the text foretells of it.
# * **duration** – how badly the frames per letter are foretold (a bound in nats).
# * **discriminator**, **adversarial**, **feature_matching** – one network learns to tell speech from recordings, the other
#   to be taken for one. Neither goes to zero while the two are a match for each other.
# * **prior_mel**, in validation – the mel error of what the *text* speaks, at the recording's timing. It is what you
#   will hear: judge by it. A low kl can also mean that both sides say nothing.
#
# For `system=t3` and `system=indextts`, which learn codes (notebook 00):
#
# * **speech** – cross-entropy of the next code (nats). Not knowing anything it is the log of their number, 8.8 and 9.0.
# * **text** – that of the next text token, times its weight.
# * **top1**, **end**, **text_ce**, in validation – share of the codes foretold, probability of the stop code where speech
#   ends, text cross-entropy without its weight. On a small corpus `speech` soon rises in validation while the voice still
#   gains: hear it.
#
# For `system=pocket`, which learns latents:
#
# * **flow**, **distillation** – squared errors of the head's velocity and of its one-step jumps, under a learned weight: they
#   fall below zero and are no measure of progress. **eos** – whether speech is over.
# * **diagonal_raw**, **distillation_raw**, in validation – the same without the weight, summed over the 32 numbers of a
#   frame; not knowing anything it is 64. **end** – probability of the end where speech ends.
#
# For `system=style`, which hears voices:
#
# * **ttl**, **dp** – squared errors of the two parts of a style, weighted. **cosine** – one minus the cosine of the
#   deviations from the mean style.
# * **ttl_cosine**, **dp_cosine**, in validation, are on voices that it was not trained on: 0 is the mean voice whatever is
#   heard, 1 the voice itself. **ttl_mse** beside **ttl_mse_mean**, that of the mean voice.
#
# Before the first step one evaluation, one save and one load are tried, so that what would break later breaks now. The
# picture below is one display, redrawn while training.
#
# On a machine with several GPUs `overrides={"processes": 4}` trains on four of them. They must be unused until then: run
# this notebook from its top. More machines, and what the number of GPUs changes: `docs/many-gpus.md`.

# %%
done = pipeline.train(p, watch=show.Live())
done.result

# %% [markdown]
# ## How did the losses fall?

# %%
show.curves(done.run.rows())

# %% [markdown]
# ## Does it know which sound belongs to which letter?
#
# A held-out clip: the white line climbs through the letters (vertical) as time passes (horizontal). A healthy line rises
# steadily; long flat stretches or jumps mean the alignment has not formed. For `t3`, `indextts` and `pocket` it is read off the
# attention; a network that knows its few clips by heart hardly looks at the text, and then the line is flat for long.
#
# `style` reads no letters: for it the picture shows where the styles of voices lie that it was not trained on (blue), and what
# it hears in their clips (red). Short lines are a good ear; all red points in the middle are none.

# %%
from ttslib import exhibits

exhibits.learnt(done.system, found)

# %%
exhibits.made(done.system, found)

# %% [markdown]
# ## The same sentences, before and after
#
# Validation sentences, spoken at step 0 and at the end, beside the recording, the worst first; above each what a recogniser
# heard and its share of misread characters. By these and the recordings' own share, the line in the picture above, `best` is
# chosen. If the corpus is synthetic, so is the recording. Of `style`: held-out voices beside the nearest of the training.

# %%
exhibits.before_after(done.run, done.system, p, found, count=3)

# %% [markdown]
# ## What did feedback change?
#
# Sentences with words that listeners flagged, and others that nobody complained of: they must not get worse.

# %%
exhibits.feedback(done, p, found)

# %% [markdown]
# ## What was written

# %%
from ttslib import provenance

show.table([{"run": str(done.run.folder), "best checkpoint": done.run.trained.resolve().name} | provenance.describe()])
