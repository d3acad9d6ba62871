"""Mimi of Pocket TTS through its package: 24 kHz in and out, latents of 32 numbers, 12.5 a second, no quantiser.

    pocket=kyutai/pocket-tts              # the English model's, at the revision that the package names
    pocket=kyutai/pocket-tts#french       # another language's: the name of a config in the package
    pocket=<folder>                       # model.safetensors, and the config (one .yaml) if it is not English's
    pocket=<hub id or file>

The parts of the package are imported without the package itself, which would set torch to one thread for good.

The file is a whole `TTSModel` (of which `mimi.*` is read) or a Mimi alone. Training needs the weights of the gated
repository `kyutai/pocket-tts` (accept its terms, then `hf auth login`): in the open `...-without-voice-cloning` the
encoder is all zeros, so that every recording gets the same latents. Such a file is refused.

Latents are as the encoder gives them; the language model of Pocket TTS normalises them with statistics of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor, nn

from ttslib.codecs import CodecError
from ttslib.codecs.published import Published, digest, imported, located

INSTALL = "pocket-tts==4.0.1"
OFFICIAL = "kyutai/pocket-tts"
ENCODER = ("encoder.", "encoder_transformer.", "downsample.")


def load(source: str, kind: str) -> "Pocket":
    """Raises `CodecError` when weights, config or package are missing, or the encoder is not in the weights."""
    configs = imported("pocket_tts.utils.config", INSTALL)
    place, _, language = source.partition("#")
    shipped = configs.CONFIGS_DIR / f"{language or 'english'}.yaml"
    if not shipped.is_file():
        there = ", ".join(sorted(path.stem for path in configs.CONFIGS_DIR.glob("*.yaml")))
        raise CodecError(f"{kind}={source}: no config {language!r} in the package; there are {there}")
    own = sorted(Path(place).glob("*.yaml")) if Path(place).is_dir() else []
    if len(own) > 1:
        raise CodecError(f"{place}: {len(own)} configs in this folder, not one: {', '.join(path.name for path in own)}")
    config = settings(own[0] if own else shipped, configs)
    official = str(config.weights_path).removeprefix("hf://")  # kyutai/pocket-tts/languages/...@revision
    path = located(official if place == OFFICIAL else place, ("model.safetensors",))
    return Pocket(path, config.mimi, f"{kind}={source}")


def settings(path: Path, configs) -> object:
    """A config file of the package as its own class. Raises `CodecError`."""
    try:
        return configs.Config(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise CodecError(f"{path}: no config of pocket-tts: {' '.join(str(error).split()[:30])}") from error


class Pocket(Published):
    def __init__(self, path: Path, config, where: str) -> None:
        """`config` is the section `mimi` of a config of the package."""
        about = config.model_dump(mode="json", exclude={"weights_path"}, exclude_unset=True)
        super().__init__("pocket", where, digest([path], mimi=about))
        if config.inner_dim != config.quantizer.dimension:  # english_2026-01
            raise CodecError(
                f"{where}: its encoder gives {config.inner_dim or config.seanet.dimension} numbers a frame and its decoder "
                f"takes {config.quantizer.dimension}; this version was published without the projection between them"
            )
        self.network = network(path, config)
        self.rate = self.rate_out = config.sample_rate
        self.frame_rate, self.dim = config.frame_rate, config.inner_dim
        self.stateful = imported("pocket_tts.modules.stateful_module", INSTALL)
        for name, module in self.network.named_modules():  # as TTSModel does: a streaming state is kept by name
            if isinstance(module, self.stateful.StatefulModule):
                module._module_absolute_name = name

    @torch.no_grad()
    def encode(self, wav: Tensor) -> Tensor:
        """`(ceil(samples / 1920), 32)` float32; the last frame is filled up with zeros."""
        wav = self.samples(wav)[None, None].to(self.device)
        return self.network.encode_to_latent(wav)[0].float().cpu()

    @torch.no_grad()
    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """1920 samples for each of the latents `(frames, 32)`, the first 5 ms faded in as the package does (its decoder
        starts with a small step); `voice` and `seed` change nothing."""
        latents = self.latents(codes)
        return next(self.stream([latents], len(latents)))

    @torch.no_grad()
    def stream(self, frames: Iterable[Tensor], most: int) -> Iterator[Tensor]:
        """`decode` of latents as they come, `(32,)` or several `(frames, 32)`, no more than `most` frames: 1920 samples for
        each at once. Frame by frame they are those of one call up to rounding."""
        each = round(self.network.encoder_frame_rate / self.network.frame_rate)
        state = self.stateful.init_states(self.network, 1, most * each)
        state = {name: {key: value.to(self.device) for key, value in part.items()} for name, part in state.items()}
        fade = torch.linspace(0, 1, self.rate // 200)
        for some in frames:
            latents = self.latents(some.reshape(-1, self.dim))[None].to(self.device)
            wav = self.network.decode_from_latent(latents, state).reshape(-1).float().cpu()
            self.stateful.increment_steps(self.network, state, latents.shape[1] * each)
            yield torch.cat([wav[: len(fade)] * fade, wav[len(fade) :]])
            fade = fade[:0]


def network(path: Path, config) -> nn.Module:
    """The package's MimiModel with the weights of a file. Raises `CodecError` for a file without an encoder."""
    mimi = imported("pocket_tts.models.mimi", INSTALL)
    reading = imported("pocket_tts.utils.weights_loading", INSTALL)
    try:
        weights = reading.get_mimi_state_dict(path)
    except (SafetensorError, KeyError) as error:
        raise CodecError(f"{path}: cannot be read as weights of pocket-tts: {error}") from error
    for part in ENCODER:
        there = [value for name, value in weights.items() if name.startswith(part)]
        if not any(value.any() for value in there):
            raise CodecError(
                f"{path}: the {part.removesuffix('.')} of Mimi is {'all zeros' if there else 'missing'}, so nothing can be "
                f"encoded; these are the open weights, the whole ones are in {OFFICIAL} (accept its terms, hf auth login)"
            )
    made = mimi.build_mimi(config)
    try:
        made.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CodecError(f"{path}: weights do not fit the config: {' '.join(str(error).split()[:30])}") from error
    return made.eval()
