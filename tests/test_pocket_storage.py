"""Pocket TTS's own files: read, grown by a language, trained, written back, and read by the official package."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from official import needs
from safetensors.torch import load_file, save_file

from ttslib import adapt, audio, checkpoint, codecs, extension, params, pipeline, streaming, vocab
from ttslib.__main__ import main
from ttslib.codecs import pocket, published
from ttslib.generation import generate
from ttslib.items import Item
from ttslib.systems import system_class
from ttslib.systems.pocket import System, storage, wording
from ttslib.vocab import VocabError

AMHARIC = ["ሰላም ለሁሉም።", "እንዴት ነህ፧", "ሰላም፣ ነው።"]
pytestmark = needs("pocket_tts")


def official(config_file):
    """The package's own model of a config file, as a user of it would load it."""
    tts = published.imported("pocket_tts.models.tts_model", pocket.INSTALL)
    threads = torch.get_num_threads()
    try:
        return tts.TTSModel.load_model(config=str(config_file))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pieces():
    lines = extension.base_lines()
    found = vocab.train([*lines, *(line.upper() for line in lines)], "en", "sentencepiece-unigram", 100)
    return replace(found, called="tokenizer.model")


@pytest.fixture(scope="module")
def folder(pieces, tmp_path_factory):
    """Pocket's files: two layers of 64, its Mimi in full, random weights."""
    where = tmp_path_factory.mktemp("pocket")
    configs = published.imported("pocket_tts.utils.config", pocket.INSTALL)
    raw = yaml.safe_load((configs.CONFIGS_DIR / "english.yaml").read_text())
    raw = {k: v for k, v in raw.items() if not k.startswith("weights_path")}
    raw["flow_lm"]["transformer"] |= {"d_model": 64, "num_heads": 4, "num_layers": 2}
    raw["flow_lm"]["flow"] |= {"dim": 64, "depth": 2}
    (where / "tokenizer.model").write_bytes(pieces.data)
    table = {"dim": 64, "n_bins": len(pieces), "tokenizer": "sentencepiece"}
    raw["flow_lm"]["lookup_table"] = table | {"tokenizer_path": str(where / "tokenizer.model")}
    tts = published.imported("pocket_tts.models.tts_model", pocket.INSTALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = tts.TTSModel._from_pydantic_config_with_weights(
            configs.Config(**raw), temp=0.3, sampler_decode_steps=1, noise_clamp=None, eos_threshold=-4.0
        )
        torch.nn.init.normal_(made.flow_lm.speaker_proj_weight, std=0.2)
        torch.nn.init.normal_(made.flow_lm.flow_net.final_layer.linear.weight, std=0.3)
        made.flow_lm.emb_mean.normal_()
        made.flow_lm.emb_std.uniform_(0.5, 2)
    save_file(made.state_dict(), where / "model.safetensors")
    raw["weights_path"] = str(where / "model.safetensors")
    (where / "english_small.yaml").write_text(yaml.safe_dump(raw))
    return where


def test_the_published_files_become_a_system(folder, pieces):
    system = System.load(folder)
    assert not system.net.training and (system.rate, system.frame_seconds) == (24000, 0.08)
    assert system.vocabularies["text"] == (*pieces.names, "<padding>")
    assert (system.p.pocket.eos_threshold, system.p.pocket.temperature) == (-4.0, 0.3)
    weights = load_file(folder / "model.safetensors")
    assert all(v.equal(weights[f"flow_lm.{k}"]) for k, v in system.net.flow_lm.state_dict().items())
    named = [system.vocabularies["text"][i] for i in system.ids("the end", "en")]
    assert "".join(named).replace("▁", " ").strip() == "The end."
    assert System.load(folder / "english_small.yaml").net.shape == system.net.shape


def test_a_checkpoint_of_the_official_trainer_is_read_its_average_first(folder, tmp_path):
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith("flow_lm.")}
    average = {"flow_lm.out_eos.bias": torch.tensor([7.0])}
    file = folder / "step_100.pt"
    torch.save({"step": 100, "model": weights | {"flow.w_s_t.0.bias": torch.zeros(32)}, "ema": average}, file)
    try:
        system = System.load(file)
    finally:
        file.unlink()
    assert system.net.flow_lm.out_eos.bias.item() == 7.0
    assert system.net.flow_lm.bos_emb.equal(weights["flow_lm.bos_emb"])


