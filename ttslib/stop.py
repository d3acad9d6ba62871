"""SIGTERM and Ctrl-C as a wish that the loop reads after each step, and as the end of what needed all of the loop.

Outside the loop SIGTERM ends a process at once, as it does by default: what is on disk is whole at every instant.
"""

import signal
import threading
from types import FrameType

STATUS = {"SIGTERM": 143, "SIGINT": 130}  # exit codes, as a shell gives them


class Stopped(SystemExit):
    """A signal ended a training that the job at hand cannot do without; the message says how it goes on."""

    def __init__(self, told: str, name: str):
        super().__init__(STATUS[name])
        self.told = told

    def __str__(self) -> str:
        return self.told


class Stop:
    """While entered, the first SIGTERM or SIGINT sets `asked` to its name; a second SIGINT interrupts at once."""

    def __init__(self):
        self.asked: str | None = None
        self.before = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # Python installs handlers only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
