"""`python -m ttslib <verb>` (or `ttslib <verb>`): the notebooks' jobs without a notebook.

    prepare  params/am.yaml                    corpus -> manifest and features
    shard    params/am.yaml --out s3://bucket/am    features as shards, for data.shards=s3://bucket/am
    preflight params/am.yaml vocab.base=file   what tokenizers would do to the language, and what to do about it
    merge    params/am.yaml vocab.base=file    -> outputs/am/tokenizer/
    extend   params/am.yaml adapt.base=folder  -> outputs/am/acoustic/extended/
    check    params/am.yaml                    is the pipeline whole? a table, and outputs/am/acoustic/check.json
    train    params/am.yaml minutes=10 run=a   -> outputs/am/acoustic/a/
    compare  params/am.yaml minutes=20 --systems acoustic,t3    a run of each, scored alike -> outputs/am/compare/
    speak    outputs/am/acoustic/a --text "..." --out hello.wav    (or --file sentences.txt --out folder/)
    generate outputs/am/acoustic/a --out folder/    speak a test set, to be resumed: the held-out clips, or --file table.csv
    evaluate outputs/am/acoustic/a             -> scorecard.json: understood? like the recordings? beside their floors
    card     outputs/am/acoustic/a             -> card.md: data, licences, base, scores, fingerprints
    listen   said/a said/b --out folder/       a blind test of folders that `generate` wrote: one page to send to listeners
    opinions folder/test.key.json answers/     what their answers say; as JSON
    feedback folder/test.key.json answers/ --voice a --out feedback.jsonl    what of it can be trained on
    export   outputs/am/acoustic/a --out folder/    or --weights int8, read back before it is believed; --format onnx
    voice    outputs/am/pocket/a --voice me.wav --out me.safetensors    one voice in a file, for the system's own runtime
    bench    params/qaa.yaml tracking=disabled how fast every system trains here, and where the time goes
    validate params/am.yaml                    print the resolved params

After the params file come overrides, key=value in dotted form. Results go to stdout and files, progress to stderr.
"""

import argparse
import sys
from pathlib import Path

