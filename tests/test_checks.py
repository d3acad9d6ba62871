"""A whole pipeline passes every check; one that is broken in one place fails the check of that place, and no other."""

import copy
import json
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ttslib import adapt, checkpoint, checks, codecs, manifest, params, pipeline, session, speech, vocab
from ttslib.__main__ import main
from ttslib.adapt import tables
from ttslib.checks import loop, text
from ttslib.checks.rows import Failed
from ttslib.checks.subject import Subject
from ttslib.dataset import Features
from ttslib.systems import SYSTEMS, system_class
from ttslib.systems.acoustic import System as Acoustic
from ttslib.systems.t3 import System as T3
from ttslib.systems.t3.net import Net
from ttslib.systems.vits import letters
from ttslib.units import Units
from ttslib.vocab.characters import Characters

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
CHEAPER = {"vits": {"vits.discriminator": False}}
NAMES = [
    "manifest", "text", "transcripts", "codes", "forward", "backward", "learning", "resume", "synthesis", "export"
]  # fmt: skip


@pytest.fixture(scope="module")
def spoken(spoken, tmp_path_factory):
    """The toy corpus in a folder of its own: features and codes are written into it."""
    folder = tmp_path_factory.mktemp("checks") / spoken.folder.name
    shutil.copytree(spoken.folder, folder)
    return manifest.read(folder)


@pytest.fixture(scope="module")
def made() -> dict:
    """Params, system and training features by system, for `parts`."""
    return {}


@pytest.fixture
def parts(spoken, made, monkeypatch):
    """`parts(name)` -> params, a system as training starts from it, its training features; the loop takes fewer steps."""
    monkeypatch.setattr(loop, "STEPS", 8)

    def of(name: str):
        if name not in made:
            p = params.load("qaa", {"system": name} | CHEAPER.get(name, {}), **QUIET)
            system = system_class(name).fresh(p, spoken.split("train"))
            train = speech.features(system, spoken, "train", p)
            system.measure(train)
            made[name] = p, system, train
        p, system, train = made[name]
        kept = {id(v): v for v in (getattr(system, "codec", None), system.tokenizer)}
        return p, copy.deepcopy(system, kept), train

    return of


def caught(rows, name: str, *words: str) -> None:
    """The check of this name alone failed, said these words and what to do; what leans on it was not run and names it."""
    told = checks.table(rows)
    assert [row.check for row in rows] == NAMES
    assert [row.check for row in rows if row.passed is False] == [name], told
    row = rows[NAMES.index(name)]
    assert not [word for word in words if word not in row.measured], told
    assert row.advice
    for other in rows:
        assert other.passed is not None or f"needs {name}, which failed" in other.measured, told


def measured(name: str, *given) -> str:
    """What one check says of parts that are handed in, without the others."""
    subject = Subject(given[0], session.engine(given[0]), *given[1:])
    subject.prepare()
    return checks.CHECKS[name].measure(subject)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "style"])  # its own test: it has its own corpus
def test_a_whole_pipeline_passes(name, prepared, monkeypatch):
    """Whatever the system: every check runs and passes, and nothing is left behind or changed in this process."""
    if name == "vits":  # half a second a step, however small
        monkeypatch.setattr(loop, "STEPS", 8)
    p = params.load("qaa", {"system": name} | CHEAPER.get(name, {}), **QUIET)
    torch.manual_seed(5)
    np.random.seed(5)
    before, threads = checkpoint.rng_state(), torch.get_num_threads()
    rows = checks.run(p)
    after = checkpoint.rng_state()
    assert [row.check for row in rows] == NAMES
    assert all(row.passed for row in rows), checks.table(rows)
    assert not any(row.advice for row in rows)
    assert after["torch"].equal(before["torch"]) and after["numpy"][1].equal(before["numpy"][1])
    assert torch.get_num_threads() == threads
    assert [file.name for file in (prepared / "qaa" / name).iterdir()] == ["check.json"]
    written = json.loads((prepared / "qaa" / name / "check.json").read_text())
    assert [(row["check"], row["passed"]) for row in written] == [(name, True) for name in NAMES]
    html = rows._repr_html_()
    assert html.startswith("<table>") and html.count("<tr>") == 1 + len(NAMES) and "19 clips" in html


