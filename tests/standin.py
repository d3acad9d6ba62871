"""A folder in the layout of Supertonic with small graphs of the official signatures, for where its weights are not.

What it speaks is a tone. Its length follows from the text and `style_dp`, its pitch from `style_ttl` and the noise, its
loudness from the text, as these formulas say:

    seconds = 0.04 * characters * (1 + 0.5 * style_dp[0, 0]) / speed
    hertz   = 200 + 100 * (8 / 9 * style_ttl[0, 0] + 1 / 9 * mean of the noise)

Like the real vocoder's, its audio ends with the last latent frame, after those seconds.
"""

import json
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ttslib import styles
from ttslib.pairs.supertonic import Supertonic
from ttslib.styles import SHAPES, Style

RATE, FRAME, WIDTH = 44100, 512 * 6, 256
CHARACTERS = " !\"'(),-./0123456789:;<>?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\u0301\u0302"
NAMES = tuple(f"{sex}{number}" for sex in "FM" for number in range(1, 6))


def presets(seed: int = 0, model: str = "supertonic-3", names: tuple[str, ...] = NAMES) -> dict[str, Style]:
    """Random styles of unit rows, almost parallel like real ones, whose first numbers differ well."""
    rng = np.random.default_rng(seed)
    mean = {name: styles.unit(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    made = {}
    for number, name in enumerate(names):
        rows = [styles.unit(base + 0.3 * styles.unit(rng.normal(size=base.shape))) for base in mean.values()]
        for array in rows:
            array[0] = 0
            array[0, :2] = np.cos(angle := np.pi * (number + 1) / (len(names) + 1)), np.sin(angle)
        made[name] = Style.of(*rows, model)
    return made


def seconds(text: str, style: Style, lang: str = "en", speed: float = 1.05) -> float:
    """How long the text takes, which ends with punctuation and needs no other cleaning."""
    return 0.04 * len(f"<{lang}>{text}</{lang}>") * (1 + 0.5 * float(style.dp[0, 0])) / speed


def hertz(style: Style) -> float:
    """The pitch without noise."""
    return 200 + 100 * 8 / 9 * float(style.ttl[0, 0])


def write(folder: Path, model: str = "supertonic-3", named: str = "") -> Path:
    """A whole model folder; `named` is the model that its voice styles name (the vendor's name none)."""
    (folder / "onnx").mkdir(parents=True)
    for name, graph in graphs().items():
        onnx.save(graph, folder / "onnx" / f"{name}.onnx")
    ids = [CHARACTERS.find(chr(code)) for code in range(128)] + [-1] * (2**16 - 128)
    ids[0x301], ids[0x302] = CHARACTERS.index("\u0301"), CHARACTERS.index("\u0302")
    (folder / "onnx/unicode_indexer.json").write_text(json.dumps(ids))
    numbers = {
        "ae": {"sample_rate": RATE, "base_chunk_size": 512},
        "ttl": {"chunk_compress_factor": 6, "latent_dim": 24},
    }
    (folder / "onnx/tts.json").write_text(json.dumps(numbers))
    for name, style in presets(model=named).items():
        styles.write(folder / "voice_styles" / f"{name}.json", style, source_file=f"{name}.wav")
    return folder


def graphs() -> dict[str, onnx.ModelProto]:
    ids, mask = ("text_ids", TensorProto.INT64, ["B", "T"]), floats("text_mask", "B", 1, "T")
    ttl, dp = floats("style_ttl", "B", *SHAPES["style_ttl"]), floats("style_dp", "B", *SHAPES["style_dp"])
    latent, latent_mask = floats("noisy_latent", "B", 144, "L"), floats("latent_mask", "B", 1, "L")
    emb, steps = floats("text_emb", "B", WIDTH, "T"), [floats("current_step", "B"), floats("total_step", "B")]
    table = np.random.default_rng(1).normal(size=(len(CHARACTERS), WIDTH)).astype(np.float32)
    pace = {
        "twice": np.int64([1, 2]), "zero": np.int64([0]), "flat": np.int64([-1]), "each": 0.04, "half": 0.5, "one": 1.0,
    }  # fmt: skip
    sound = {
        "begin": np.int64([0]), "end": np.int64([1]), "after": np.int64([2]), "channel": np.int64([1]),
        "nothing": np.int64(0), "single": np.int64(1), "frame": np.int64(FRAME),
        "turn": 2 * np.pi / RATE, "hundred": 100.0, "deep": 200.0, "quiet": 0.3, "louder": 0.1,
    }  # fmt: skip
    return {
        "duration_predictor": model(
            [ids, dp, mask],
            floats("duration", "B"),
            pace,
            ("ReduceSum", "text_mask twice", "count", {"keepdims": 0}),
            *first("style_dp", "pace"),
            ("Mul", "pace half", "less"),
            ("Add", "less one", "slow"),
            ("Mul", "count each", "even"),
            ("Mul", "even slow", "duration"),
        ),
        "text_encoder": model(
            [ids, ttl, mask],
            emb,
            {"table": table},  # Gather takes -1 for the last row, as in the real one
            ("Gather", "table text_ids", "rows", {"axis": 0}),
            ("Transpose", "rows", "across", {"perm": [0, 2, 1]}),
            ("Mul", "across text_mask", "text_emb"),
        ),
        "vector_estimator": model(
            [latent, emb, ttl, latent_mask, mask, *steps],
            floats("denoised_latent", "B", 144, "L"),
            {"flat": np.int64([-1]), "zero": np.int64([0]), "one": 1.0, "column": np.int64([-1, 1, 1])},
            *first("style_ttl", "pitch"),
            ("Reshape", "pitch column", "pitches"),
            ("ReduceMean", "text_emb", "said", {"axes": [1, 2], "keepdims": 1}),
            # Channel 0 of a target frame is the pitch, channel 1 the text, the others are 0.
            ("Concat", "pitches said", "told", {"axis": 1}),
            ("Pad", "told padding", "target"),
            ("Sub", "target noisy_latent", "way"),
            ("Sub", "total_step current_step", "left"),
            ("Add", "left one", "parts"),
            ("Reshape", "parts column", "shares"),
            ("Div", "way shares", "step"),
            ("Add", "noisy_latent step", "next"),
            ("Mul", "next latent_mask", "denoised_latent"),
            padding=np.int64([0, 0, 0, 0, 142, 0]),
        ),
        "vocoder": model(
            [floats("latent", "B", 144, "L")],
            floats("wav_tts", "B", "N"),
            sound,
            ("Slice", "latent begin end channel", "tones"),
            ("ReduceMean", "tones", "tone", {"axes": [1, 2], "keepdims": 0}),
            ("Slice", "latent end after channel", "levels"),
            ("ReduceMean", "levels", "level", {"axes": [2], "keepdims": 0}),
            ("Mul", "tone hundred", "above"),
            ("Add", "above deep", "hertz"),
            ("Shape", "latent", "frames", {"start": 2}),
            ("Mul", "frames frame", "counts"),
            ("ReduceMax", "counts", "count", {"keepdims": 0}),
            ("Range", "nothing count single", "at"),
            ("Cast", "at", "instants", {"to": TensorProto.FLOAT}),
            ("Mul", "instants turn", "angles"),
            ("Unsqueeze", "hertz channel", "rates"),
            ("Mul", "rates angles", "phases"),
            ("Sin", "phases", "wave"),
            ("Tanh", "level", "bent"),
            ("Mul", "bent louder", "more"),
            ("Add", "more quiet", "loud"),
            ("Mul", "wave loud", "wav_tts"),
        ),
    }


def first(style: str, name: str) -> list[tuple]:
    """Nodes for the first number of a style, `(B,)`."""
    return [
        ("Flatten", style, f"{name}_row", {"axis": 1}),
        ("Gather", f"{name}_row zero", f"{name}_column", {"axis": 1}),
        ("Reshape", f"{name}_column flat", name),
    ]


def floats(name: str, *shape) -> tuple:
    return name, TensorProto.FLOAT, list(shape)


def model(inputs: list, output: tuple, constants: dict, *nodes: tuple, **more) -> onnx.ModelProto:
    """A checked model of `(operator, inputs, output, attributes)`."""
    known = {n: np.float32(v) if isinstance(v, float) else np.asarray(v) for n, v in (constants | more).items()}
    made = [helper.make_node(op, of.split(), [out], **(rest[0] if rest else {})) for op, of, out, *rest in nodes]
    values = [numpy_helper.from_array(np.asarray(v), n) for n, v in known.items()]
    ins, outs = ([helper.make_tensor_value_info(*one) for one in some] for some in (inputs, [output]))
    graph = helper.make_graph(made, "standin", ins, outs, values)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(whole, full_check=True)
    return whole


class Slow(Supertonic):
    """Takes its time, so that a test can kill it in the middle."""

    def speak(self, *asked) -> np.ndarray:
        time.sleep(0.05)
        return super().speak(*asked)
