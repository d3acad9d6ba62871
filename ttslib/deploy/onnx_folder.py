"""A folder for onnxruntime: `model.onnx`, and `tokens.json` with all that speaking takes beside it.

What was written is run by onnxruntime and compared with PyTorch's own way of speaking, for texts shorter and longer than the
traced one; above `TOLERANCE` it is refused. examples/onnx_speak.py speaks from the folder without ttslib or torch.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ttslib import audio, checkpoint
from ttslib.deploy import DeployError, graphs
from ttslib.systems.vits.letters import BLANK
from ttslib.units import END, START, Units
from ttslib.vocab.phonemes import Phonemes

OPSET = 18
TRACED = 24  # ids
LENGTHS = (1, 7, TRACED, 4 * TRACED, 300)  # symbols of a text that is compared
TOLERANCE = 1e-3  # natural log units of a mel (0.009 dB), full scale of a waveform (33 steps of 16 bits)
LONGEST = 4096  # ids


def write(system, folder: Path) -> dict:
    """Write and compare; what `export.json` is to say. Raises `DeployError`."""
    tokens = described(system)
    graph, file = of(system), folder / "model.onnx"
    exported(graph, inputs(graph, (symbols(system) * TRACED)[:TRACED]), file)
    checkpoint.write_json(folder / "tokens.json", tokens)
    compared = [*difference(system, graph, file)]
    worst = max(one["max"] for one in compared)
    told = {"format": "onnx", "weights": "fp32", "system": system.p.system, "bytes": {"fp32": file.stat().st_size}}
    told |= {"opset": OPSET, "of": graph.outputs[0], "compared": compared, "max": worst, "tolerance": TOLERANCE}
    if not worst <= TOLERANCE:
        raise DeployError(
            f"--format onnx: onnxruntime's {graph.outputs[0]} is {worst:.2g} from PyTorch's, more than {TOLERANCE}: "
            f"{compared}; give --format ttslib, and report it"
        )
    return told


def of(system):
    """The graph of a system, ready to be traced."""
    if system.p.system == "acoustic":
        return graphs.Acoustic(system.net).eval()
    return graphs.Vits(system.generator.vits).eval()


def exported(graph, given: dict[str, Tensor], file: Path) -> None:
    """Trace the graph with `given` and write it, lengths of text and noise left open."""
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise DeployError("--format onnx needs onnxscript, onnx and onnxruntime: pip install ttslib[onnx]") from None
    count = torch.export.Dim("tokens", min=2, max=LONGEST)
    free = {"ids": {1: count}, "noise": {2: torch.export.Dim("noise_frames", min=1)}, "noise_duration": {2: count}}
    with graphs.traceable(), torch.no_grad():
        made = torch.onnx.export(
            graph, tuple(given.values()), input_names=[*given], output_names=[*graph.outputs],
            dynamic_shapes=tuple(free.get(name) for name in given), opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
        made.save(file)


def symbols(system) -> list[int]:
    """Ids that stand for something that is spoken."""
    return [*spelling(system).values()]


def spelling(system) -> dict[str, int]:
    """Characters (or the characters of phonemes) and their ids; names of several characters are never spelt."""
    read = system.tokenizer
    apart = {*read.roles.values()} - {" "} if isinstance(read, Phonemes) else set()  # MMS has a letter as padding
    return {name: i for i, name in enumerate(read.symbols) if len(name) == 1 and name not in apart}


def inputs(graph, ids: list[int], speaker: int = 0, language: int = 0, rate: float = 1.0, frames: int = 64) -> dict:
    """Tensors by name, in the graph's order; all noise 0."""
    every = {
        "ids": torch.tensor([ids]),
        "speaker": torch.tensor([speaker]),
        "language": torch.tensor([language]),
        "rate": torch.tensor(rate),
    }
    if isinstance(graph, graphs.Vits):
        every["noise"] = torch.zeros(1, graph.vits.config.flow_size, frames)
        every["noise_duration"] = torch.zeros(1, 2, len(ids))
    return {name: every[name] for name in graph.inputs}


