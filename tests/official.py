"""The packages of the published models, as references to compare with: no part of what is shipped."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

from ttslib.codecs import indextts, published

MISSING = "is not installed (requirements-parity.txt)"


def chatterbox() -> types.ModuleType:
    """`chatterbox` as a bare package, so that its parts can be imported one by one; skips the test where it is not there.

    Its own `__init__` is passed over: it imports the whole runtime (watermarker, diffusers, speech tokenizer), pinned to
    versions of its own, for what a reference does not need.
    """
    if "chatterbox" not in sys.modules:
        found = importlib.util.find_spec("chatterbox")
        if found is None:
            pytest.skip("the package chatterbox-tts is not installed (pip install --no-deps chatterbox-tts)")
        bare = types.ModuleType("chatterbox")
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules["chatterbox"] = bare
    return sys.modules["chatterbox"]


def needs(package: str):
    """Skip unless a package is there. `importorskip` would run its `__init__`, which wants far more than is used."""
    return pytest.mark.skipif(not there(package), reason=f"{package} {MISSING}")


def there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def index_codec(folder: Path, codes: int = 64) -> tuple[nn.Module, nn.Module, dict[str, torch.Tensor]]:
    """Write small random weights of what makes IndexTTS2's codes into a folder, in the layout in which they are published:
    RepCodec, w2v-bert with 18 layers of 16 channels, and the mean and variance of its states. All three are given back."""
    package = published.imported("indextts.utils.maskgct.models.codec.kmeans.repcodec_model", indextts.INSTALL)
    config = Wav2Vec2BertConfig(
        hidden_size=16, num_hidden_layers=18, num_attention_heads=2, intermediate_size=16, conv_depthwise_kernel_size=5,
        feature_projection_input_dim=160,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        repcodec = package.RepCodec(
            codebook_size=codes, hidden_size=16, codebook_dim=4, vocos_dim=8, vocos_intermediate_dim=24,
            vocos_num_layers=2,
        ).eval()  # fmt: skip
        nn.init.normal_(repcodec.encoder[1].weight)
        w2v = Wav2Vec2BertModel(config).eval()
        stats = {"mean": torch.randn(16), "var": torch.rand(16) + 0.5}
    (folder / "semantic_codec").mkdir()
    save_file(repcodec.state_dict(), folder / "semantic_codec" / "model.safetensors")
    torch.save(stats, folder / indextts.STATS)
    w2v.save_pretrained(folder / indextts.W2V)
    SeamlessM4TFeatureExtractor().save_pretrained(folder / indextts.W2V)
    return repcodec, w2v, stats