def test_a_run_trains_after_the_checks_as_without_them(prepared):
    few = {"train.steps": 2, "train.evaluate_every": 2, "data.frames": 400}
    made = []
    for run in ("without", "after"):
        if run == "after":
            assert all(row.passed for row in checks.run(params.load("qaa", few, **QUIET)))
        done = pipeline.train(params.load("qaa", few, run=run, **QUIET))
        made.append(checkpoint.trained(done.run.checkpoints / "latest")[0])
    assert all(made[0][name].equal(made[1][name]) for name in made[0])


def test_an_extended_base_passes(prepared, spoken, tmp_path):
    """Held rows, new rows and LoRA updates, new rows learning ahead of the rest."""
    p, base = extended(spoken, tmp_path)
    rows = checks.run(p)
    assert all(row.passed for row in rows), checks.table(rows)
    measured = {row.check: row.measured for row in rows}
    assert "rows of the base kept by name, bit for bit" in measured["text"]
    assert "2 new rows among them" in measured["backward"]
    assert pipeline.load(base).tokenizer.symbols  # the base is as it was


def extended(spoken, folder):
    """Params that extend a small base without two letters of the toy language."""
    few = [row for row in spoken.rows if not set(row.text) & set("gm")]
    system = system_class("acoustic").fresh(params.load("qaa", **QUIET), few)
    system.measure([system.encode(row, speech.recording(spoken, row, system.rate)) for row in few])
    base = system.export(folder / "base")
    asked = {"adapt.base": str(base), "adapt.body": "lora", "adapt.lora.rank": 2, "adapt.rows_first": 100}
    return params.load("qaa", asked, **QUIET), base