def test_files_that_do_not_belong_together_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = yaml.safe_load((tmp_path / "english_small.yaml").read_text())
    config["flow_lm"]["lookup_table"]["n_bins"] += 1
    (tmp_path / "english_small.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(VocabError, match=r"\d+ names, .*n_bins=\d+"):
        System.load(tmp_path)
    config["flow_lm"]["lookup_table"]["n_bins"] -= 1
    config["flow_lm"]["transformer"]["num_layers"] = 3
    (tmp_path / "english_small.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(checkpoint.CheckpointError, match=r"not the weights that .* describes: .*layers\.2"):
        System.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(checkpoint.CheckpointError, match="missing or damaged"):
        System.load(tmp_path)


def grown(folder, pieces, spoken, tmp_path, **more):
    base = System.load(folder)
    made = vocab.merge(
        pieces, [t[:-1] for t in AMHARIC], "am", extension.base_lines(pieces)[:20], "en", size=20
    ).tokenizer
    made.save(tmp_path / "merged")
    settings = {"text.units": "tokenizer", "text.tokenizer": str(tmp_path / "merged")} | more
    p = params.load("qaa", settings, system="pocket", device="cpu", threads=1)
    rows = [replace(spoken.split("train")[0], text=text, lang="am") for text in AMHARIC]
    return base, adapt.extend(base, p, rows), p


@pytest.mark.parametrize("tokens", ["merge", "refit"])
def test_a_language_more_by_row_surgery_or_with_a_vocabulary_of_its_own(folder, pieces, spoken, tmp_path, tokens):
    base, system, p = grown(folder, pieces, spoken, tmp_path, **{"pocket.tokens": tokens})
    assert system.flags.replace["።"] == "." and system.flags.replace["፧"] == "?"
    old, new = (s.tables["text"].tensors["weight"] for s in (base, system))
    names = system.vocabularies["text"]
    kept = [old[i].equal(new[names.index(n)]) for i, n in enumerate(base.vocabularies["text"])]
    assert all(kept) if tokens == "merge" else not any(kept)
    first, same = (s.net.flow_lm.transformer.layers[0].linear1.weight for s in (system, base))
    assert first.equal(same)
    assert system.net.flow_lm.emb_mean.equal(base.net.flow_lm.emb_mean), "its weights are used to these statistics"
    adapt.freeze(system, p.adapt)
    assert len(system.undecayed()) == 1
    learning = {n for n, q in system.net.named_parameters() if q.requires_grad and "conditioner" in n}
    assert learning == ({"flow_lm.conditioner.embed.parametrizations.weight.original"} if tokens == "merge" else
                        {"flow_lm.conditioner.embed.weight"})  # fmt: skip


def test_a_vocabulary_of_its_own_is_learnt_where_no_file_is_given(folder, spoken, tmp_path):
    base, rows = System.load(folder), [replace(spoken.split("train")[0], text=text, lang="am") for text in AMHARIC]
    p = params.load("qaa", {"pocket.tokens": "refit", "vocab.size": 40}, system="pocket")
    system = adapt.extend(base, p, rows)
    assert system.p.text.units == "tokenizer" and system.tokenizer.versions.keys() == {"am"}
    assert len(system.tokenizer) <= 40 and not system.tokenizer.unknown("ሰላም ለሁሉም.", "am")
    config = yaml.safe_load((system.export(tmp_path / "exported") / "config.yaml").read_text())
    assert config["replace_characters"]["።"] == "." and config["flow_lm"]["lookup_table"]["n_bins"] == len(
        system.tokenizer
    )


def test_an_extended_export_loads_in_the_official_package_and_gives_the_same_latents(folder, pieces, spoken, tmp_path):
    _, system, _ = grown(folder, pieces, spoken, tmp_path)
    with torch.no_grad():  # what training would have changed
        for q in system.net.parameters():
            q.add_(torch.randn(q.shape, generator=torch.Generator().manual_seed(q.numel())), alpha=0.01)
    exported = system.export(tmp_path / "exported")
    model = official(exported / "config.yaml")
    ours, theirs = load_file(exported / "model.safetensors"), model.state_dict()
    assert ours.keys() == theirs.keys() and all(v.equal(theirs[k]) for k, v in ours.items())

    wav = 0.1 * torch.randn(2 * 24000, generator=torch.Generator().manual_seed(1))
    s = system.p.pocket.model_copy(update={"eos_threshold": 1e9})
    system.p = system.p.model_copy(update={"pocket": s})
    latents = system.codec.encode(wav)
    assert latents.equal(model.mimi.encode_to_latent(wav[None, None])[0])
    for text, lang in (("the end", "en"), ("ሰላም፣ ነው።", "am")):
        prepared = wording.prepared(text, system.flags)
        assert model.flow_lm.conditioner.tokenizer.encode(prepared) == system.ids(text, lang)
        found = said(system, latents, system.ids(text, lang))
        torch.testing.assert_close(found, stock(model, latents, prepared), atol=1e-6, rtol=0)
    again = pipeline.load(exported)
    assert said(again, latents, again.ids("ሰላም", "am")).equal(said(system, latents, system.ids("ሰላም", "am")))


def said(system, latents, ids) -> torch.Tensor:
    """Ten frames of a system, its noise from seed 3."""
    from ttslib.systems.pocket import speaking

    system.net.eval()
    s = system.p.pocket.model_copy(update={"eos_threshold": 1e9})
    voice, generator = speaking.listened(system.net.flow_lm, latents), torch.Generator().manual_seed(3)
    return torch.stack(list(speaking.frames(system.net.flow_lm, voice, torch.tensor(ids), s, 10, generator)))


@torch.no_grad()
def stock(model, latents, text) -> torch.Tensor:
    """Ten frames of the package's model, by the calls that its `generate_audio` makes, its noise from seed 3."""
    stateful = published.imported("pocket_tts.modules.stateful_module", pocket.INSTALL)
    lm = model.flow_lm
    state = stateful.init_states(lm, 1, 400)
    voice = torch.nn.functional.linear(latents[None], lm.speaker_proj_weight)
    model._run_flow_lm_and_increment_step(state, audio_conditioning=torch.cat([lm.bos_before_voice, voice], 1))
    model._run_flow_lm_and_increment_step(state, text_tokens=lm.conditioner.prepare(text))
    last, found = torch.full((1, 1, 32), torch.nan), []
    noise = torch.Generator().manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.init, "normal_", lambda t, mean, std: t.normal_(mean, std, generator=noise))
        for _ in range(10):
            last, _ = model._run_flow_lm_and_increment_step(state, backbone_input_latents=last)
            found.append(last[0, 0])
    return torch.stack(found)


def test_a_voice_is_exported_as_the_package_does(folder, tmp_path, spoken):
    system = System.load(folder)
    recording = str(spoken.audio(spoken.rows[0]))
    file = storage.export_voice(system, recording, tmp_path / "voice.safetensors")
    model = official_of(folder)
    found = load_file(file)
    assert set(found) == {f"transformer.layers.{i}.self_attn/{k}" for i in (0, 1) for k in ("cache", "offset", "pad")}
    prompt = system.reference(recording).latents
    stateful = published.imported("pocket_tts.modules.stateful_module", pocket.INSTALL)
    expected = stateful.init_states(model.flow_lm, 1, len(prompt) + 1)
    voice = torch.nn.functional.linear(prompt[None], model.flow_lm.speaker_proj_weight)
    with torch.no_grad():
        model._run_flow_lm_and_increment_step(
            expected, audio_conditioning=torch.cat([model.flow_lm.bos_before_voice, voice], 1)
        )
    for i in (0, 1):
        name = f"transformer.layers.{i}.self_attn"
        torch.testing.assert_close(found[f"{name}/cache"], expected[name]["cache"], atol=1e-6, rtol=0)
        assert found[f"{name}/offset"].equal(expected[name]["offset"])
    state = model.get_state_for_audio_prompt(file)
    assert set(state) == set(expected)
    assert model.generate_audio(state, "Hello.", max_tokens=50).isfinite().all()


def test_the_verb_voice_writes_it_and_refuses_other_endings_and_systems(folder, tmp_path, spoken, capsys):
    recording = str(spoken.audio(spoken.rows[0]))
    file = tmp_path / "voices" / "me.safetensors"
    exported = str(System.load(folder).export(tmp_path / "exported"))
    assert main(["voice", exported, "--voice", recording, "--out", str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    assert len(load_file(file)) == 6
    assert main(["voice", exported, "--voice", recording, "--out", str(tmp_path / "me.json")]) == 1
    assert "call it me.safetensors" in capsys.readouterr().err
    acoustic = system_class("acoustic").fresh(params.load("qaa"), spoken.split("train")).export(tmp_path / "acoustic")
    assert main(["voice", str(acoustic), "--out", str(file)]) == 1
    assert "its runtime has no files of voices" in capsys.readouterr().err


def official_of(folder):
    return official(folder / "english_small.yaml")


def test_a_voice_from_scratch_says_that_it_is_none_for_the_package(spoken, tmp_path):
    system = System.fresh(params.load("qaa", system="pocket"), spoken.split("train"))
    exported = system.export(tmp_path / "exported")
    assert "not in the official package" in (exported / "README.md").read_text()
    assert not (exported / "config.yaml").exists()
    state = json.loads((exported / "system.json").read_text())
    assert state["codec"]["name"] == "mel-vae"


def test_zeroed_encoders_are_refused_with_what_to_do(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v * 0 if k.startswith("mimi.encoder") else v for k, v in weights.items()}, tmp_path / "model.safetensors"
    )
    system = System.load(tmp_path)
    with pytest.raises(codecs.CodecError, match="all zeros, so nothing can be encoded; these are the open weights"):
        system.codec.encode(torch.zeros(24000))


def test_speech_comes_frame_by_frame_and_is_the_whole_sentence(folder, tmp_path):
    """Within 1e-6 of what is decoded at once; the first chunk needs one frame and no other."""
    system, voice = System.load(folder), tmp_path / "voice.wav"
    samples = torch.randn(24000 * 2, generator=torch.Generator().manual_seed(0)) * 0.1
    audio.save(voice, samples.numpy(), 24000)
    system.p = system.p.model_copy(update={"pocket": system.p.pocket.model_copy(update={"most_tokens": 8})})
    system.pace = {"median": 0.2, "most": 0.1}  # a few frames a piece: what they say is noise
    text = "The end of it. And so on."
    whole = system.synthesize(text, voice=str(voice), seed=2)
    pieces_of = system.tally["spoken"]
    drawn, original = [], system.codec.network.decode_from_latent
    system.codec.network.decode_from_latent = lambda latent, state: (
        drawn.append(latent.shape[1]) or original(latent, state)
    )
    foretold = []
    system.net.flow_lm.flow_net.register_forward_hook(lambda *_: foretold.append(1))
    assert streaming.streams(system) and pieces_of > 1
    chunks = streaming.stream(system, text, voice=str(voice), seed=2)
    first = next(chunks)
    assert drawn == [1] == foretold and len(first) == 1920
    streamed = torch.cat([first, *chunks])
    assert len(drawn) * 1920 == len(streamed) == len(whole) and set(drawn) == {1}
    torch.testing.assert_close(streamed, whole, atol=1e-6, rtol=1e-5)
    assert whole.std() > 1e-3 and system.tally["spoken"] == 2 * pieces_of
    drawn.clear()
    assert len(list(streaming.stream(system, "The end.", voice=str(voice), speaking_rate=0.5))) == 1 == len(drawn)
    made = generate(system, [Item("a", "The end.", None, str(voice))], tmp_path / "out")["items"][0]
    assert made["first_audio_s"] != made["wall_s"] and drawn[2:] == [1], "its first frame is measured anew"
