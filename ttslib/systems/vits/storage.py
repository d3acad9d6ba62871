"""A `System` in files: its checkpoints and exports."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import VitsConfig

from ttslib import adapt, checkpoint
from ttslib.systems.vits import net, published
from ttslib.systems.vits.resblocks import stock

DISCRIMINATOR = "discriminator.safetensors"


def export(system, folder: Path) -> Path:
    """Write what Transformers' `VitsModel` and `VitsTokenizer` read, and beside it `system.json` and the discriminator
    (`discriminator.safetensors`), with which `load` can also train on.

    A voice of phonemes reads IPA there (Transformers phonemizes American English alone); Piper's own layout of ids, with
    symbols for start and end, is not what that tokenizer gives: take `System.ids`.

    A decoder with Piper's blocks is written in the wider form that says the same in stock ones; only checkpoints keep the
    small form.
    """
    v, plain = system.p.vits, net.build(VitsConfig.from_dict(system.config.to_dict()))
    plain.load_state_dict({k.removeprefix("vits."): w for k, w in adapt.plain(system.generator).items()})
    plain = stock(plain)
    plain.config.noise_scale, plain.config.noise_scale_duration = v.noise, v.noise_duration
    text = (system.vocabularies, system.tokenizer, system.blanks, system.languages[0])
    published.write(folder, plain.config, plain.state_dict(), *text)
    state = system.state() | {"config": plain.config.to_dict()}
    state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
    checkpoint.write_json(folder / "system.json", state)
    if system.discriminator is not None:
        checkpoint.write_weights(folder / DISCRIMINATOR, adapt.plain(system.discriminator), {})
    return folder


def load(cls, folder: Path):
    """The system of a checkpoint or export, LoRA updates merged. Raises `CheckpointError`."""
    weights, state = checkpoint.trained(folder)
    system = cls.restore(state)
    checkpoint.same_vocabulary(folder, system.vocabularies)
    if not any(name.startswith("generator.") for name in weights):  # an export
        weights = {f"generator.vits.{k}": v for k, v in weights.items()}
        if system.discriminator is not None:
            weights |= {f"discriminator.{k}": v for k, v in judge(folder / DISCRIMINATOR).items()}
    for name, module in system.nets.items():
        own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        adapt.load_plain(name, module, own, system.adaptation)
        module.eval()
    return system


def judge(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, FileNotFoundError) as error:
        raise checkpoint.CheckpointError(
            f"{file}: missing or damaged ({error}); it was exported with the voice"
        ) from None
