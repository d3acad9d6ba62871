"""`python -m ttslib <verb>` (or `ttslib <verb>`): the notebooks' jobs without a notebook.

    prepare  params/am.yaml                    corpus -> manifest and features
    preflight params/am.yaml vocab.base=file   what tokenizers would do to the language, and what to do about it
    merge    params/am.yaml vocab.base=file    -> outputs/am/tokenizer/
    extend   params/am.yaml adapt.base=folder  -> outputs/am/acoustic/extended/
    check    params/am.yaml                    is the pipeline whole? a table, and outputs/am/acoustic/check.json
    train    params/am.yaml minutes=10 run=a   -> outputs/am/acoustic/a/
    speak    outputs/am/acoustic/a --text "..." --out hello.wav    (or --file sentences.txt --out folder/)
    generate outputs/am/acoustic/a --out folder/    speak a test set, to be resumed: the held-out clips, or --file table.csv
    evaluate outputs/am/acoustic/a             -> scorecard.json: understood? like the recordings? beside their floors
    card     outputs/am/acoustic/a             -> card.md: data, licences, base, scores, fingerprints
    listen   said/a said/b --out folder/       a blind test of folders that `generate` wrote: one page to send to listeners
    opinions folder/test.key.json answers/     what their answers say; as JSON
    feedback folder/test.key.json answers/ --voice a --out feedback.jsonl    what of it can be trained on
    export   outputs/am/acoustic/a --out folder/
    voice    outputs/am/pocket/a --voice me.wav --out me.safetensors    one voice in a file, for the system's own runtime
    validate params/am.yaml                    print the resolved params

After the params file come overrides, key=value in dotted form. Results go to stdout and files, progress to stderr.
"""

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

