"""Configs of Pocket TTS: every published one is read and written as the package reads it, and the files of a model are
found or the lack is named."""

from pathlib import Path

import pytest
import torch
import yaml
from official import needs

from ttslib.checkpoint import CheckpointError
from ttslib.codecs import pocket, published
from ttslib.systems.pocket import configs
from ttslib.systems.pocket.configs import Files, Shape, config_of, flags_of, locate, read, shape_of, write
from ttslib.systems.pocket.wording import Flags
from ttslib.vocab import source


def package():
    return published.imported("pocket_tts.utils.config", pocket.INSTALL)


def shipped() -> list[Path]:
    return sorted(package().CONFIGS_DIR.glob("*.yaml"))


def english(**changes) -> dict:
    return config_of(Shape(4001), None, "/voices/model.safetensors", "/voices/tokenizer.model") | changes


def folder_of(folder: Path, **changes) -> Path:
    """A folder with a config, and empty files for its weights and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "model.safetensors", folder / "tokenizer.model"]
    for file in files:
        file.touch()
    write(folder / "voice.yaml", config_of(Shape(401), None, *files) | changes)
    return folder


@needs("pocket_tts")
def test_every_published_config_is_read_and_written_as_the_package_reads_it(tmp_path):
    assert len(shipped()) == 27
    for path in shipped():
        official, found = package().load_config(path), read(path)
        assert package().load_config(write(tmp_path / path.name, found)) == official, path.name
        lm = official.flow_lm
        again = config_of(shape_of(found), found, official.weights_path, lm.lookup_table.tokenizer_path)
        without = official.model_copy(update={"weights_path_without_voice_cloning": None})
        assert package().load_config(write(tmp_path / "again.yaml", again)) == without, path.name
        assert read(tmp_path / "again.yaml") == again


@needs("pocket_tts")
def test_shapes_and_flags_are_those_of_the_published_configs():
    found = {path.stem: read(path) for path in shipped()}
    assert shape_of(found["english"]) == Shape(4001) and shape_of(found["french_24l"]) == Shape(4001, layers=24)
    assert shape_of(found["english_2026-01"]) == Shape(4001, voice=512, voice_bos=False)
    assert shape_of(found["english_drifting_26-09"]) == Shape(4001, flow="drifting")
    small = {"layers": 8, "flow_depth": 4, "z_dim": 64}
    assert shape_of(found["english_18m_2026-10"]) == Shape(
        4001, dim=512, heads=8, ff=512, flow="drifting", flow_dim=192, **small
    )
    assert shape_of(found["english_2m_refl_2026-10"]) == Shape(
        4001, dim=112, heads=3, ff=96, flow="pointwise", flow_dim=64, attn_dim=192, kv_heads=1, rank=32, **small
    )
    assert flags_of(found["english_2026-01"]) == Flags({"’": "'", "‘": "'"}, spaces=True)
    assert flags_of(found["french"]).semicolons and flags_of(found["french"]).replace["«"] == ""
    assert found["english"]["mimi"] == configs.MIMI


@needs("pocket_tts")
def test_the_network_of_the_package_has_the_shape(tmp_path):
    module = published.imported("pocket_tts.models.flow_lm", pocket.INSTALL)
    shape = Shape(
        41, dim=24, heads=3, layers=1, ff=40, flow="pointwise", flow_dim=16, flow_depth=1, z_dim=8, attn_dim=48, kv_heads=1,
        rank=4,
    )  # fmt: skip
    path = write(tmp_path / "a.yaml", config_of(shape, None, tmp_path / "m.safetensors", tmp_path / "t.json"))
    assert shape_of(read(path)) == shape
    conditioning = published.imported("pocket_tts.modules.text_conditioner", pocket.INSTALL)

    class Untokenized(conditioning.LUTConditioner):
        def __init__(self, **settings):
            conditioner, conditioning.build_tokenizer = conditioning.build_tokenizer, lambda *_: None
            super().__init__(**settings)
            conditioning.build_tokenizer = conditioner

    official = package().load_config(path)
    made, module.LUTConditioner = module.LUTConditioner, Untokenized
    try:
        sizes = module.FlowLMModel.from_pydantic_config(official.flow_lm, 32, True).state_dict()
    finally:
        module.LUTConditioner = made
    assert sizes["conditioner.embed.weight"].shape == (shape.text_rows, shape.rank)
    assert sizes["transformer.layers.0.self_attn.in_proj.weight"].shape == (48 + 2 * 16, shape.dim)
    assert sizes["transformer.layers.0.linear1.weight"].shape == (shape.ff, shape.dim)
    assert sizes["z_proj.weight"].shape == (shape.z_dim, shape.dim) and sizes["bos_emb"].shape == (shape.latent,)
    assert sizes["flow_net.input_proj.weight"].shape == (shape.flow_dim, shape.latent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(colour="red"), "unknown key colour"),
        (lambda c: c["flow_lm"]["flow"].update(steps=3), r"unknown key flow_lm\.flow\.steps"),
        (lambda c: c["mimi"]["seanet"].pop("ratios"), r"mimi\.seanet\.ratios is missing"),
        (lambda c: c.pop("flow_lm"), "flow_lm is missing"),
        (lambda c: c.update(mimi=3), "mimi is 3, not a section"),
        (lambda c: c["flow_lm"]["transformer"].update(num_layers="six"), r"num_layers is 'six', not int"),
        (lambda c: c["flow_lm"]["transformer"].update(num_layers=True), r"num_layers is True, not int"),
        (lambda c: c["flow_lm"].update(insert_bos_before_voice=None), "insert_bos_before_voice is None, not bool"),
        (lambda c: c["mimi"]["seanet"].update(ratios=[6, "5"]), r"mimi\.seanet\.ratios has '5', which is no int"),
        (lambda c: c.update(replace_characters={"a": 1}), "replace_characters has 1, which is no text"),
        (lambda c: c.update(replace_characters={"ab": ""}), "replace_characters: 'ab': a key is one character"),
        (lambda c: c["flow_lm"]["flow"].update(type="diffusion"), "a flow of type 'diffusion'; there are lsd, "),
        (lambda c: c["flow_lm"]["transformer"].update(num_heads=7), "7 heads, 7 of them with keys, over 1024"),
        (lambda c: c["flow_lm"]["lookup_table"].update(dim=512), r"lookup_table\.dim=512, .*d_model=1024"),
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_refused_by_its_fault(tmp_path, change, said):
    config = yaml.safe_load(yaml.safe_dump(english()))
    change(config)
    with pytest.raises(CheckpointError, match=rf"odd\.yaml: .*{said}"):
        read(write(tmp_path / "odd.yaml", config))


@pytest.mark.parametrize(("content", "said"), [("- a", "list, not keys"), ("a: [", "not YAML"), ("", "NoneType")])
def test_a_file_that_is_no_config_is_refused(tmp_path, content, said):
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=said):
        read(tmp_path / "odd.yaml")
    with pytest.raises(CheckpointError, match="no such file"):
        read(tmp_path / "none.yaml")


def test_all_faults_are_named_at_once(tmp_path):
    config = english(colour="red", shape="round")
    del config["mimi"]
    with pytest.raises(CheckpointError, match="unknown key colour; unknown key shape; mimi is missing"):
        read(write(tmp_path / "odd.yaml", config))


def test_an_exported_config_has_absolute_paths_and_no_second_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = english(weights_path_without_voice_cloning="hf://kyutai/open/model.safetensors", default_eos_threshold=-1.0)
    base["mimi"] = base["mimi"] | {"weights_path": "elsewhere.safetensors"}
    flags = Flags({"።": "."}, capital=False)
    made = config_of(Shape(348, layers=2), base, "model.safetensors", Path("tokenizer.json"), flags, temperature=0.5)
    assert made["weights_path"] == str(tmp_path / "model.safetensors")
    assert made["flow_lm"]["lookup_table"] == {
        "dim": 1024, "n_bins": 347, "tokenizer": "tokenizers", "tokenizer_path": str(tmp_path / "tokenizer.json"),
    }  # fmt: skip
    assert "weights_path_without_voice_cloning" not in made and "weights_path" not in made["mimi"]
    assert flags_of(made) == flags and flags_of(english()) == Flags()
    assert (made["default_temperature"], made["default_eos_threshold"]) == (0.5, -1.0)
    assert (english()["default_temperature"], english()["default_eos_threshold"]) == (0.3, -4.0)
    there = config_of(Shape(348), base, "hf://me/voice/model.safetensors@abc", "https://me.org/t@1.model")
    assert there["weights_path"] == "hf://me/voice/model.safetensors@abc"
    assert there["flow_lm"]["lookup_table"]["tokenizer"] == "sentencepiece"
    with pytest.raises(CheckpointError, match=r"vocab\.txt: no tokenizer that .* there are \.json, \.model"):
        config_of(Shape(348), base, "model.safetensors", "vocab.txt")
    with pytest.raises(CheckpointError, match="8 numbers a frame and 32 of a voice with a Mimi that has 32 and 32"):
        config_of(Shape(348, latent=8), base, "model.safetensors", "tokenizer.model")


def test_the_files_of_a_folder_are_found_and_also_after_it_has_moved(tmp_path):
    folder = folder_of(tmp_path / "a")
    named = Files(folder / "voice.yaml", folder / "model.safetensors", folder / "tokenizer.model")
    assert locate(str(folder)) == locate(str(folder / "voice.yaml")) == named
    (folder / "args.yaml").write_text("lr: 1e-4\nmodel_config: voice.yaml\n")  # of the official trainer
    torch.save({"model": {}}, folder / "checkpoint_00000100.pt")
    assert locate(str(folder / "checkpoint_00000100.pt")) == Files(
        folder / "voice.yaml", folder / "checkpoint_00000100.pt", folder / "tokenizer.model"
    )
    moved = folder.rename(tmp_path / "b")
    assert locate(str(moved)).weights == moved / "model.safetensors"
    (moved / "voice.yaml").rename(tmp_path / "voice.yaml")  # the config alone: its paths point nowhere
    with pytest.raises(CheckpointError, match=r"a/model\.safetensors; there is no such file, and no model.* beside"):
        locate(str(tmp_path / "voice.yaml"))


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "a")
    (folder / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match=r"voice\.yaml: tokenizer_path is .*no tokenizer\.model beside"):
        locate(str(folder))
    with pytest.raises(CheckpointError, match=r"neither a config .* nor a checkpoint"):
        locate(str(folder / "model.safetensors"))
    write(folder / "second.yaml", english())
    with pytest.raises(CheckpointError, match=r"2 configs of pocket-tts .* not one: second\.yaml, voice\.yaml"):
        locate(str(folder))
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config of pocket-tts \(\.yaml\) in this folder"):
        locate(str(empty))
    for change, said in [
        ({"weights_path": None}, "no weights_path in it"),
        ({"weights_path": "https://me.org/other.safetensors"}, "download it and put it beside the config, as other"),
        ({"weights_path": "hf://me/voice"}, "no file of a hub repository"),
    ]:
        with pytest.raises(CheckpointError, match=said):
            locate(str(folder_of(tmp_path / "b", **change)))
    monkeypatch.setattr(source, "reachable", lambda: False)
    gone = folder_of(tmp_path / "b", weights_path="hf://nobody/nothing/big/other.safetensors@abc")
    with pytest.raises(CheckpointError, match=r"weights_path: hf://nobody/nothing/big/other\.safetensors@abc: neither"):
        locate(str(gone))
    (gone / "other.safetensors").touch()
    assert locate(str(gone)).weights == gone / "other.safetensors"
    for unknown in ("nobody/nothing/voice.yaml", "/no/such/folder"):
        with pytest.raises(CheckpointError, match=f"{unknown}: n"):
            locate(unknown)
    with pytest.raises(CheckpointError, match=r"voice\.pt is no config"):
        locate("nobody/nothing/voice.pt")


@needs("pocket_tts")
def test_a_published_model_is_found_in_the_hub_cache_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "reachable", lambda: False)
    for name in ("french_24l", "kyutai/pocket-tts#french_24l"):
        with pytest.raises(CheckpointError, match=r"french_24l\.yaml: weights_path: hf://kyutai/pocket-tts/lang"):
            locate(name)
    with pytest.raises(CheckpointError, match=r"klingon: no such file or folder, and no config of .* has dutch,"):
        locate("klingon")
    asked = []

    def cached(repo, name, revision=None):
        asked.append((repo, name, revision))
        return str(tmp_path / name)

    monkeypatch.setattr(source.huggingface_hub, "try_to_load_from_cache", cached)
    found = locate("kyutai/pocket-tts")
    assert found.config == package().CONFIGS_DIR / "english.yaml"
    assert found.weights == tmp_path / "languages/english/model.safetensors"
    assert [(repo, name) for repo, name, _ in asked] == [
        ("kyutai/pocket-tts", "languages/english/model.safetensors"),
        ("kyutai/pocket-tts-without-voice-cloning", "languages/english/tokenizer.json"),
    ]
    assert asked[0][2] == "db04f0e653473e5c7333c69686ac92b7460b0c1d"


def test_a_hub_repository_is_read_config_first(tmp_path, monkeypatch):
    folder, asked = folder_of(tmp_path / "a"), []

    def fetching(where, weights, beside):
        asked.append((where, weights, beside))
        return folder, None, where

    monkeypatch.setattr(configs, "located", fetching)
    assert locate("me/voice@v2").tokenizer == folder / "tokenizer.model"
    assert asked == [("me/voice@v2", "*.yaml", ()), ("me/voice@v2", "model.safetensors", ("tokenizer.model",))]
