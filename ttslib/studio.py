"""A panel for a live notebook: type a sentence, choose speaker and rate, hear and see it.

It only adds to the tables above it: without a kernel (HTML export, headless run) the panel is inert.
"""

from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from ttslib import show
from ttslib.audio import AudioError
from ttslib.params import ParamsError
from ttslib.units import UnitsError


def panel(system, text: str) -> widgets.VBox:
    """The panel for a trained `system`, with `text` to begin with."""
    if hasattr(system, "clone"):
        return cloning(system, text)
    sentence = widgets.Textarea(value=text, layout=widgets.Layout(width="90%"))
    speaker = widgets.Dropdown(options=system.speakers, description="speaker")
    language = widgets.Dropdown(options=system.languages, description="language")
    rate = widgets.FloatSlider(value=1.0, min=0.5, max=2.0, step=0.05, description="rate")
    button, heard = widgets.Button(description="Speak", button_style="primary"), widgets.Output()

    def speak(_) -> None:
        heard.clear_output(wait=True)
        with heard:
            try:
                wav = system.synthesize(
                    sentence.value, voice=speaker.value, lang=language.value, speaking_rate=rate.value
                )
            except UnitsError as error:
                print(error)
                return
            display(show.spoken(wav, system.rate))

    button.on_click(speak)
    return widgets.VBox([sentence, widgets.HBox([speaker, language, rate]), button, heard])


def cloning(system, text: str) -> widgets.VBox:
    """The panel of an encoder of voices: name a recording, get its voice file, and hear it where a runtime is at hand."""
    recording = widgets.Text(placeholder="path of a recording, some ten seconds of one voice", description="recording")
    sentence = widgets.Textarea(value=text, layout=widgets.Layout(width="90%"))
    button, heard = widgets.Button(description="Clone", button_style="primary"), widgets.Output()

    def clone(_) -> None:
        heard.clear_output(wait=True)
        with heard:
            try:
                file = system.export_voice(recording.value, Path(recording.value).with_suffix(".json"))
                print(f"{file}: load it with get_voice_style_from_path of the package supertonic")
                if system.mute:
                    print(system.mute)
                    return
                display(show.spoken(system.synthesize(sentence.value, voice=str(file)), system.rate))
            except (ParamsError, AudioError, UnitsError) as error:
                print(error)

    button.on_click(clone)
    return widgets.VBox([recording, sentence, button, heard])