def difference(system, graph, file: Path) -> Iterator[dict]:
    """For texts of `LENGTHS` symbols drawn from the vocabulary, as the first and the last voice: how far onnxruntime is
    from PyTorch, `max` and `mean`. Infinitely far where the two count other frames."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    draw, known = np.random.default_rng(system.p.seed), symbols(system)
    frame = recipe(system)
    for count in LENGTHS:
        for speaker in sorted({0, len(system.speakers) - 1}) if many(system) else (0,):
            text = draw.choice(known, count).tolist()
            ids = [*frame["before"], *(i for x in text for i in (x, *frame["after"])), *frame["end"]]
            language, rate = len(system.languages) - 1, float(draw.choice([0.8, 1.0, 1.25]))
            given = inputs(graph, ids, speaker, language, rate)
            with torch.no_grad():
                expected = reference(system, session, given)
            found = run(session, given)[0]
            told = {"ids": len(ids), "speaker": speaker, "rate": rate, "length": expected.shape[-1]}
            if found.shape != expected.shape:
                yield told | {"max": float("inf"), "mean": float("inf"), "length_onnx": found.shape[-1]}
                continue
            off = np.abs(found - expected.numpy())
            yield told | {"max": float(off.max()), "mean": float(off.mean())}


def many(system) -> bool:
    return len(system.speakers) > 1 and getattr(getattr(system, "config", None), "num_speakers", 2) > 1


def run(session, given: dict[str, Tensor]) -> list[np.ndarray]:
    """Everything the graph gives; an input that it does not read (one speaker has no number) is not in it."""
    wanted = {one.name for one in session.get_inputs()}
    return session.run(None, {name: value.numpy() for name, value in given.items() if name in wanted})


def reference(system, session, given: dict[str, Tensor]) -> Tensor:
    """PyTorch's own speech of the same ids, by the path that `synthesize` takes; where it draws, the same noise is put into
    `given`."""
    if system.p.system == "acoustic":
        return system.net.infer(given["ids"], given["speaker"], given["language"], given["rate"].item())[0]
    vits, v = system.generator.vits, system.p.vits
    vits.noise_scale, vits.noise_scale_duration = v.noise, v.noise_duration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(system.p.seed)  # what VitsModel draws, in its order and its layout
        if vits.config.use_stochastic_duration_prediction:
            given["noise_duration"] = torch.randn(given["noise_duration"].shape) * v.noise_duration
        frames = int(run(session, given)[1].sum())
        means = torch.empty(1, frames, vits.config.flow_size).transpose(1, 2)
        given["noise"] = torch.randn_like(means).contiguous() * v.noise
        torch.manual_seed(system.p.seed)
        speaker = given["speaker"].item() if vits.config.num_speakers > 1 else None
        return system.generator.infer(given["ids"], speaker, given["rate"].item())[None]


def recipe(system) -> dict[str, list[int]]:
    """Ids around the symbols of a text: `before` all, `after` each, at the `end`."""
    names = system.tokenizer.symbols
    if system.p.system == "acoustic":
        return {"before": [names.index(START)], "after": [], "end": [names.index(END)]}
    roles = system.tokenizer.roles if isinstance(system.tokenizer, Phonemes) else {}
    if {"start", "end"} <= roles.keys():  # Piper's
        start, end = (names.index(roles[role]) for role in ("start", "end"))
        return {"before": [start, BLANK], "after": [BLANK], "end": [end]}
    blank = [BLANK] if system.blanks else []
    return {"before": blank, "after": blank, "end": []}


def described(system) -> dict:
    """`tokens.json`. Raises `DeployError` for a tokenizer file, whose merges no table of symbols tells."""
    read = system.tokenizer
    if system.p.system == "acoustic" and not isinstance(read, Units):
        raise DeployError(
            "--format onnx: tokens.json lists characters or phonemes, this run reads a tokenizer file; give --format "
            "ttslib, or train with text.units=characters"
        )
    told = {
        "system": system.p.system, "rate": system.rate, "reads": read.kind, "recipe": recipe(system),
        "symbols": spelling(system),
        "text": {
            "normaliser": read.versions, "homophones_folded": read.homophones,
            "lower_case": system.p.system == "vits" and read.kind == "characters",
            "romanised": bool(getattr(read, "uroman", False)),
        },
        "speakers": {name: i if many(system) else 0 for i, name in enumerate(system.speakers)},
        "languages": {name: i for i, name in enumerate(system.languages)},
    }  # fmt: skip
    if system.p.system == "acoustic":
        a = system.p.acoustic
        scale = {"scale": "slaney", "norm": "slaney", "power": 1, "log": "natural", "floor": audio.LOG_FLOOR}
        told["mel"] = {"bands": a.mels, "window": a.window, "hop": a.hop, "griffin_lim": a.griffin_lim} | scale
    else:
        v = system.p.vits
        told["noise"] = {"channels": system.config.flow_size, "scale": v.noise, "scale_duration": v.noise_duration}
    return told
