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

# %%
from ttslib import manifest, pipeline, show

found = manifest.prepare(p)
trained = pipeline.trained(p, watch=show.Live())
voice = pipeline.voice(trained)
held = pipeline.speakable(found)
trained.trained.resolve()

# %%
rows = []
for row in [*held[:4], *found.split("train")[:3]]:
    recording = pipeline.recording(found, row, voice.rate)
    spoken = voice.synthesize(row.raw, voice=row.speaker, lang=row.lang)
    pair = {"recording": recording, "vocoder only": pipeline.vocoded(recording, voice.rate), "voice": spoken}
    rows.append(
        {"split": row.split, "text": row.raw} | {name: show.spoken(wav, voice.rate) for name, wav in pair.items()}
    )
show.table(rows)

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

# %%
card = pipeline.evaluate(trained.folder)
show.table([{"sentences": f"{card['scored']} of {card['held_out']}"} | card["median"] | card.get("tally", {})])

# %%
show.table(card["sentences"])

# %%
show.histogram([s["mcd_db"] for s in card["sentences"]], "mel-cepstral distortion (dB)", "per sentence")

# %% [markdown]
# ## Slower, faster

# %%
sentence = held[0]
rates = {f"{r} x": voice.synthesize(sentence.raw, lang=sentence.lang, speaking_rate=r) for r in (0.8, 1.0, 1.25)}
show.table([{"text": sentence.raw} | {name: show.spoken(wav, voice.rate) for name, wav in rates.items()}])

# %% [markdown]
# ## Say something yourself
#
# With a running kernel: type, choose, press *Speak*. Without one the panel is inert, and the tables above are what there
# is.

# %%
from ttslib import studio

studio.panel(voice, sentence.raw)

# %% [markdown]
# ## What was written

# %%
files = pipeline.speak(voice, [row.raw for row in held], trained.folder / "listening")
show.table([{"file": str(file), "text": row.raw} for file, row in zip(files, held, strict=True)])
