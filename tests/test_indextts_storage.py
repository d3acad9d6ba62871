"""IndexTTS2's own files: read, grown by a language, trained, written back, and read by the published class."""

import json
import shutil
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
import yaml
from official import MISSING, index_codec, needs, there
from test_indextts_sound import CONFIG, DIM, parts  # noqa: F401  a fixture

from ttslib import adapt, audio, checkpoint, codecs, exhibits, extension, params, pipeline, vocab
from ttslib.codecs import indextts, published
from ttslib.packing import Ids
from ttslib.params import ParamsError
from ttslib.systems.indextts import System, encoders, files, net, synthesis, voices
from ttslib.vocab import VocabError
from ttslib.vocab.pieces import Pieces, proto

MODULE = {"output_size": 32, "linear_units": 64, "attention_heads": 4, "num_blocks": 1, "perceiver_mult": 2}
CODES, LATENTS = 64, 32
AMHARIC = ["ሰላም ለሁሉም", "እንዴት ነህ", "ሰላም ነው"]


@pytest.fixture(scope="session")
def english() -> Pieces:
    """A SentencePiece file as IndexTTS2's: `<s>` 0, `</s>` 1, `<unk>` 2, then pieces of upper-case English."""
    found = vocab.train(extension.base_lines(), "en", "sentencepiece-bpe", 120, front="indextts")
    model = proto.ModelProto.FromString(found.data)
    first = [model.pieces[i] for i in (1, 2, 0)]
    rest = list(model.pieces)[3:]
    changed = proto.ModelProto(trainer_spec=model.trainer_spec, normalizer_spec=model.normalizer_spec)
    changed.pieces.extend([*first, *rest])
    changed.trainer_spec.bos_id, changed.trainer_spec.eos_id, changed.trainer_spec.unk_id = 0, 1, 2
    return replace(found, data=changed.SerializeToString(deterministic=True), called="bpe.model")


def sizes(english, **more) -> dict:
    module = MODULE | {"input_layer": "conv2d2"}
    return {
        "layers": 2, "model_dim": 64, "heads": 4, "max_text_tokens": 80, "max_mel_tokens": 1000,
        "number_text_tokens": len(english), "number_mel_codes": CODES + 2, "start_mel_token": CODES,
        "stop_mel_token": CODES + 1, "start_text_token": 0, "stop_text_token": 1,
        "condition_type": "conformer_perceiver", "condition_module": module, "emo_condition_module": module,
    } | more  # fmt: skip


def write(folder, weights, gpt, english, rest=MappingProxyType({})) -> None:
    """The three files, as the repository has them; weights under `model`, as some of its forks save them."""
    told = {"gpt": gpt, "dataset": {"bpe_model": "bpe.model", "sample_rate": 24000}, "gpt_checkpoint": "gpt.pth",
            "s2mel_checkpoint": "s2mel.pth", "version": 2.0} | rest  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    (folder / "bpe.model").write_bytes(english.data)
    torch.save({"model": weights}, folder / "gpt.pth")


