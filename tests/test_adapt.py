"""A trained model learns new rows: same outputs before, held rows to the bit after, one refusal for what does not fit."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import training
from safetensors.torch import load_file, save_file
from torch import nn
from training import assert_same

from ttslib import adapt, params, pipeline, speech, vocab
from ttslib.adapt import lora, tables
from ttslib.adapt.rows import AdaptError, RowMap, read, write
from ttslib.checkpoint import CheckpointError
from ttslib.systems import system_class
from ttslib.text.romanise import romanise

SPOKEN = "bado deno."  # both the base and the grown system have these letters
MISSING = "gm"


@pytest.fixture(scope="module")
def base(spoken, tmp_path_factory):
    """The folder of an acoustic system over the toy corpus's clips without two of its letters, trained a little."""
    rows = [row for row in spoken.rows if not set(row.text) & set(MISSING)]
    p = params.load("qaa", tracking="disabled", device="cpu", threads=1)
    system = system_class("acoustic").fresh(p, rows)
    folder = tmp_path_factory.mktemp("base")
    system.measure([system.encode(row, speech.recording(spoken, row, system.rate)) for row in rows])
    return system.export(folder / "base")


def grown(base, spoken, *overrides):
    p = params.load("qaa", [*training.QUIET, f"adapt.base={base}", *overrides])
    return pipeline.beginning(p, spoken.split("train")), p


def symbols(system) -> tuple:
    return system.tokenizer.symbols


@pytest.fixture(scope="module")
def both(base, spoken):
    return pipeline.load(base), grown(base, spoken)[0]


def test_old_ids_stay_and_missing_letters_are_appended(both):
    old, new = both
    assert symbols(new)[: len(symbols(old))] == symbols(old)
    assert sorted(symbols(new)[len(symbols(old)) :]) == sorted(MISSING)


def test_what_the_base_could_say_sounds_the_same_to_the_bit(both):
    old, new = both
    new.net.eval()
    assert new.mel(SPOKEN).equal(old.mel(SPOKEN))
    with pytest.raises(Exception, match="never seen in training"):
        old.mel("gama")
    assert new.mel("gama").isfinite().all()


def test_new_rows_are_what_the_recipes_say(both):
    old, new = both
    table, before = new.net.encoder.embedding.weight.detach(), old.net.encoder.embedding.weight
    assert table[: len(before)].equal(before)
    made = table[len(before) :]
    assert not made[0].equal(made[1])
    assert (made - before.mean(0)).detach().std().item() == pytest.approx(0.05 * before.std().item(), rel=0.4)


