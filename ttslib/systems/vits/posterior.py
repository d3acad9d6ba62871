"""A posterior encoder for a voice that comes without one, learnt from what the voice itself speaks.

Inference-only files (Piper) lack it, and nothing trains without it. The model knows the latents z of all speech that it
makes, so `recover` lets it speak and regresses z from the linear spectrogram by Gaussian likelihood, which is what the
encoder approximates: q(z | spectrogram). All other parameters stay as they are.
"""

import copy
import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VitsConfig, VitsModel

from ttslib import alignment, disk
from ttslib.corpora.progress import bar
from ttslib.systems.vits import features, net
from ttslib.systems.vits.resblocks import with_blocks

CROP, BATCH = 64, 4  # frames, twice what one output sees of each side; clips a step
PEAK, CLIP = 2e-3, 5.0  # learning rate, gradient norm
WARM_UP = 0.1  # of the steps
RECIPE = 1  # part of the cache key: raise it when what is learnt changes


@dataclass(frozen=True)
class Spoken:
    """One sentence by the model: `ids` (n,), frames per token `durations` (n,), latents `z` (c, t), `wav` (t * hop,)
    and its linear spectrogram `spec` (bins, t), all on the CPU."""

    ids: Tensor
    durations: Tensor
    z: Tensor
    wav: Tensor
    spec: Tensor


@torch.no_grad()
def speak(model: VitsModel, ids: Sequence[int], speaker: int | None = None) -> Spoken:
    """The model's own speech for token ids, with the latents and durations behind it; torch's RNG decides."""
    seen = []
    hook = model.duration_predictor.register_forward_hook(lambda module, args, out: seen.append(out[0, 0]))
    try:
        said = model(torch.tensor([list(ids)], device=model.device), speaker_id=speaker)
    finally:
        hook.remove()
    durations = torch.ceil(seen[0].exp() / model.speaking_rate).long()
    spec = features.spectrogram(said.waveform, *features.window_and_hop(model.config))
    tensors = (durations, said.spectrogram[0], said.waveform[0], spec[0])
    return Spoken(torch.tensor(list(ids)), *(tensor.cpu() for tensor in tensors))