@pytest.fixture(scope="module")
def folder(english, tmp_path_factory):
    """IndexTTS2's files with a small network, its encoders and the parts of its codec, 16 channels of w2v-bert."""
    if not there("indextts"):
        pytest.skip(f"indextts {MISSING}")
    where = tmp_path_factory.mktemp("indextts")
    index_codec(where, CODES)
    gpt = sizes(english)
    shape = net.Shape(64, 2, 4, len(english) + 1, CODES + 2, 82, 1003, LATENTS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net.Net(shape, Ids(0, 1, CODES, CODES + 1))
        beside = encoders.Encoders(64, LATENTS, MODULE, MODULE, width=16)
    write(where, model.state_dict() | beside.state_dict(), gpt, english)
    return where


def test_the_published_files_become_a_system(folder, english):
    system = System.load(folder)
    assert not system.net.training and system.languages == ["en", "zh"]
    assert (system.rate, system.frame_seconds, system.length_of) == (22050, 0.02, "codes")
    assert system.vocabularies["text"] == (*english.names, "<spare 0>")
    assert system.tokenizer.front == "indextts"
    names = [system.vocabularies["text"][i] for i in system.ids("the end", "en")]
    assert names[0] == "<s>" and names[-1] == "</s>" and "".join(names[1:-1]) == "▁THE▁END"
    weights = torch.load(folder / "gpt.pth", weights_only=True)["model"]
    own = system.net.state_dict() | system.ear.beside.net.state_dict()
    assert own.keys() == weights.keys() and all(v.equal(weights[k]) for k, v in own.items())
    assert System.load(folder / "gpt.pth").net.shape == system.net.shape


def test_second_names_are_left_out(folder, english, tmp_path):
    """As someone saves the package's network who has heard it first."""
    weights = torch.load(folder / "gpt.pth", weights_only=True)["model"]
    more = {"gpt.wte.weight": weights["mel_embedding.weight"], "inference_model.lm_head.0.bias": torch.zeros(64)}
    write(tmp_path, weights | more, sizes(english), english)
    assert System.load(tmp_path).net.state_dict().keys() < weights.keys()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda w, g, f: g.update(number_text_tokens=g["number_text_tokens"] + 1), checkpoint.CheckpointError,
         r"number_text_tokens=\d+, the weights have \d+ \(rows of text_embedding, less the spare one\)"),
        (lambda w, g, f: g.pop("heads"), checkpoint.CheckpointError, r"not IndexTTS2's configuration: .*gpt\.heads"),
        (lambda w, g, f: w.update({"lang_embedding.weight": torch.zeros(3, 64)}), checkpoint.CheckpointError,
         r"IndexTTS-2\.5; only IndexTTS2 is supported"),
        (lambda w, g, f: w.pop("mel_pos_embedding.emb.weight"), checkpoint.CheckpointError, "not the weights of"),
        (lambda w, g, f: w.pop("emo_perceiver_encoder.latents"), checkpoint.CheckpointError, "no encoders of prompts"),
        (lambda w, g, f: g.update(start_text_token=1, stop_text_token=0), VocabError, "start and end are others"),
        (lambda w, g, f: (w.update({k: torch.cat([w[k], w[k][:1]]) for k in w if k.startswith(("text_embedding",
         "text_head"))}), g.update(number_text_tokens=g["number_text_tokens"] + 1)), VocabError,
         r"the tokenizer has (\d+) pieces, the weights \d+ rows; one row is spare"),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together_are_refused(folder, english, tmp_path, change, error, words):
    weights = torch.load(folder / "gpt.pth", weights_only=True)["model"]
    gpt = sizes(english)
    change(weights, gpt, tmp_path)
    write(tmp_path, weights, gpt, english)
    with pytest.raises(error, match=words):
        System.load(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="no such file or folder, and no hub id"):
        System.load(tmp_path / "nothing here")
    with pytest.raises(checkpoint.CheckpointError, match=r"no config\.yaml in it"):
        System.load(tmp_path)
    (tmp_path / "config.yaml").write_text("gpt: {heads: 4, number_text_tokens: 9}")
    (tmp_path / "gpt.pth").write_bytes(b"broken")
    with pytest.raises(checkpoint.CheckpointError, match=r"gpt\.pth: missing or damaged"):
        System.load(tmp_path)


@pytest.fixture(scope="module")
def merged(english, tmp_path_factory):
    """A folder with the tokenizer that has learnt Amharic."""
    known = extension.base_lines(english)[:20]
    found = vocab.merge(english, AMHARIC, "am", known, "en", size=20)
    assert not found.report.changed
    where = tmp_path_factory.mktemp("merged")
    found.tokenizer.save(where)
    return where


def grown(base, merged, spoken, **more):
    settings = {"text.units": "tokenizer", "text.tokenizer": str(merged)} | more
    p = params.load("qaa", settings, system="indextts", device="cpu", threads=1)
    rows = [replace(spoken.split("train")[0], text=text, lang="am") for text in AMHARIC]
    return adapt.extend(base, p, rows), p