def test_the_verb_prints_a_table_and_fails_with_the_checks(prepared, capsys):
    quiet = ["tracking=disabled", "device=cpu", "threads=1"]
    assert main(["check", "qaa", *quiet]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["check", "measured"] and len(lines) == len(NAMES)
    assert [line.split()[0] for line in lines] == NAMES and all(line.split()[1] == "ok" for line in lines)
    assert len({line.index(" ok ") for line in lines}) == 1, "columns are aligned"

    (folder,) = (prepared / "qaa" / "data").iterdir()
    (folder / manifest.read(folder).split("train")[0].audio).unlink()
    assert main(["check", "qaa", *quiet]) == 1
    said = capsys.readouterr()
    assert "what to do" in said.out and "FAILED" in said.out and "no such file" in said.out
    assert "not run" in said.out and "needs manifest, which failed" in said.out
    assert "Traceback" not in said.err
    assert main(["check", "qaa", "nosuch=1"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_bug_is_not_hidden(spoken, parts, monkeypatch, capsys):
    def broken(self, batch):
        raise ZeroDivisionError("of a kind nobody expects")

    p, system, train = parts("acoustic")
    monkeypatch.setattr(Acoustic, "losses", broken)
    rows = checks.examined(p, spoken, system, train)
    caught(rows, "forward", "ZeroDivisionError: of a kind nobody expects")
    assert "Traceback" in capsys.readouterr().err


# The corpus


def test_a_clip_that_is_not_finite(prepared):
    (folder,) = (prepared / "qaa" / "data").iterdir()
    row = manifest.read(folder).split("train")[3]
    wav, rate = soundfile.read(folder / row.audio, dtype="float32")
    wav[100:103] = np.nan
    soundfile.write(folder / row.audio, wav, rate, subtype="FLOAT", format="WAV")
    caught(checks.run(params.load("qaa", **QUIET)), "manifest", row.id, "3 of ", "not finite (NaN")


@pytest.mark.parametrize("rename", ["{id}", "copy-of-{id}"])
def test_a_clip_in_two_splits(spoken, parts, rename):
    row = spoken.split("train")[0]
    again = replace(row, split="val", id=rename.format(id=row.id))
    caught(
        checks.examined(parts("acoustic")[0], replace(spoken, rows=(*spoken.rows, again))),
        "manifest",
        "two splits",
        row.id,
    )


def test_transcripts_of_other_recordings(prepared):
    """Shuffled in the table: a training would go through, and the voice would say nothing."""
    p = params.load("qaa", **QUIET)
    found = manifest.prepare(p)
    order = np.random.default_rng(3).permutation(len(found.rows))
    rows = [replace(row, text=found.rows[i].text) for row, i in zip(found.rows, order, strict=True)]
    caught(checks.examined(p, replace(found, rows=tuple(rows))), "transcripts", "go together by", "of other recordings")


def test_too_few_clips_to_tell_is_said(spoken, parts):
    p, system, train = parts("acoustic")
    few = replace(spoken, rows=tuple(row for row in spoken.rows if row.split != "train" or row.id in train.ids[:8]))
    assert "too few clips to tell (8" in measured("transcripts", p, few, system, train)


# What is read


@pytest.mark.parametrize("name", ["acoustic", "vits", "t3"])
def test_a_permuted_vocabulary(spoken, parts, name, monkeypatch):
    p, system, train = parts(name)
    symbols = system.tokenizer.symbols
    moved = (*symbols[:4], *symbols[5:], symbols[4])
    if isinstance(system.tokenizer, Units):
        system.tokenizer = copy.copy(system.tokenizer)
        object.__setattr__(system.tokenizer, "symbols", moved)
        words = ("spell",)
    else:
        found = system.vocabularies | {"text": moved}
        monkeypatch.setattr(type(system), "vocabularies", property(lambda self: found))
        words = ("not the tokenizer's",)
    caught(checks.examined(p, spoken, system, train), "text", *words)


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece-unigram", "characters", "blanks"])
def test_names_spell_the_text_whatever_the_tokenizer(spoken, kind):
    """Pieces, spaces as pieces, start and end, and MMS's blank, which is a letter too."""
    lines = [row.text for row in spoken.rows]
    if kind == "blanks":
        table = {name: i for i, name in enumerate("k" + "".join(sorted(set("".join(lines)) - {"k"})))}
        tokenizer = Characters(json.dumps(table).encode(), "vits", declared=(("pad", "k"),))
    else:
        tokenizer = vocab.train(lines, "qaa", kind, 60)
    system = SimpleNamespace(tokenizer=tokenizer, blanks=kind == "blanks", vocabularies={"text": tokenizer.symbols})
    for line in lines:
        ids = letters.ids(line, "qaa", tokenizer, True) if kind == "blanks" else tokenizer.encode(line, "qaa")
        names = [tokenizer.symbols[i] for i in ids]
        assert text.letters(text.spelling(system, names)) == text.letters(text.read_as(tokenizer, line, "qaa"))
        assert len(text.letters(line)) == sum(c.isalpha() for c in line)


def test_a_tokenizer_that_does_not_know_the_letters(spoken, parts):
    p = parts("acoustic")[0]
    system = Acoustic.fresh(p, spoken.split("train"))
    known = Units("characters", tuple(s for s in system.tokenizer.symbols if s not in "aeo"))
    system = Acoustic(p, known, system.speakers, system.languages)
    caught(checks.examined(p, spoken, system), "text", "of the letters are unknown", "'a' (U+0061)", "'o' (U+006F)")


def test_a_tokenizer_file_of_another_script(outputs, tmp_path):
    latin = tmp_path / "vocab.json"
    latin.write_text(json.dumps({name: i for i, name in enumerate(["<pad>", "<s>", "</s>", " ", *"abcdefgh"])}))
    few = {"text.units": "tokenizer", "text.tokenizer": str(latin), "corpus.sentences": 30}
    caught(checks.run(params.load("am", few, **QUIET)), "text", "of letters", "have no row")


def test_a_row_of_the_base_that_moved(prepared, spoken, tmp_path, monkeypatch):
    p, _ = extended(spoken, tmp_path)
    grow = tables.grow

    def careless(old, new, sources, fill):
        grow(old, new, sources, fill)
        if new.vocabulary == "text":
            with torch.no_grad():
                new.tensors["weight"][5, 0] += 1e-6

    monkeypatch.setattr(tables, "grow", careless)
    caught(checks.run(p), "text", "1 of the base's", "are not what they were")


# What is learnt


def test_codes_that_were_never_computed_from_the_recordings(prepared):
    """The kept codes on disk are random: whole, of the right codec and in range."""
    p = params.load("qaa", {"system": "t3"}, **QUIET)
    speech.codes(codecs.of(p), found := manifest.prepare(p), found.rows, p)
    for file in (prepared / "qaa" / "data").glob("*/codes/*/codes-*.safetensors"):
        with safe_open(file, "pt") as shard:
            told, values = shard.metadata(), {key: shard.get_tensor(key) for key in shard.keys()}  # noqa: SIM118
        save_file({key: torch.randint(0, 6561, v.shape).to(v) for key, v in values.items()}, file, told)
    caught(checks.run(p), "codes", "0% of its", "are those of its recording")


def test_codes_of_another_codec(spoken, parts):
    p, system, train = parts("t3")
    system.kept.hash = "0" * 64
    caught(checks.examined(p, spoken, system, train), "codes", "are of codec mel-6561 (000000000000)")


def test_codes_out_of_range(spoken, parts):
    p, system, train = parts("t3")
    ram = dict(train.ram) | {2: train[2] | {"codes": train[2]["codes"] + 6561}}
    broken = Features(train.ids, train.files, train.lengths, ram=ram)
    caught(checks.examined(p, spoken, system, broken), "codes", train.ids[2], "codes out of range", "0..6560")


def test_features_that_are_stale(spoken, parts):
    p, system, train = parts("acoustic")
    broken = Features(
        train.ids, train.files, train.lengths, ram={i: e | {"mel": e["mel"] + 1} for i, e in train.ram.items()}
    )
    caught(checks.examined(p, spoken, system, broken), "codes", "mel in the cache are not what encoding gives")


def test_a_codec_that_does_not_decode_is_said(spoken, parts, monkeypatch):
    p, system, train = parts("t3")

    def refused(self, codes, voice=None, seed=0):
        raise codecs.CodecError("these codes alone are no speech")

    monkeypatch.setattr(type(system.codec), "decode", refused)
    for name in ("codes", "synthesis"):
        assert "these codes alone are no speech" in measured(name, p, spoken, system, train)


# How it learns


def test_a_constant_loss(spoken, parts, monkeypatch):
    def constant(self, batch):
        yield {"mel": torch.tensor(0.1)}

    p, system, train = parts("acoustic")
    monkeypatch.setattr(Acoustic, "losses", constant)
    caught(checks.examined(p, spoken, system, train), "forward", "no gradient function", "0.1")


def test_a_loss_that_is_not_finite_or_reads_no_batch(spoken, parts, monkeypatch):
    p, system, train = parts("acoustic")
    for value, words in ((float("nan"), "not finite: mel is nan"), (1.0, "for two different batches")):

        def losses(self, batch, value=value):
            yield {"mel": value * self.net.mel_std.sum() + self.net.encoder.embedding.weight.square().mean()}

        monkeypatch.setattr(Acoustic, "losses", losses)
        caught(checks.examined(p, spoken, system, train), "forward", words)


def test_everything_frozen(spoken, parts):
    p, system, train = parts("acoustic")
    for net in system.nets.values():
        net.requires_grad_(False)
    caught(checks.examined(p, spoken, system, train), "backward", "nothing learns")


def test_a_layer_that_gets_no_gradient(spoken, parts):
    p, system, train = parts("acoustic")
    system.net.durations.register_forward_hook(lambda module, given, found: found.detach())
    caught(checks.examined(p, spoken, system, train), "backward", "no gradient", "net.durations.")


def test_something_that_is_not_to_learn_moves(spoken, parts, monkeypatch):
    p, system, train = parts("acoustic")
    system.net.encoder.embedding.weight.requires_grad_(False)
    losses = Acoustic.losses

    def leaking(self, batch):
        if self.net.training:
            self.net.encoder.embedding.weight.add_(1e-4)
        yield from losses(self, batch)

    monkeypatch.setattr(Acoustic, "losses", leaking)
    caught(checks.examined(p, spoken, system, train), "backward", "outside the parts have moved", "embedding")


def test_a_learning_rate_of_zero(spoken, parts):
    p, system, train = parts("acoustic")
    p = p.model_copy(update={"train": p.train.model_copy(update={"lr": 0.0})})
    caught(checks.examined(p, spoken, system, train), "learning", "the loss does not fall", "->")


def test_speech_that_is_never_taught_to_end(spoken, parts, monkeypatch):
    def endless(self, codes, lengths):
        return torch.nn.functional.pad(codes, (1, 0), value=self.special.start), lengths + 1

    p, system, train = parts("t3")
    monkeypatch.setattr(Net, "between", endless)
    caught(checks.examined(p, spoken, system, train), "learning", "the end of speech is no target")


def test_a_checkpoint_that_loses_the_optimizer(spoken, parts, monkeypatch):
    p, system, train = parts("acoustic")
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda self, state: None)
    caught(
        checks.examined(p, spoken, system, train), "resume", "differs from the uninterrupted one", "model.safetensors"
    )


def test_a_checkpoint_that_rounds(spoken, parts, monkeypatch):
    p, system, train = parts("acoustic")
    save = checkpoint.save

    def rounding(folder, name, weights, *rest):
        return save(folder, name, {k: v.bfloat16().to(v) for k, v in weights.items()}, *rest)

    monkeypatch.setattr(checkpoint, "save", rounding)
    caught(checks.examined(p, spoken, system, train), "resume", "differs from the uninterrupted one")


# What is heard and handed on


def test_speech_that_cannot_be_heard(spoken, parts, monkeypatch):
    p, system, train = parts("acoustic")
    monkeypatch.setattr(Acoustic, "synthesize", lambda self, text, **choices: torch.zeros(12000))
    caught(checks.examined(p, spoken, system, train), "synthesis", "silent")


@pytest.mark.parametrize(
    ("seconds", "noise", "offset", "word"),
    [
        (0.5, 0.0, 0.5, "a constant"),
        (0.5, 0.0, float("nan"), "not finite"),
        (0.02, 0.1, 0.0, "the text suggests"),
        (60, 0.1, 0.0, "the text suggests"),
        (0.5, 0.1, 0.0, "another waveform for the same seed"),
    ],
)
def test_what_is_no_speech_of_the_text(spoken, parts, monkeypatch, seconds, noise, offset, word):
    def synthesize(self, text, **choices):
        return noise * torch.randn(round(seconds * self.rate)) + offset

    monkeypatch.setattr(Acoustic, "synthesize", synthesize)
    p, system, train = parts("acoustic")
    with pytest.raises(Failed, match=word):
        measured("synthesis", p, spoken, system, train)


def test_an_untrained_voice_may_run_away(spoken, parts, monkeypatch):
    p, system, train = parts("t3")
    synthesize = T3.synthesize

    def runaway(self, text, **choices):
        wav = synthesize(self, text, **choices)
        self.tally = Counter({"spoken": 1, "limit": 1})
        return wav

    monkeypatch.setattr(T3, "synthesize", runaway)
    assert "limit 1" in measured("synthesis", p, spoken, system, train)


def test_an_export_that_loses_a_row(spoken, parts, monkeypatch):
    def short(self, folder):
        units = replace(self.tokenizer, symbols=self.tokenizer.symbols[:-1])
        less = Acoustic(self.p, units, self.speakers, self.languages)
        less.net.load_state_dict(
            {k: v[:-1] if k == "encoder.embedding.weight" else v for k, v in self.net.state_dict().items()}
        )
        return export(less, folder)

    p, system, train = parts("acoustic")
    export, last = Acoustic.export, repr(system.tokenizer.symbols[-1])
    monkeypatch.setattr(Acoustic, "export", short)
    caught(checks.examined(p, spoken, system, train), "export", "20 rows of text, the system 21", last)


@pytest.mark.parametrize("name", ["acoustic", "t3"])
def test_an_export_that_rounds(spoken, parts, name, monkeypatch):
    plain = adapt.plain

    def rounded(net):
        return {k: v.bfloat16().to(v) for k, v in plain(net).items()}

    p, system, train = parts(name)
    exported = type(system).export

    def rounding(self, folder):
        with monkeypatch.context() as patch:
            patch.setattr(adapt, "plain", rounded)
            return exported(self, folder)

    monkeypatch.setattr(type(system), "export", rounding)
    with pytest.raises(Failed, match="exported tensors are not the system's"):
        measured("export", p, spoken, system, train)
