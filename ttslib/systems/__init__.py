"""The systems: name -> module, a dict to print. Each module has one class `System`, inheriting nothing, which owns

* `rate` (Hz), `frame_seconds`, `p` (the params it was made with), `tokenizer`;
* `vocabularies`: row names by vocabulary (`text`, `speaker`, ...), and `tables`: an `adapt.Table` for every embedding or
  head whose rows are theirs, with the spare rows that the published network has beside them;
* `fresh(p, rows)`, `restore(state)`, `state()`: made for training rows, or again from plain JSON; `widened(p, rows)`:
  untrained, of the same shape, its vocabularies grown by what the rows need; `adaptation`: None, or what `adapt` wrote;
* `encode(row, wav) -> dict[str, Tensor]`: one clip, unpadded, pure and therefore cached under `feature_key`; `length_of`
  names the tensor whose last axis counts frames; `measure(examples)` takes statistics of the training split once;
* `nets: dict[str, nn.Module]` and `parts() -> dict[str, list[Parameter]]`: what is trained, one optimizer a part;
* `factors() -> dict[Parameter, float]`: multiples of the learning rate where they are not 1;
* `ids(text, lang)`: what a normalised text is to the network; raises `UnitsError` naming what it has no row for;
* `losses(batch)`: a generator of one dict of named loss terms per part, in that order, never yielding inside `with`; the
  parts learn when all gradients are there, so that a step in which one of them is not finite can be dropped whole;
* `verdict(terms) -> float`: the validation loss by which `best` is chosen (`val/total`), lower being better;
* `align(batch) -> dict`: `durations` (batch, tokens) in frames, and log-mels `(batch, mels, frames)`: of the `recording`,
  and of what the text gives at that timing, `mel`;
* `synthesize(text, voice, seed, lang, speaking_rate) -> (samples,)`, the same for the same seed;
* `load(folder)` and `export(folder)`.

A system that learns codes has besides: `codec`, and `kept`, the codes computed ahead (None at first, filled by
`speech.features`); `meet(rows, read)`, what speaking in the training's voices takes; `welcome(rows)`, speakers it is to
replay; `decoded(one, codes)`, their sound; and `tally`, how its attempts at speaking ended. It may have `mute`, why they
cannot be made sound here ("" where they can), and `listen_on(device)`, where `encode` computes.

A system that gives voices instead of speech (`style`) reads no text: `reads` is False, its tokenizer has no letters, and
there is no `align`. It has `clone(wav)`, `export_voice(voice, file)`, and `scorecard` and `space` of its own; it is `mute`
where no runtime is at hand that speaks with its voices.

Any may have `undecayed()`, parameters that weight decay is to leave alone: a table whose rows a corpus may not all use.

tests/test_conformance.py holds every system to this.
"""

import importlib

SYSTEMS = {name: f"ttslib.systems.{name}" for name in ("acoustic", "vits", "t3", "indextts", "pocket", "style")}


def system_class(name: str):
    """The class behind a name, imported only now: the systems' dependencies differ."""
    if name not in SYSTEMS:
        raise ValueError(f"system {name!r} does not exist; there are {', '.join(SYSTEMS)}")
    return importlib.import_module(SYSTEMS[name]).System
