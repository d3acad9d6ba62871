"""Nothing that is read is run: no YAML tag, no pickle, no code of a hub; and no test asks the network."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ttslib import checkpoint, params, similarity
from ttslib.checkpoint import CheckpointError
from ttslib.codecs import CodecError, indextts, indextts_sound, s3
from ttslib.pairs import PairError
from ttslib.params import ParamsError
from ttslib.paths import ROOT
from ttslib.systems.indextts import files as indextts_files
from ttslib.systems.pocket import storage as pocket_storage
from ttslib.systems.t3 import storage as t3_storage
from ttslib.systems.vits import discriminator, original
from ttslib.voice_encoder import VoiceEncoder


class Planted:
    """Unpickled, it writes a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.fixture
def trap(tmp_path):
    """Where a pickle would leave its trace; and that it would, were it opened without care."""
    planted = tmp_path / "planted"
    torch.save({"model": Planted(planted)}, tmp_path / "proof.pt")
    torch.load(tmp_path / "proof.pt", weights_only=False)
    planted.rmdir()
    yield planted
    assert not planted.exists()


READERS = {
    "voice encoder": (VoiceEncoder.load, CheckpointError),
    "t3 voice": (t3_storage.built_in, CheckpointError),
    "indextts": (indextts_files.flat, CheckpointError),
    "pocket": (pocket_storage.flow_lm, CheckpointError),
    "vits": (original.read, CheckpointError),
    "vits discriminator": (lambda file: discriminator.load_original(None, file), CheckpointError),
    "indextts sound": (indextts_sound.read, CodecError),
    "s3": (lambda file: s3.read(file, "tokenizer."), CodecError),
    "w2v-bert statistics": (lambda file: indextts.normalisation(file, 8), CodecError),
    "resemblyzer": (lambda file: similarity.encoder(file), similarity.SimilarityError),
}


@pytest.mark.parametrize("reader", READERS)
def test_published_files_run_no_code(reader, trap, tmp_path):
    read, error = READERS[reader]
    torch.save({"model": Planted(trap), "gen": Planted(trap), "model_state": Planted(trap)}, tmp_path / "evil.pt")
    with pytest.raises(error, match=r"evil\.pt"):
        read(tmp_path / "evil.pt")


@pytest.mark.parametrize("name", ["state.safetensors", "model.safetensors", "state.json", "system.json"])
def test_a_pickle_in_a_checkpoint_is_refused(name, trap, tmp_path):
    """As a damaged file, by its checksum; and with a checksum that was made to fit, as no safetensors and no JSON."""
    made = checkpoint.save(tmp_path, "epoch0_step1", {"w": torch.zeros(1)}, {"system": "vits"}, {"step": 1})
    torch.save(Planted(trap), made / name)
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(made)
    sums = json.loads((made / "checksums.json").read_text())
    (made / "checksums.json").write_text(json.dumps(sums | {name: checkpoint.sha256(made / name)}))
    with pytest.raises(CheckpointError, match=r"its checksums fit|cannot be read"):
        checkpoint.load(made)


def test_a_pickle_among_pairs_is_refused(trap, tmp_path):
    from ttslib import pairs

    torch.save(Planted(trap), tmp_path / "evil.npz", _use_new_zipfile_serialization=False)
    with pytest.raises(PairError):
        pairs.read(tmp_path / "evil.npz")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_yaml_runs_no_code(tag, trap, tmp_path):
    (tmp_path / "evil.yaml").write_text(f"lang: qaa\nnotes: {tag} ['{trap}']\n")
    with pytest.raises(ParamsError, match="could not determine a constructor"):
        params.load(tmp_path / "evil.yaml")
    with pytest.raises(ParamsError, match="could not determine a constructor"):
        params.load("qaa", [f"run={tag} ['{trap}']"])


def sources() -> list[Path]:
    return [file for folder in ("ttslib", "notebooks", "benchmarks", "docs") for file in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize(
    "words", ["trust_remote_code", "weights_only=False", "allow_pickle=True", "yaml.load(", "pickle.load"]
)
def test_no_source_asks_for_code(words):
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sources()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if words in line
    ]
    assert not found, found


def test_every_torch_load_is_of_weights_only():
    lines = [line for file in sources() for line in file.read_text(encoding="utf-8").splitlines()]
    loads = [line.strip() for line in lines if "torch.load(" in line and "safetensors.torch" not in line]
    assert loads and all("weights_only=True" in line for line in loads), loads


def test_a_test_that_asks_the_network_fails_by_name():
    for ask in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.socket().connect(("192.0.2.1", 80)),
        lambda: socket.getaddrinfo("example.org", 443),
    ):
        with pytest.raises(pytest.fail.Exception, match=r"fails_by_name.*asked the network for '(192|example)"):
            ask()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        assert one.getpeername()[0] == "127.0.0.1"


def test_an_error_in_a_thread_fails_the_test(tmp_path):
    """Such as that of a thread which asked the network: Python alone would print it and go on."""
    file = tmp_path / "test_a.py"
    file.write_text(
        "import threading\ndef test_a():\n    one = threading.Thread(target=int, args='x')\n    one.start()\n    one.join()"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "invalid literal for int" in done.stdout, done.stdout