def test_five_hundred_steps_with_decay_after_unfrozen_ones_and_a_resume_move_no_old_row():
    """Momentum of the unfrozen steps, weight decay, accumulation and a restart: what a gradient hook lets through."""
    torch.manual_seed(0)
    embedding, head = nn.Embedding(30, 8), nn.Linear(8, 30)
    p = params.load("qaa", {"train.weight_decay": 0.1, "train.lr": 1e-2})
    net = nn.ModuleDict({"embedding": embedding, "head": head})

    def run(net, optimizer, steps, begin):
        for step in range(begin, begin + steps):
            for part in range(2):
                ids = torch.randint(0, 30, (64,), generator=torch.Generator().manual_seed(2 * step + part))
                nn.functional.cross_entropy(net["head"](net["embedding"](ids)), ids.roll(1)).backward()
            optimizer.step()
            optimizer.zero_grad()

    from ttslib.session import adamw, set_rates

    def prepared(net):
        optimizer = adamw(list(net.parameters()), p, torch.device("cpu"), adapt.new_rows(net))
        set_rates({"part": optimizer}, 1e-2, 0)
        return optimizer

    run(net, prepared(net), 50, 0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    names, fixed = [*map(str, range(30))], [i < 20 for i in range(30)]

    def frozen(net):
        for table, is_head in ((net["embedding"], False), (net["head"], True)):
            tables.split(tables.Table(table, "text", names, head=is_head), fixed)
        return net

    frozen(net)
    optimizer = prepared(net)
    run(net, optimizer, 250, 50)
    stored, moments = {k: v.clone() for k, v in adapt.weights(net).items()}, optimizer.state_dict()
    again = nn.ModuleDict({"embedding": nn.Embedding(30, 8), "head": nn.Linear(8, 30)})
    again.load_state_dict(stored)
    adapt.load(frozen(again), stored)
    optimizer = prepared(again)
    optimizer.load_state_dict(moments)
    run(again, optimizer, 250, 300)
    after = adapt.weights(again)
    assert after.keys() == before.keys()
    for name in before:
        assert after[name][:20].equal(before[name][:20]), name
        assert not after[name][20:].isclose(before[name][20:]).all(), name


def test_a_hook_would_have_moved_them():
    """What the test above can see: the same with a gradient hook drifts."""
    torch.manual_seed(0)
    table = nn.Embedding(30, 8)
    before = table.weight[:20].detach().clone()
    table.weight.register_hook(lambda g: torch.cat([torch.zeros_like(g[:20]), g[20:]]))
    optimizer = torch.optim.AdamW(table.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(20):
        table(torch.arange(30)).square().sum().backward()
        optimizer.step()
    assert not table.weight[:20].equal(before)


def test_spare_rows_keep_their_role():
    """A base row that is no token (IndexTTS2's last, Pocket's padding) must not become the first new token."""
    torch.manual_seed(0)
    old, new = nn.Embedding(4, 6), nn.Embedding(6, 6)
    a = tables.Table(old, "text", ["a", "b", "c"], spare=["<spare>"])
    b = tables.Table(new, "text", ["a", "b", "c", "ሰ", "ላ"], spare=["<spare>"])
    m = RowMap.between(a.names, b.names)
    assert m.sources == (0, 1, 2, None, None, 3)
    tables.grow(a, b, m.sources, torch.ones(2, 6))
    assert new.weight[[0, 1, 2, 5]].equal(old.weight)
    tables.split(b, [s is not None for s in m.sources])
    assert new.weight[[0, 1, 2, 5]].equal(old.weight) and new.weight[3:5].eq(1).all()
    new.weight.sum().backward()
    (rows,) = adapt.new_rows(new)
    assert rows.shape == (2, 6) and rows.grad.eq(1).all()


def test_a_new_head_row_takes_little_of_the_softmax():
    old, new = nn.Linear(6, 100), nn.Linear(6, 120)
    names = [*map(str, range(120))]
    m = RowMap.between(names[:100], names)
    fill = old.weight.detach().mean(0).expand(20, -1)
    tables.grow(
        tables.Table(old, "text", names[:100], head=True), tables.Table(new, "text", names, head=True), m.sources, fill
    )
    x = torch.randn(50, 6)
    assert new(x)[:, :100].allclose(old(x))
    assert new(x).softmax(-1)[:, 100:].sum(-1).max() < 0.01


SETTINGS = {
    "rows and body, average, accumulation": ["train.ema=0.9", "data.accumulate=2"],
    "rows first, then everything": ["adapt.rows_first=6", "adapt.train_rows=all"],
    "LoRA": ["adapt.body=lora", "adapt.lora.rank=4"],
    "only the rows": ["adapt.body=none"],
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_killed_and_resumed_is_the_same_and_old_rows_stay(prepared, base, settings):
    every = [
        f"adapt.base={base}",
        "train.steps=14",
        "train.evaluate_every=5",
        "train.checkpoint_every=4",
        "train.warmup=0",
    ]
    every += ["data.frames=400", "train.log_every=1", "train.weight_decay=0.1", *settings]
    whole = training.train(prepared, "run=whole", *every)
    first = training.start(prepared, "run=parts", *every)
    first.wait_for("step 10 ")
    first.kill()
    parts = whole.with_name("parts")
    training.train(prepared, "run=parts", "resume=true", *every)
    assert_same(whole, parts)
    before = load_file(base / "model.safetensors")
    after = load_file(whole / "checkpoints/latest/model.safetensors")
    rows = before["net.encoder.embedding.weight"]
    moved = not after["net.encoder.embedding.weight"][: len(rows)].equal(rows)
    assert moved == ("adapt.train_rows=all" in settings)
    assert len(after["net.encoder.embedding.weight"]) == len(rows) + len(MISSING)
    body = "net.decoder.out.weight"
    if "adapt.body=none" in settings:
        assert after[body].equal(before[body])
    elif "adapt.body=lora" in settings:
        assert after["net.decoder.out.base_layer.weight"].equal(before[body])
        assert after["net.decoder.out.lora_B.default.weight"].abs().max() > 0
    else:
        assert not after[body].equal(before[body])


def test_only_new_rows_move_in_the_first_stage(prepared, base):
    every = [f"adapt.base={base}", "adapt.rows_first=4", "train.weight_decay=0.1", "train.warmup=0", "data.frames=400"]
    first = training.train(prepared, "run=first", "train.steps=1", *every)
    run = training.train(prepared, "run=stage", "train.steps=4", *every)
    before, after = load_file(base / "model.safetensors"), load_file(run / "checkpoints/latest/model.safetensors")
    moved = {k for k in before if before[k].shape != after[k].shape or not before[k].equal(after[k])}
    assert moved == {"net.encoder.embedding.weight", "net.batches"}
    table = after["net.encoder.embedding.weight"]
    start = load_file(first / "checkpoints/latest/model.safetensors")["net.encoder.embedding.weight"]
    assert not table[-2:].isclose(start[-2:]).all()


def test_what_was_new_goes_on_learning_from_its_own_checkpoint(prepared, base):
    """Unfrozen steps, then the same vocabulary again with new rows only: the base's rows stay as they then are."""
    every = ["train.steps=3", "train.warmup=0", "data.frames=400"]
    first = training.train(prepared, "run=open", f"adapt.base={base}", "adapt.train_rows=all", *every)
    second = training.train(prepared, "run=held", f"adapt.base={first}", "train.weight_decay=0.1", *every)
    before, after = (load_file(run / "checkpoints/latest/model.safetensors") for run in (first, second))
    name, size = (
        "net.encoder.embedding.weight",
        len(load_file(base / "model.safetensors")["net.encoder.embedding.weight"]),
    )
    best = load_file(first / "checkpoints/best/model.safetensors")
    assert after[name][:size].equal(best[name][:size])
    assert not after[name][size:].equal(best[name][size:])
    assert not before[name][:size].equal(load_file(base / "model.safetensors")[name])


def test_an_index_says_the_same_as_new(base, spoken):
    size = len(symbols(pipeline.load(base)))
    by_index = grown(base, spoken, f"adapt.freeze_until={size}")[0]
    (rows,) = adapt.new_rows(by_index.net)
    assert rows.shape[0] == len(MISSING)
    with pytest.raises(AdaptError, match=rf"adapt.freeze_until is {size + 1}, the base has {size} rows"):
        grown(base, spoken, f"adapt.freeze_until={size + 1}")


def test_lora_is_merged_on_export_and_when_loaded(prepared, base, tmp_path):
    every = [
        f"adapt.base={base}",
        "adapt.body=lora",
        "train.steps=4",
        "train.warmup=0",
        "train.lr=0.01",
        "data.frames=400",
    ]
    run = training.train(prepared, "run=lora", *every)
    voice = pipeline.load(run / "checkpoints/latest")
    again = pipeline.load(voice.export(tmp_path / "plain"))
    assert load_file(tmp_path / "plain/model.safetensors").keys() == load_file(base / "model.safetensors").keys()
    assert again.mel(SPOKEN).equal(voice.mel(SPOKEN))
    assert not again.mel(SPOKEN).equal(pipeline.load(base).mel(SPOKEN))
    system, _ = grown(base, pipeline.manifest.prepare(training.small()), "adapt.body=lora")
    adapt.load(
        system.net,
        {k.removeprefix("net."): v for k, v in load_file(run / "checkpoints/latest/model.safetensors").items()},
    )
    system.net.eval()
    assert system.mel(SPOKEN).allclose(again.mel(SPOKEN), atol=1e-4), "unmerged and merged are the same voice"


@pytest.mark.parametrize("kind", ["linear", "Conv1D"])
def test_merged_lora_is_the_unmerged_one(kind):
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9) if kind == "linear" else Conv1D(9, 6), nn.ReLU(), nn.Linear(9, 4))
    plain, x = copy.deepcopy(net), torch.randn(5, 6)
    lora.inject(net, lora.targets(net, ["0"], set()), rank=2, alpha=4.0, dropout=0.3)
    net.eval()
    assert net(x).equal(plain(x)), "an update starts at zero"
    assert {n for n, q in net.named_parameters() if not q.requires_grad} == {"0.base_layer.weight", "0.base_layer.bias"}
    nn.init.normal_(dict(net.named_parameters())["0.lora_B.default.weight"])
    state = adapt.plain(net)
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    assert plain(x).allclose(net(x), atol=1e-5) and not plain[0].weight.equal(net[0].base_layer.weight)


def test_a_merge_that_does_not_agree_is_refused(monkeypatch):
    net = nn.Sequential(nn.Linear(6, 9))
    lora.inject(net, ["0"], rank=2, alpha=4.0, dropout=0.0)
    nn.init.normal_(dict(net.named_parameters())["0.lora_B.default.weight"])
    monkeypatch.setattr(type(net[0]), "get_delta_weight", lambda layer, name: torch.zeros(9, 6))
    with pytest.raises(AdaptError, match="LoRA: 0: merged and unmerged differ"):
        adapt.plain(net)


def test_lora_targets_are_named(base, spoken):
    with pytest.raises(AdaptError, match=r"no linear or Conv1D layer ends in 'q_proj'; there are .*qkv"):
        grown(base, spoken, "adapt.body=lora", "adapt.lora.targets=[q_proj]")
    system, _ = grown(base, spoken, "adapt.body=lora", "adapt.lora.targets=[qkv, decoder.out]")
    assert {n for n, q in system.net.named_parameters() if "lora_A" in n} == {
        "encoder.layers.0.qkv.lora_A.default.weight", "decoder.out.lora_A.default.weight"
    }  # fmt: skip


def test_other_vocabularies_are_refused(base, tmp_path):
    permuted = json.loads((base / "system.json").read_text())
    s = permuted["tokenizer"]["symbols"]
    s[4], s[5] = s[5], s[4]
    folder = tmp_path / "permuted"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    (folder / "system.json").write_text(json.dumps(permuted))
    with pytest.raises(CheckpointError, match=r"trained with another text vocabulary .*2 moved: .* 4 → 5"):
        pipeline.load(folder)
    permuted["tokenizer"]["symbols"] = s[:-1]
    (folder / "system.json").write_text(json.dumps(permuted))
    with pytest.raises(CheckpointError, match="1 missing"):
        pipeline.load(folder)


def test_resuming_on_another_base_is_refused(prepared, base, tmp_path):
    every = ["train.steps=2", "data.frames=400", "run=a"]
    training.train(prepared, f"adapt.base={base}", *every)
    other = tmp_path / "other"
    other.mkdir()
    (other / "system.json").write_bytes((base / "system.json").read_bytes())
    weights = load_file(base / "model.safetensors")
    weights["net.encoder.embedding.weight"][3] += 1e-6
    save_file(weights, other / "model.safetensors")
    life = training.start(prepared, f"adapt.base={other}", "resume=true", *every)
    assert life.finish() == 1
    assert "base: net: the checkpoint has" in life.words()


def test_rows_of_another_base_are_never_taken_over(base, spoken):
    system, _ = grown(base, spoken)
    stored = {k: v.clone() for k, v in adapt.weights(system.net).items()}
    stored["encoder.embedding.weight"][2] += 1
    with pytest.raises(AdaptError, match=r"encoder.embedding.weight: 1 of \d+ frozen rows are not the base's"):
        adapt.load(system.net, stored)
    stored["encoder.embedding.weight"] = stored["encoder.embedding.weight"][:-1]
    with pytest.raises(AdaptError, match="rows, here"):
        adapt.load(system.net, stored)


def test_row_maps_survive_a_file_and_nothing_else(tmp_path):
    m = RowMap.between(["a", "b", "</s>"], ["a", "b", "[STOP]", "ሰ"], roles={"[STOP]": "</s>"})
    assert m.sources == (0, 1, 2, None)
    file = write(tmp_path / "rows.json", {"text": m}, {"old": "1" * 64, "new": "2" * 64})
    assert read(file, {"old": "1" * 64}) == {"text": m}
    with pytest.raises(AdaptError, match="another new tokenizer"):
        read(file, {"new": "3" * 64})
    m.check(old=["a", "b", "</s>"])
    with pytest.raises(AdaptError, match="another grown vocabulary: 1 missing: 'ሰ'; 1 unknown: 'ለ'"):
        m.check(new=["a", "b", "[STOP]", "ለ"])
    content = json.loads(file.read_text())
    content["maps"]["text"]["new"].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(AdaptError, match="truncated"):
        read(file)
    file.write_text(json.dumps(content)[:-40])
    with pytest.raises(AdaptError, match="not a whole row map"):
        read(file)
    with pytest.raises(AdaptError, match="names occur twice"):
        RowMap.between(["a", "a"], ["a"])


def test_a_vocabulary_that_lost_tokens_is_refused(base, spoken):
    old = pipeline.load(base)
    p = params.load("qaa", training.QUIET)
    less = system_class("acoustic").fresh(p, spoken.split("train")[:1])
    with pytest.raises(AdaptError, match="of the base's tokens are not in the new vocabulary"):
        adapt.row_maps(old, less)


def test_special_tokens_are_matched_by_role(base, spoken, tmp_path):
    """From characters (<s>, </s>, a space) to a tokenizer file ([START], [STOP], [SPACE]): the same rows."""
    lines = [row.text for row in spoken.rows]
    made = vocab.train(lines, "qaa", "bpe", 60)
    overrides = ["text.units=tokenizer", f"text.tokenizer={made.save(tmp_path)}"]
    new, old = grown(base, spoken, *overrides)[0], pipeline.load(base)
    names, rows = symbols(new), new.net.encoder.embedding.weight.detach()
    for theirs, ours in {"[START]": "<s>", "[STOP]": "</s>", "[SPACE]": " ", "a": "a"}.items():
        before = old.net.encoder.embedding.weight[symbols(old).index(ours)]
        assert rows[names.index(theirs)].equal(before), theirs
    new.net.eval()
    assert new.mel("bado deno.").isfinite().all()


def test_a_named_copy_belongs_to_its_own_vocabulary(base, spoken):
    """A language starts as another language, though no letter has that name; a name that nothing new has is a mistake."""
    rows = [*spoken.split("train"), replace(spoken.rows[0], lang="am")]
    p = params.load("qaa", {"adapt.like": {"g": "k", "am": "qaa"}, "adapt.noise": 0.0}, device="cpu", threads=1)
    new = adapt.extend(pipeline.load(base), p, rows)
    assert new.adaptation["recipes"]["language"] == [["am", "copy", ["qaa"]]]
    table, names = new.net.encoder.embedding.weight, symbols(new)
    assert table[names.index("g")].equal(table[names.index("k")])
    wrong = params.load("qaa", {"adapt.like": {"zz": "k"}}, device="cpu", threads=1)
    with pytest.raises(AdaptError, match=r"adapt.like: there is no new row for 'zz'"):
        adapt.extend(pipeline.load(base), wrong, rows)


def test_recipes_fall_to_the_simpler_and_say_so():
    old = ["<pad>", "s", "e", "l", "a", "m", "sh", "T"]
    m = RowMap.between(old, [*old, "ş", "▁shal", "ሰ", "ላም", "ж", "t", "።"])
    pieces = {r.name: (r.how, r.rows) for r in adapt.recipes(m, "pieces")}
    assert pieces["ş"] == ("pieces", ("s",)) and pieces["▁shal"] == ("pieces", ("sh", "a", "l"))
    assert pieces["ሰ"][0] == "mean" and pieces["t"] == ("pieces", ("T",)) and pieces["።"][0] == "mean"
    spelt = {r.name: (r.how, r.rows) for r in adapt.recipes(m, "romanised", {"ж": "sh"})}
    assert spelt["ሰ"] == ("romanised", ("s", "e")) and spelt["ላም"] == ("romanised", ("l", "a", "m"))
    assert spelt["ж"] == ("copy", ("sh",))
    assert {r.how for r in adapt.recipes(m, "mean")} == {"mean"}
    with pytest.raises(AdaptError, match=r"adapt.like: the base has no row for 'q'"):
        adapt.recipes(m, "mean", {"ж": "q"})


def test_ethiopic_is_spelt_as_it_is_read():
    assert romanise("ሰላም አዲስ ሀገር ጽሑፍ እኔ ቋንቋ ወንዝ ሸማ ቸር") == "selam adis hager tshuf ine qwanqwa wenz shema cher"
    assert romanise("Ñandú шар") == "nandu shar"


def test_another_normaliser_than_in_training_is_said(base, monkeypatch, capsys):
    pipeline.load(base)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("ttslib.text.qaa.VERSION", "qaa-99")
    pipeline.load(base)
    assert "trained on text of normaliser qaa-1, which is now qaa-99" in capsys.readouterr().err
