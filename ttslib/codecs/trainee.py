"""A codec as the training loop sees it: what `ttslib.systems` states of a system, as far as learning goes."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct

from ttslib import checkpoint
from ttslib.codecs.mel import MelCodec
from ttslib.dataset import BadClip, Example
from ttslib.losses import masked_l1
from ttslib.params import Params
from ttslib.units import Units

SLOPES = (1, 2, 4)  # mel frames over which differences are compared
CEPSTRA = 13


class Trainee:
    length_of = "mel"

    def __init__(self, p: Params):
        """An untrained codec `p.codec`, its weights drawn from `p.seed`."""
        torch.manual_seed(p.seed)
        self.p, self.codec = p, MelCodec.fresh(p.codec, p.mel_codec)
        self.tokenizer = Units("characters", ())  # a codec reads no text
        self.nets: dict[str, nn.Module] = {"net": self.codec.net}
        self.vocabularies: dict[str, tuple[str, ...]] = {}
        self.adaptation = None
        self.rate, self.frame_seconds = self.codec.rate, self.codec.hop / self.codec.rate

    @property
    def feature_key(self) -> str:
        c = self.codec
        content = ["mel-codec-1", c.rate, c.hop, c.window, c.settings["mels"], c.kind.frames]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: its `mel` `(mels, frames)`, as many frames as its codes have. Raises `BadClip` when it is too short to
        be moved against the grid of codes and still have slopes."""
        mel, least = self.codec.mel(wav).T, self.codec.kind.frames + max(SLOPES) + 1
        if mel.shape[1] < least:
            raise BadClip(f"{mel.shape[1]} mel frames, {least} are needed")
        return {"mel": mel.contiguous()}

    def measure(self, examples: Sequence[Example]) -> None:
        """Per-band mean and standard deviation of the training mels, once, before the first step."""
        count, total, square = 0, 0.0, 0.0
        for example in examples:
            mel = example["mel"].double()
            count, total, square = count + mel.shape[1], total + mel.sum(1), square + mel.square().sum(1)
        mean = total / count
        self.codec.net.mean.copy_(mean)
        self.codec.net.std.copy_((square / count - mean.square()).clamp(min=1e-4).sqrt())

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"codec": [*self.codec.net.parameters()]}

    def factors(self) -> dict[nn.Parameter, float]:
        return {}

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """`mel`: L1 of the log-mels; `slope`: of their differences in time, without which the decoder smears what it is
        unsure of; `cepstra`: of the spectrum's shape; and a VAE's `kl` (nats a latent frame, times `mel_codec.kl`)."""
        mel, lengths = batch["mel"].transpose(1, 2), batch["mel_len"]
        if self.codec.net.training:
            mel, lengths = self.moved(mel, lengths)
        frames = torch.arange(mel.shape[1], device=mel.device)[None]
        mask = frames < lengths[:, None]
        codes = mask[:, :: self.codec.kind.frames]
        again, kl = self.nets["net"](mel, codes[..., None].to(mel.dtype))
        terms = {"mel": masked_l1(again, mel, mask)}
        slopes = [masked_l1(difference(again, n), difference(mel, n), mask[:, n:]) for n in SLOPES]
        terms["slope"] = torch.stack(slopes).mean()
        shape = create_dct(CEPSTRA, mel.shape[2], norm="ortho").to(mel.device)
        terms["cepstra"] = masked_l1(again.float() @ shape, mel.float() @ shape, mask)
        if kl is not None:
            terms["kl"] = self.p.mel_codec.kl * (kl * codes).sum() / codes.sum()
        yield terms

    def moved(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The clips against another grid of codes: without some frames of their first code and the rest of their last.

        A clip's cache knows one position of it; there are as many as a code has mel frames.
        """
        n = self.codec.kind.frames
        start = int(torch.randint(n, ()))
        return (mel[:, start : mel.shape[1] - n + start], lengths - n) if start else (mel, lengths)

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by the sum of the validation terms."""
        return sum(terms.values())

    def state(self) -> dict:
        return {"system": "mel_codec", "params": self.p.model_dump(mode="json"), "codec": self.codec.name}

    def take(self, folder: Path) -> None:
        """The weights of a checkpoint of the run: the averaged ones."""
        weights, _ = checkpoint.trained(folder)
        self.codec.net.load_state_dict({k.removeprefix("net."): v for k, v in weights.items()})
        self.codec.net.eval()

    @torch.no_grad()
    def standardise(self, examples: Sequence[Example]) -> None:
        """Mean and standard deviation of each latent over the training split, so that `encode` gives unit variance."""
        if self.codec.dim is None:
            return
        means = torch.cat([self.codec.encode_mel(example["mel"].T) for example in examples])
        self.codec.net.latent_mean.copy_(means.mean(0))
        self.codec.net.latent_std.copy_(means.std(0).clamp(min=1e-4))


def difference(mel: Tensor, frames: int) -> Tensor:
    """Of `(batch, frames, mels)` at a distance of so many frames."""
    return mel[:, frames:] - mel[:, :-frames]