def test_rows_follow_their_names_and_the_spare_one_stays_last(folder, merged, spoken):
    """The base's spare row is at 120; by position it would become the first Amharic letter."""
    base = System.load(folder)
    system, _ = grown(base, merged, spoken)
    assert system.tokenizer.front == "indextts", "the base's front, though the file does not say it"
    old, new = base.vocabularies["text"], system.vocabularies["text"]
    assert new[-1] == "<spare 0>" and new[: len(old) - 1] == old[:-1]
    for table in ("text", "text_head"):
        before, after = base.tables[table].tensors, system.tables[table].tensors
        for name in before:
            for i, token in enumerate(old):
                assert after[name][new.index(token)].equal(before[name][i]), (table, name, token)
    added = len(new) - len(old)
    bias = system.net.text_head.bias[len(old) - 1 : len(new) - 1]
    assert added > 5 and bias.unique().numel() == 1 and bias[0] < base.net.text_head.bias.mean() - 4
    assert system.state()["training_type"] == "all" and system.state()["adaptation"]["rows"]


def voiced(system, text: str, lang: str) -> dict[str, torch.Tensor]:
    """A batch of one in a voice out of thin air, with four codes."""
    g = torch.Generator().manual_seed(3)
    heard = {"latents": torch.randn(LATENTS, 64, generator=g), "emotion": torch.randn(64, generator=g)}
    made = synthesis.sample(system, text, voices.Reference(heard), lang)
    return made | {"codes": torch.tensor([[5, 6, 7, 8]]), "codes_len": torch.tensor([4])}


def official_base(english, folder):
    """Write a base of the published class with random weights; the module of the class, and that network."""
    package = published.imported("indextts.gpt.model_v2", indextts.INSTALL)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        official = package.UnifiedVoice(**sizes(english))
    folder.mkdir()
    write(folder, official.state_dict(), sizes(english), english)
    return package, official


@needs("indextts")
@pytest.mark.parametrize("body", ["all", "lora"])
def test_an_extended_export_is_read_by_the_published_class(english, merged, spoken, tmp_path, body):
    """Strictly, with the sizes of the exported configuration; and says what is said here, LoRA merged."""
    package, official = official_base(english, tmp_path / "base")
    base = System.load(tmp_path / "base")
    targets = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    system, p = grown(base, merged, spoken, **{"adapt.body": body, "adapt.lora.targets": targets})
    adapt.freeze(system, p.adapt)
    with torch.no_grad():  # what training would have changed
        for value in [q for q in system.net.parameters() if q.requires_grad]:
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())), alpha=0.05)
    assert len([n for n, _ in system.net.named_parameters() if "lora_A" in n]) == (8 if body == "lora" else 0)

    exported = system.export(tmp_path / "exported")
    gpt = yaml.safe_load((exported / "config.yaml").read_text())["gpt"]
    assert gpt["number_text_tokens"] == len(system.tokenizer) == len(system.vocabularies["text"]) - 1
    gpt.pop("condition_num_latent")
    stock = package.UnifiedVoice(**gpt).eval()
    utilities = published.imported("indextts.utils.checkpoint", indextts.INSTALL)
    utilities.load_checkpoint(stock, str(exported / "gpt.pth"))  # strict
    assert (exported / "bpe.model").read_bytes() == system.tokenizer.data
    assert "bilibili Model Use License" in (exported / "README.md").read_text()

    for text, lang in (("the end", "en"), ("ሰላም ነው", "am")):
        batch = voiced(system, text, lang)
        with torch.no_grad():
            mine = system.net.eval().states(batch)[1][0]
            theirs = stock(
                batch["latents"], batch["text"][:, 1:-1], batch["text_len"] - 2, batch["codes"].clone(),
                batch["codes_len"], None, emo_vec=batch["emotion"], use_speed=torch.zeros(1).long(),
            )  # fmt: skip
        torch.testing.assert_close(mine[:4], theirs[0], atol=1e-4, rtol=0)

    again = pipeline.load(exported)
    batch = voiced(again, "ሰላም ነው", "am")
    with torch.no_grad():
        torch.testing.assert_close(
            again.net.logits(batch)["speech"], system.net.logits(batch)["speech"], atol=1e-4, rtol=0
        )
    assert again.ear.beside.net.emo_layer.weight.equal(official.emo_layer.weight)