from ttslib import params, verbs
from ttslib.stop import STATUS, Stopped


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed with one clear message, 2 wrong usage,
    3 stopped by the forgetting guard, 130/143 by a signal."""
    options = parser().parse_args(arguments)
    try:
        return options.verb(options) or 0
    except expected() as error:
        print(f"error: {error}", file=sys.stderr)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        print("stopped by SIGINT; call again to go on", file=sys.stderr)
        return STATUS["SIGINT"]
    except Exception as error:
        from ttslib import disk, paths

        if not (why := disk.reason(error)):
            raise
        told = f"{why} ({paths.outputs()} or --out); free some and run the same again: what is whole is kept"
        print(f"error: {told} ({error})", file=sys.stderr)
    return 1


def expected() -> tuple[type[Exception], ...]:
    """Errors that are about the user's input and speak for themselves; anything else is a bug and keeps its traceback."""
    from ttslib import (
        adapt,
        audio,
        baselines,
        checkpoint,
        codecs,
        compare,
        dataset,
        deploy,
        disk,
        espeak,
        feedback,
        items,
        listen,
        manifest,
        pairs,
        quality,
        recognise,
        runs,
        shards,
        similarity,
        styles,
        testsets,
        throughput,
        train,
        units,
    )  # fmt: skip
    from ttslib.corpora.clip import CorpusError
    from ttslib.pairs.building import Refused
    from ttslib.pairs.planning import BuildError
    from ttslib.pairs.supertonic import RuntimeMissing

    return (
        params.ParamsError, CorpusError, manifest.ManifestError, dataset.DatasetError, shards.ShardError,
        checkpoint.CheckpointError, runs.RunError, train.TrainError, adapt.AdaptError, units.UnitsError,
        audio.AudioError, espeak.EspeakError, codecs.CodecError, disk.DiskError, items.GenerationError,
        styles.StyleError, RuntimeMissing, Refused, pairs.PairError, BuildError, dataset.BadClip,
        recognise.RecogniserError, similarity.SimilarityError, quality.QualityError, testsets.TestsetError,
        listen.ListenError, listen.SoundError, listen.AnswersError, baselines.BaselineError, feedback.FeedbackError,
        compare.CompareError, throughput.BenchError, deploy.DeployError, FileNotFoundError,
        IsADirectoryError, NotADirectoryError, PermissionError,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="ttslib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parsers = top.add_subparsers(required=True, metavar="verb")
    for name, verb, text in (
        ("prepare", verbs.prepare, "corpus -> manifest and features"),
        ("shard", verbs.shard, "write features as shards, to be streamed in training"),
        ("preflight", verbs.preflight, "what tokenizers would do to the language"),
        ("merge", verbs.merge, "teach a tokenizer the language"),
        ("extend", verbs.extend, "grow a trained model's rows for the language"),
        ("check", verbs.check, "is the training pipeline whole, from the manifest to the export?"),
        ("train", verbs.train, "train a run"),
        ("compare", verbs.compare, "train and score a run of several systems under one budget"),
        ("bench", verbs.bench, "how fast every system trains on this machine, and where the time goes"),
        ("validate", verbs.validate, "check and print resolved params"),
    ):
        sub = parsers.add_parser(name, help=text)
        sub.add_argument("params", nargs="?", help="a params file, or a language that has one in params/")
        sub.add_argument("overrides", nargs="*", metavar="key=value")
        sub.set_defaults(verb=verb)
        if name == "prepare":
            sub.add_argument("--again", action="store_true", help="read the corpus anew even if a manifest exists")
        if name == "shard":
            sub.add_argument("--out", required=True, help="folder or URL (s3://bucket/folder) that has no shards yet")
        if name == "compare":
            sub.add_argument(
                "--systems", help="names, as in acoustic,t3 (default: all that train from scratch and speak)"
            )
        if name == "bench":
            sub.add_argument("--systems", default="acoustic,vits,t3,indextts,pocket,style", help="names, as in t3,vits")
            sub.add_argument("--steps", type=count, default=30, help="of each run; a third warms up and is left out")
            sub.add_argument("--square", type=count, default=2048, help="matrices whose product stands for the peak")
            sub.add_argument("--cpu-seconds", action="store_true", help="of the process, for a machine that others use")
            sub.add_argument("--json", type=Path, help="where to write the rows as JSON")
        if name == "validate":
            sub.add_argument("--document", action="store_true", help="print the text of params/default.yaml instead")
    for name, verb, text in (
        ("card", verbs.card, "write a run's model card"),
        ("speak", verbs.speak, "speak texts with a trained run"),
        ("generate", verbs.generate, "speak a test set with a trained run, and count how it went"),
        ("evaluate", verbs.evaluate, "score a trained run on its held-out clips"),
        ("export", verbs.export, "write a trained run for its own runtime"),
        ("voice", verbs.voice, "write one voice as a file that its own runtime loads"),
    ):
        sub = parsers.add_parser(name, help=text)
        sub.add_argument("run", type=Path, help="a run's folder, or a checkpoint or exported folder")
        sub.set_defaults(verb=verb)
        if name in ("evaluate", "export"):
            sub.add_argument(
                "overrides", nargs="*", metavar="key=value", help="of the run's params, e.g. evaluate.per_set=20"
            )
        if name not in ("evaluate", "card"):
            sub.add_argument("--out", type=Path, required=True, help="where to write")
        if name == "export":
            deployed(sub)
        if name == "voice":
            sub.add_argument("--voice", help="a recording, or a speaker that the run knows (default: the first)")
        if name == "speak":
            given = sub.add_mutually_exclusive_group(required=True)
            given.add_argument("--text", help="one text, written to --out")
            given.add_argument("--file", type=Path, help="one text a line, written to the folder --out")
            sub.add_argument("--voice", help="speaker (default: the first)")
            sub.add_argument("--lang", help="language (default: the first)")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--speaking-rate", type=float, default=1.0, help="2 is twice as fast")
            sub.add_argument(
                "--stream", action="store_true", help="write speech as it comes; --out - gives raw 16-bit samples"
            )
        if name == "generate":
            sub.add_argument("--file", type=Path, help="one text a line, or a table with columns id, text, lang, voice")
            sub.add_argument("--voice", help="speaker (default: a held-out clip's own; of a file's texts, the first)")
            sub.add_argument("--lang", help="language, of a file's texts that name none; of held-out clips, only these")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--limit", type=count, help="no more than so many of them")
            sub.add_argument("--again", action="store_true", help="speak also what is in --out already")
            sub.add_argument("--batch", type=count, default=1, help="so many are spoken together, each as it is alone")
    sub = parsers.add_parser("listen", help="make a blind listening test")
    sub.add_argument("voices", nargs="+", help="folders of `generate`; name=folder to call one otherwise")
    sub.add_argument("--out", type=Path, required=True, help="folder of the page and its key")
    sub.add_argument("--kind", choices=["cmos", "abx", "mushra"], default="cmos")
    sub.add_argument(
        "--reference", type=Path, help="mushra: a run's folder, whose held-out recordings are the reference"
    )
    sub.add_argument("--limit", type=count, help="no more than so many sentences")
    sub.add_argument("--title", default="Listening test")
    sub.set_defaults(verb=verbs.listen)
    for name, verb, text in (
        ("opinions", verbs.opinions, "analyse listeners' answers"),
        ("feedback", verbs.feedback, "make a feedback set of listeners' answers"),
    ):
        sub = parsers.add_parser(name, help=text)
        sub.add_argument("key", type=Path, help="the .key.json that `listen` wrote")
        sub.add_argument("answers", type=Path, help="folder of the listeners' .json")
        sub.set_defaults(verb=verb)
    sub.add_argument("--voice", required=True, help="whose faults: its name in the test")
    sub.add_argument(
        "--corrected", type=Path, help="re-recorded or corrected clips, as corpus.source=custom reads them"
    )
    sub.add_argument("--speaker", help="of corrected clips that name none: one the voice knows")
    sub.add_argument("--lang", help="of texts that name none")
    sub.add_argument("--out", type=Path, required=True, help="the feedback file, for 03_train -p feedback")
    return top


def deployed(sub: argparse.ArgumentParser) -> None:
    """The options of `export`, see docs/deployment.md."""
    sub.add_argument(
        "--weights", choices=["fp32", "bf16", "int8"], default="fp32",
        help="bits of the matrices; fewer than fp32 are read back beside the run's own voice, and refused where they lose",
    )  # fmt: skip
    sub.add_argument(
        "--format", choices=["official", "ttslib", "onnx"], default="official",
        help="for the system's own runtime (default), for ttslib alone, or for onnxruntime",
    )  # fmt: skip
    sub.add_argument(
        "--unchecked", action="store_true", help="nobody reads the lighter weights back; the folder says so"
    )


def count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