from ttslib import params


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed with one clear message, 2 wrong usage,
    3 stopped by the forgetting guard, 130/143 by a signal."""
    options = parser().parse_args(arguments)
    try:
        return options.verb(options) or 0
    except expected() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def expected() -> tuple[type[Exception], ...]:
    """Errors that are about the user's input and speak for themselves; anything else is a bug and keeps its traceback."""
    from ttslib import (
        adapt,
        audio,
        baselines,
        checkpoint,
        codecs,
        dataset,
        espeak,
        feedback,
        items,
        listen,
        manifest,
        pairs,
        quality,
        recognise,
        runs,
        similarity,
        styles,
        testsets,
        train,
        units,
    )  # fmt: skip
    from ttslib.corpora.clip import CorpusError
    from ttslib.pairs.building import Refused
    from ttslib.pairs.planning import BuildError
    from ttslib.pairs.supertonic import RuntimeMissing

    return (
        params.ParamsError, CorpusError, manifest.ManifestError, dataset.DatasetError, checkpoint.CheckpointError,
        runs.RunError, train.TrainError, adapt.AdaptError, units.UnitsError, audio.AudioError, espeak.EspeakError,
        codecs.CodecError, items.GenerationError, styles.StyleError, RuntimeMissing, Refused, pairs.PairError, BuildError,
        dataset.BadClip, recognise.RecogniserError, similarity.SimilarityError, quality.QualityError, testsets.TestsetError,
        listen.ListenError, listen.SoundError, listen.AnswersError, baselines.BaselineError, feedback.FeedbackError,
        FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="ttslib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(required=True, metavar="verb")
    for name, verb, text in (
        ("prepare", prepare, "corpus -> manifest and features"),
        ("preflight", preflight, "what tokenizers would do to the language"),
        ("merge", merge, "teach a tokenizer the language"),
        ("extend", extend, "grow a trained model's rows for the language"),
        ("check", check, "is the training pipeline whole, from the manifest to the export?"),
        ("train", train, "train a run"),
        ("validate", validate, "check and print resolved params"),
    ):
        sub = verbs.add_parser(name, help=text)
        sub.add_argument("params", nargs="?", help="a params file, or a language that has one in params/")
        sub.add_argument("overrides", nargs="*", metavar="key=value")
        sub.set_defaults(verb=verb)
        if name == "prepare":
            sub.add_argument("--again", action="store_true", help="read the corpus anew even if a manifest exists")
        if name == "validate":
            sub.add_argument("--document", action="store_true", help="print the text of params/default.yaml instead")
    for name, verb, text in (
        ("card", card, "write a run's model card"),
        ("speak", speak, "speak texts with a trained run"),
        ("generate", generate, "speak a test set with a trained run, and count how it went"),
        ("evaluate", evaluate, "score a trained run on its held-out clips"),
        ("export", export, "write a trained run for its own runtime"),
        ("voice", voice, "write one voice as a file that its own runtime loads"),
    ):
        sub = verbs.add_parser(name, help=text)
        sub.add_argument("run", type=Path, help="a run's folder, or a checkpoint or exported folder")
        sub.set_defaults(verb=verb)
        if name == "evaluate":
            sub.add_argument(
                "overrides", nargs="*", metavar="key=value", help="of the run's params, e.g. evaluate.per_set=20"
            )
        elif name != "card":
            sub.add_argument("--out", type=Path, required=True, help="where to write")
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
        if name == "generate":
            sub.add_argument("--file", type=Path, help="one text a line, or a table with columns id, text, lang, voice")
            sub.add_argument("--voice", help="speaker (default: a held-out clip's own; of a file's texts, the first)")
            sub.add_argument("--lang", help="language, of a file's texts that name none; of held-out clips, only these")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--limit", type=count, help="no more than so many of them")
            sub.add_argument("--again", action="store_true", help="speak also what is in --out already")
    sub = verbs.add_parser("listen", help="make a blind listening test")
    sub.add_argument("voices", nargs="+", help="folders of `generate`; name=folder to call one otherwise")
    sub.add_argument("--out", type=Path, required=True, help="folder of the page and its key")
    sub.add_argument("--kind", choices=["cmos", "abx", "mushra"], default="cmos")
    sub.add_argument(
        "--reference", type=Path, help="mushra: a run's folder, whose held-out recordings are the reference"
    )
    sub.add_argument("--limit", type=count, help="no more than so many sentences")
    sub.add_argument("--title", default="Listening test")
    sub.set_defaults(verb=listen)
    for name, verb, text in (
        ("opinions", opinions, "analyse listeners' answers"),
        ("feedback", feedback, "make a feedback set of listeners' answers"),
    ):
        sub = verbs.add_parser(name, help=text)
        sub.add_argument("key", type=Path, help="the .key.json that `listen` wrote")
        sub.add_argument("answers", type=Path, help="folder of the listeners' .json")
        sub.set_defaults(verb=verb)
    sub.add_argument("--voice", required=True, help="whose faults: its name in the test")
    sub.add_argument(
        "--corrected", type=Path, help="re-recorded or corrected clips, as corpus.source=custom reads them"
    )
    sub.add_argument("--out", type=Path, required=True, help="the feedback file, for 03_train -p feedback")
    return top


def count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def resolved(options) -> params.Params:
    if options.params is None:
        raise params.ParamsError("no params file given, e.g. python -m ttslib train params/am.yaml")
    return params.load(options.params, options.overrides)


def prepare(options) -> None:
    """Under `accelerate launch` all compute codes; the first makes manifest and features, the others wait up to a day."""
    import torch
    from accelerate import PartialState

    from ttslib import codecs, manifest, pipeline, session

    p = resolved(options)
    state = PartialState(cpu=p.device == "cpu", timeout=timedelta(days=1))
    if state.num_processes > 1:
        torch.set_num_threads(p.threads or max(1, session.cores() // state.num_processes))
    with state.main_process_first():
        found = manifest.prepare(p, again=options.again and state.is_main_process)
    system = pipeline.beginning(p, found.split("train"))
    p, rows = system.p, [*found.split("train"), *found.split("val")]
    told = {"manifest": str(found.folder), "totals": found.totals()}
    codec = codecs.of(p) if (own := getattr(system, "codec", None)) is None and p.codec is not None else own
    if codec is not None:
        pipeline.codes(codec, found, rows, p, state.process_index, state.num_processes)
        state.wait_for_everyone()
    if not state.is_main_process:
        return
    for split in ("train", "val"):
        pipeline.features(system, found, split, p)
    if codec is not None:
        kept = pipeline.codes(codec, found, rows, p)  # of all processes
        told["codec"] = kept.summary()
    print(json.dumps(told, ensure_ascii=False))


def preflight(options) -> None:
    from ttslib import extension, manifest

    p = resolved(options)
    for row in extension.checked(p, manifest.prepare(p)):
        print(json.dumps(row, ensure_ascii=False))


def merge(options) -> None:
    from ttslib import extension, manifest

    p = resolved(options)
    done = extension.merged(p, manifest.prepare(p))
    print(json.dumps({"tokenizer": str(extension.tokenizer_folder(p) / "merged"), "changed": done.report.changed}))


def extend(options) -> None:
    from ttslib import extension

    print(extension.grow(resolved(options)).folder)


def check(options) -> int:
    from ttslib import checks

    rows = checks.run(resolved(options))
    print(checks.table(rows))
    return int(any(row.passed is False for row in rows))


def train(options) -> int:
    from ttslib import pipeline

    p = resolved(options)
    done = pipeline.train(p, watch=say)
    print(json.dumps({"run": str(done.run.folder), **vars(done.result)}))
    if p.feedback and done.result.stopped not in ("SIGTERM", "SIGINT"):
        from ttslib import manifest
        from ttslib.feedback import comparing

        for row in comparing.of_run(done, p, manifest.prepare(p)):
            print(json.dumps(row, ensure_ascii=False))
    return {"SIGTERM": 143, "SIGINT": 130, "forgetting": 3}.get(done.result.stopped, 0)


def say(rows: list[dict]) -> None:
    """The newest history row as one line on stderr."""
    row = rows[-1]
    shown = {k: v for k, v in row.items() if k not in ("step", "epoch", "memory_gb", "elapsed_s")}
    values = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())
    print(f"step {row['step']}  {values}", file=sys.stderr)


def speak(options) -> None:
    from ttslib import audio, pipeline

    system = pipeline.load(pipeline.checkpoint_of(options.run))
    choices = {
        "voice": options.voice,
        "lang": options.lang,
        "seed": options.seed,
        "speaking_rate": options.speaking_rate,
    }
    if options.text is not None:
        print(audio.save(options.out, system.synthesize(options.text, **choices), system.rate))
        return
    texts = [line for line in options.file.read_text(encoding="utf-8").splitlines() if line.strip()]
    for file in pipeline.speak(system, texts, options.out, **choices):
        print(file)


def generate(options) -> int:
    from ttslib import generation, items, pipeline

    source = items.sentences if options.file else items.held_out
    asked = source(options.file or options.run, options.lang, options.voice)[: options.limit]
    system = pipeline.load(pipeline.checkpoint_of(options.run))
    totals = generation.generate(system, asked, options.out, not options.again, options.seed)["totals"]
    print(json.dumps(totals))
    return int(totals["succeeded"] < totals["items"])


def evaluate(options) -> None:
    from ttslib import scorecard

    own = options.run / "params.yaml"
    card = scorecard.make(options.run, params.load(own, options.overrides) if own.is_file() else None)
    print(json.dumps(card["median"] if "table" in card else card["voices"], ensure_ascii=False))


def card(options) -> None:
    from ttslib import card

    print(card.write(options.run))


def listen(options) -> None:
    from ttslib import listen

    named = [voice.partition("=") for voice in options.voices]
    systems = {name if equals else Path(name).name: source or name for name, equals, source in named}
    if len(systems) < len(named):
        raise listen.ListenError(f"two voices have one name: {', '.join(options.voices)}; give name=folder")
    texts, reference = (None, None) if options.reference is None else listen.recordings(options.reference)
    texts = (texts or listen.texts(systems))[: options.limit]
    made = listen.build(options.out, systems, texts, options.kind, reference=reference, title=options.title)
    print(json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in made.items()}))


def opinions(options) -> None:
    from ttslib import listen

    print(json.dumps(listen.analyse(options.key, options.answers), ensure_ascii=False))


def feedback(options) -> None:
    from ttslib import feedback

    entries = feedback.gathered(options.key, options.answers, options.voice, options.corrected)
    print(feedback.write(options.out, entries))


def export(options) -> None:
    from ttslib import pipeline

    print(pipeline.load(pipeline.checkpoint_of(options.run)).export(options.out))


def voice(options) -> None:
    from ttslib import pipeline

    system = pipeline.load(pipeline.checkpoint_of(options.run))
    if not hasattr(system, "export_voice"):
        told = "its runtime has no files of voices; `export` writes what it loads"
        raise params.ParamsError(f"voice: {options.run} is of the system {system.p.system}: {told}; use `export`")
    print(system.export_voice(options.voice, options.out))


def validate(options) -> None:
    print(params.document() if options.document else resolved(options), end="")


if __name__ == "__main__":
    sys.exit(main())