@needs("indextts")
def test_the_base_speaks_as_before_it_was_grown(folder, merged, spoken):
    base = System.load(folder)
    system, _ = grown(base, merged, spoken)
    with torch.no_grad():
        before, after = (made.net.eval().logits(voiced(made, "the end", "en"))["speech"] for made in (base, system))
    assert before.equal(after)


@pytest.fixture(scope="module")
def trained(folder, merged, spoken, tmp_path_factory):
    """A run of two steps from the published files, prompts encoded by their encoders, codes by their codec; LoRA."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(outputs))
        settings = {
            "system": "indextts", "adapt.base": str(folder), "codec": f"indextts={folder}", "adapt.body": "lora",
            "adapt.lora.rank": 2, "train.steps": 2, "train.evaluate_every": 2, "train.checkpoint_every": 2,
            "data.frames": 600, "text.units": "characters", "adapt.lora.targets": ["c_attn", "c_fc"],
            "vocab.unknown_letters": 0.9,
        }  # fmt: skip
        p = params.load("qaa", settings, run="published", tracking="disabled", device="cpu", threads=1)
        return pipeline.train(p)


@needs("indextts")
def test_the_published_model_is_trained_on_its_own_codes_and_prompts(trained, folder, capsys):
    rows = trained.run.rows()
    assert [r for r in rows if r.get("val/speech_ce", 0) > 0]
    saved = trained.run.trained / "model.safetensors"
    assert saved.stat().st_size < (folder / "gpt.pth").stat().st_size, "encoders of prompts are not in it"
    state = json.loads((trained.run.trained / "system.json").read_text())
    assert state["training_type"] == "lora" and state["codec"]["name"] == "indextts" and state["codec"]["hash"]
    assert state["beside"]["home"] == str(folder)
    system = trained.system
    reference = system.references[system.speakers[0]]
    assert reference.heard["latents"].shape == (LATENTS, 64) and reference.heard["emotion"].shape == (64,)
    codes = system.codes("the end", lang="en", seed=1)
    assert codes.max() <= CODES + 1 and codes.tolist().count(CODES) == 0


@needs("indextts")
def test_a_checkpoint_whose_base_has_gone_or_changed_says_so(trained, tmp_path):
    system = pipeline.load(trained.run.trained)
    system.ear.beside.home = str(tmp_path / "gone")
    with pytest.raises(checkpoint.CheckpointError, match="no such file or folder"):
        system.export(tmp_path / "exported")
    other = pipeline.load(trained.run.trained)
    other.ear.beside.hash = "0" * 64
    with pytest.raises(checkpoint.CheckpointError, match="not those that this voice was trained with"):
        other.export(tmp_path / "exported")


@needs("indextts")
def test_prompts_and_codes_are_those_of_the_parts(folder, spoken, monkeypatch):
    """`encode` through the system against the parts by hand; after 15 s (here 1 s) nothing of a prompt is heard."""
    assert voices.LONGEST == 15.0
    monkeypatch.setattr(voices, "LONGEST", 1.0)
    system = System.load(folder)
    system.speakers = [spoken.rows[0].speaker]
    row = next(r for r in spoken.rows if r.speaker == system.speakers[0])
    codec = codecs.load(f"indextts={folder}")
    wav = torch.randn(2 * 22050, generator=torch.Generator().manual_seed(0)) * 0.1
    example = system.encode(replace(row, text="THE END", lang="en"), wav)
    at_16k = torch.as_tensor(audio.resampled(wav, 22050, 16000))
    assert example["codes"].equal(codec.encode(at_16k))
    cut = torch.as_tensor(audio.resampled(wav[:22050], 22050, 16000))
    latents, emotion = system.ear.beside.net(codec.hear(cut))
    assert example["latents"].T.equal(latents) and example["emotion"][:, 0].equal(emotion)


@needs("indextts")
def test_an_emotion_is_blended_in_from_another_recording(folder, spoken, tmp_path):
    system = System.load(folder)
    rows = [r for r in spoken.rows if r.seconds > 0.8][:2]
    one, other = (str(spoken.audio(r)) for r in rows)
    own = system.reference(one)
    for weight in (0.0, 0.5, 1.0):
        update = {"emotion": other, "emotion_weight": weight}
        system.p = system.p.model_copy(update={"indextts": system.p.indextts.model_copy(update=update)})
        found = synthesis.moved(system, own)
        expected = torch.lerp(own.heard["emotion"], system.reference(other).heard["emotion"], weight)
        torch.testing.assert_close(found.heard["emotion"], expected)
        assert found.heard["latents"].equal(own.heard["latents"])
    bare = System.fresh(params.load("qaa", {"indextts.emotion": other}, system="indextts"), rows)
    bare.references = {"a": voices.Reference({"voice": torch.zeros(256)})}
    with pytest.raises(ParamsError, match="it hears no emotion"):
        bare.synthesize("bado")


def test_a_voice_from_scratch_says_that_it_is_none_for_the_runtime(spoken, tmp_path):
    system = System.fresh(params.load("qaa", system="indextts"), spoken.split("train"))
    exported = system.export(tmp_path / "exported")
    assert "not in IndexTTS2's runtime" in (exported / "README.md").read_text()
    assert not (exported / "bpe.model").exists()
    assert files.flat(exported / "gpt.pth").keys() == system.net.state_dict().keys()


@needs("indextts")
def test_with_all_parts_at_hand_it_is_heard(parts, english, spoken, tmp_path, monkeypatch):  # noqa: F811
    """A text through the language model, its states through s2mel and BigVGAN; a run of it speaks while it trains."""
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path / "outputs"))
    where = tmp_path / "all"
    shutil.copytree(parts.folder, where)
    gpt = sizes(english, model_dim=DIM)
    shape = net.Shape(DIM, 2, 4, len(english) + 1, CODES + 2, 82, 1003, LATENTS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net.Net(shape, Ids(0, 1, CODES, CODES + 1))
        beside = encoders.Encoders(DIM, LATENTS, MODULE, MODULE, width=16)
    write(where, model.state_dict() | beside.state_dict(), gpt, english, CONFIG)
    settings = {
        "system": "indextts", "adapt.base": str(where), "adapt.train_rows": "all", "codec": f"indextts={where}",
        "train.steps": 1, "train.evaluate_every": 1, "train.checkpoint_every": 1, "data.frames": 600,
        "text.units": "characters", "vocab.unknown_letters": 0.9, "synthesis.sentences": ["the end"],
        "indextts.tries": 1,
    }  # fmt: skip
    p = params.load("qaa", settings, run="heard", tracking="disabled", device="cpu", threads=1)
    run = pipeline.train(p).run
    assert len(list(run.samples.glob("step_*/0.wav"))) == 2

    system = pipeline.voice(run)
    assert not system.mute
    reference = system.references[system.speakers[0]]
    assert reference.decoder.keys() == {"mel", "style", "prompt"}
    sample = synthesis.sample(system, "the end", reference, "qaa")
    codes = synthesis.codes(system, sample, seed=2)
    codes = codes[codes < CODES]
    batch = sample | {"codes": codes[None], "codes_len": torch.tensor([len(codes)])}
    with torch.no_grad():
        latents = system.net.states(batch)[1][0][:-2]
    wav = system.synthesize("the end", lang="qaa", seed=2)
    assert wav.equal(system.codec.decode(codes, dict(reference.decoder) | {"latents": latents}, seed=2))
    assert len(wav) == int(1.72 * len(codes)) * 256 and wav.std() > 0
    row = spoken.split("train")[0]
    seen = exhibits.align(system, spoken, row)
    assert seen["durations"].sum() == seen["mel"].shape[1] == seen["recording"].shape[1]