def recover(
    model: VitsModel, lines: Sequence[Sequence[int]], steps: int = 400, seed: int = 0, held: int | None = None
) -> tuple[VitsModel, dict]:
    """A copy of the model with a trained posterior encoder, and what it was measured to be worth.

    `lines` are token ids of sentences, as the model reads them; the last `held` (a twelfth) are not trained on. The
    numbers are those of `measure` on these, `before` and after, with `steps`, `sentences`, `audio_seconds`, `seconds`
    (wall) and `loss`. Speakers take turns. The same arguments give the same model on the same device. Raises
    `ValueError` for fewer than two lines or a loss that is not finite.
    """
    held = max(1, len(lines) // 12) if held is None else held
    if not 1 <= held < len(lines) or steps < 1:
        raise ValueError(f"{len(lines)} sentences, {held} held out, {steps} steps: expected at least one of each")
    started, model = time.perf_counter(), copy.deepcopy(model).eval()
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        several = model.config.num_speakers > 1
        voices = [i % model.config.num_speakers if several else None for i in range(len(lines))]
        clips = [speak(model, ids, voice) for ids, voice in zip(lines, voices, strict=True)]
        kept, rest = [*zip(clips, voices, strict=True)][:-held], [*zip(clips, voices, strict=True)][-held:]
        before, loss = measure(model, rest), train(model, kept, steps)
        after = measure(model, rest)
    frames = sum(len(clip.wav) for clip in clips)
    return model, after | {
        "before": before,
        "steps": steps,
        "sentences": len(lines),
        "audio_seconds": round(frames / model.config.sampling_rate, 1),
        "loss": loss,
        "seconds": round(time.perf_counter() - started, 1),
    }


def train(model: VitsModel, clips: list[tuple[Spoken, int | None]], steps: int) -> float:
    """Fit `model.posterior_encoder` to the clips, in place; the mean loss (nats a latent) of the last tenth."""
    encoder, device = model.posterior_encoder.train(), model.device
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=PEAK, betas=(0.8, 0.99), weight_decay=0.01)
    warm = max(1, int(WARM_UP * steps))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * max(0, i - warm) / (steps - warm + 1)))
    )
    lengths, losses = torch.tensor([float(clip.z.shape[1]) for clip, _ in clips]), []
    for step in bar(range(steps), "posterior encoder", unit="step"):
        picked = [clips[i] for i in torch.multinomial(lengths, BATCH, replacement=True)]
        starts = [int(torch.randint(max(1, clip.z.shape[1] - CROP + 1), ())) for clip, _ in picked]
        pieces = [(c.spec[:, s : s + CROP], c.z[:, s : s + CROP]) for (c, _), s in zip(picked, starts, strict=True)]
        frames = torch.tensor([z.shape[1] for _, z in pieces])
        spec, z = (
            torch.stack([torch.nn.functional.pad(x, (0, CROP - x.shape[1])) for x in column]).to(device)
            for column in zip(*pieces, strict=True)
        )
        mask = net.within(frames, CROP)[:, None].float().to(device)
        voice = embedding(model, [voice for _, voice in picked])
        _, mean, log_std = encoder(spec, mask, voice)
        nll = (log_std + 0.5 * (z - mean).square() * torch.exp(-2 * log_std)) * mask
        loss = nll.sum() / (mask.sum() * z.shape[1])
        if not loss.isfinite():
            raise ValueError(f"the loss of the posterior encoder is {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    model.eval()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def embedding(model: VitsModel, voices: list[int | None]) -> Tensor | None:
    """Speaker embeddings `(b, c, 1)`, detached; None in a model of one voice."""
    if voices[0] is None:
        return None
    return model.embed_speaker(torch.tensor(voices, device=model.device))[..., None].detach()


@torch.no_grad()
def measure(model: VitsModel, clips: list[tuple[Spoken, int | None]]) -> dict[str, float]:
    """What the posterior encoder knows of clips, whose latents and durations are known, through its mean m_q.

    `r2`: share of the variance of z explained, about each channel's mean; `mel_l1`: decoder(m_q) against the clip,
    log-mel; `accuracy`: share of frames that the alignment search gives to their true token; `token_error`: mean
    |frames| by which a token is off.
    """
    window, hop = features.window_and_hop(model.config)
    squared = mel = right = off = frames = tokens = 0.0
    latents = []
    for clip, voice in clips:
        spec, z = clip.spec[None].to(model.device), clip.z[None].to(model.device)
        mask, who = torch.ones_like(z[:, :1]), embedding(model, [voice])
        _, mean, _ = model.posterior_encoder(spec, mask, who)
        squared += (z - mean).square().sum().item()
        latents.append(z[0])
        again = features.log_mel(
            features.spectrogram(model.decoder(mean, who)[:, 0], window, hop), model.config.sampling_rate
        )
        mel += (again - features.log_mel(spec, model.config.sampling_rate)).abs().mean(1).sum().item()
        seen = torch.ones_like(clip.ids)[None].to(model.device)
        told = model.text_encoder(clip.ids[None].to(model.device), seen[..., None].float(), seen)
        m_p, logs_p = (x.transpose(1, 2) for x in (told.prior_means, told.prior_log_variances))
        score = net.likelihood(model.flow(mean, mask, who), m_p, logs_p)
        found = alignment.monotonic(score, torch.tensor([score.shape[1]]), torch.tensor([score.shape[2]])).cpu()
        right += (alignment.expand(found)[0] == alignment.expand(clip.durations[None])[0]).sum().item()
        off += (found[0] - clip.durations).abs().sum().item()
        frames, tokens = frames + score.shape[1], tokens + score.shape[2]
    every = torch.cat(latents, 1)
    spread = (every - every.mean(1, keepdim=True)).square().sum().item()
    numbers = {"r2": 1 - squared / spread, "mel_l1": mel / frames, "accuracy": right / frames}
    return {name: round(value, 4) for name, value in (numbers | {"token_error": off / tokens}).items()}


def save(model: VitsModel, folder: Path, about: dict) -> None:
    """config.json, model.safetensors and about.json, complete or not at all. Plain Transformers must not load it where
    `config.resblock` is "2": it would draw residual blocks of its own; `resblocks.stock` is for that."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    disk.sweep(folder.parent, ".writing-*")
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as made:
        made = Path(made) / "model"
        model.config.save_pretrained(made)
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, made / "model.safetensors"
        )
        (made / "about.json").write_text(json.dumps(about, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def load(folder: Path) -> tuple[VitsModel, dict]:
    """What `save` wrote."""
    model = with_blocks(VitsModel(VitsConfig.from_pretrained(folder)))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), json.loads((folder / "about.json").read_text())


def cached(
    folder: Path, model: VitsModel, lines: Sequence[Sequence[int]], steps: int = 400, seed: int = 0
) -> tuple[VitsModel, dict]:
    """As `recover`, from a folder below `folder` where the same arguments have been here before."""
    digest = hashlib.sha256(json.dumps([RECIPE, [list(line) for line in lines], steps, seed]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    place = Path(folder) / digest.hexdigest()[:16]
    if (place / "about.json").is_file():
        return load(place)
    model, numbers = recover(model, lines, steps, seed)
    save(model, place, numbers)
    return model, numbers
