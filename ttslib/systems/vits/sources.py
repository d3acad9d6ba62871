"""Voices that others published, as what a `System` is made of: Transformers' folders, Piper's files, original checkpoints.

None of them brings its discriminator; an original `D_*.pth` is named in `vits.discriminator_from`.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import VitsConfig, VitsModel

from ttslib import paths, vocab
from ttslib import text as normalisers
from ttslib.checkpoint import CheckpointError
from ttslib.corpora.clip import Dropped
from ttslib.corpora.espeak import shipped
from ttslib.params import Params
from ttslib.sections import Text, Vits
from ttslib.systems.vits import letters, original, piper, posterior, published
from ttslib.vocab.characters import Characters
from ttslib.vocab.phonemes import Phonemes

PACKAGE = "package:"
SENTENCES, STEPS = 240, 1000  # spoken and learnt from when a posterior encoder is recovered: some minutes, once a voice
Parts = tuple[Params, VitsModel, Characters, list[str], list[str], bool]


def read(source: str) -> Parts:
    """The params, network, tokenizer, speakers, languages and use of blanks of a published voice:

    * a folder or hub id of Transformers;
    * a Piper voice, `NAME.onnx` with `NAME.onnx.json` beside it, or `package:NAME` for the one in an installed package;
    * an original VITS generator, `G_*.pth` with config.json and vocab.txt beside it, as MMS's `full_models`.

    Raises `CheckpointError` or `VocabError` (Transformers), `PiperError`, `OriginalError`.
    """
    if source.startswith(PACKAGE):
        source = str(packaged(source.removeprefix(PACKAGE)))
    kinds = {".onnx": of_piper, ".pth": of_original}
    return kinds.get(Path(source).suffix, of_transformers)(source)


def of_transformers(source: str) -> Parts:
    tokenizer, says = published.tokenizer(source)
    vits, lang = published.model(source), published.language(says, source)
    return parts(vits, tokenizer.made_for(lang), lang, blanks=says.get("add_blank", True))


def of_original(source: str) -> Parts:
    path = Path(source)
    vits = original.load(path, path.with_name("config.json"))
    data = original.read_config(path.with_name("config.json"))["data"]
    tokenizer = vocab.read(path.with_name("vocab.txt"), "vits")
    # MMS says so only in the name of a file that it was trained on
    tokenizer = replace(tokenizer, uroman=str(data.get("training_files", "")).endswith(".uroman"))
    code = path.absolute().parent.name.partition("-")[0]  # full_models/kmr-script_latin/G_100000.pth
    lang = published.LANGS.get(code, code if re.fullmatch("[a-z]{2,3}", code) else "und")
    return parts(vits, tokenizer.made_for(lang), lang, blanks=data.get("add_blank", True))


def of_piper(source: str) -> Parts:
    vits, about = piper.load(source)
    if about["phoneme_type"] != "espeak":
        raise piper.PiperError(
            f"{source}: it reads {about['phoneme_type']}, only espeak phonemes are supported; take another voice"
        )
    lang = published.LANGS.get(code := (about["language"] or "und").partition("_")[0], code)
    if doubled := sorted(symbol for symbol, found in about["phoneme_ids"].items() if len(found) != 1):
        raise piper.PiperError(f"{source}: more or less than one id for {doubled}")
    table = {symbol: found[0] for symbol, found in about["phoneme_ids"].items()}
    data = json.dumps(table, ensure_ascii=False).encode()
    tokenizer = Phonemes(data, voices=((lang, about["espeak_voice"]),)).made_for(lang)
    vits = whole(vits, tokenizer, lang, Path(source).name)
    return parts(vits, tokenizer, lang, sorted(about["speakers"], key=about["speakers"].get), units="phonemes")


def parts(
    vits: VitsModel, tokenizer: Characters, lang: str, speakers: Sequence[str] = (), blanks: bool = True,
    units: str = "characters",
) -> Parts:  # fmt: skip
    c: VitsConfig = vits.config
    own = Vits(rate=c.sampling_rate, discriminator=False, noise=c.noise_scale, noise_duration=c.noise_scale_duration)
    p = Params(lang=lang, system="vits", vits=own, text=Text(units=units))
    names = list(speakers) or [str(i) for i in range(c.num_speakers)]
    return p, vits, tokenizer, names, [lang], blanks


def whole(vits: VitsModel, tokenizer: Phonemes, lang: str, name: str) -> VitsModel:
    """The voice with a posterior encoder, learnt once and kept in `outputs/posteriors`."""
    read = lang if lang in normalisers.LANGS else "en"  # whatever the sentence, it is said in the voice's phonemes
    lines = [line[1] for line in shipped(read) if not isinstance(line, Dropped)]
    lines = [letters.ids(normalisers.normalise(line, read), lang, tokenizer, True) for line in lines[:SENTENCES]]

    made, n = posterior.cached(paths.outputs() / "posteriors", vits, lines, STEPS)
    print(
        f"{name} comes without a posterior encoder, which training needs; learnt from {n['audio_seconds']:.0f} s of its own "
        f"speech: R2 {n['r2']:.2f}, mel error {n['mel_l1']:.2f}, {n['accuracy']:.0%} of frames aligned as they were spoken",
        file=sys.stderr,
    )
    return made


def packaged(name: str) -> Path:
    """The one `.onnx` file of an installed package."""
    found = importlib.util.find_spec(name)
    files = sorted(Path(found.origin).parent.rglob("*.onnx")) if found and found.origin else []
    if len(files) != 1:
        raise CheckpointError(
            f"{PACKAGE}{name}: {'no such package is installed' if not found else f'{len(files)} .onnx files in it, not one'}"
        )
    return files[0]
