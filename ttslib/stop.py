"""SIGTERM and Ctrl-C as a wish that the loop reads after each step."""

import signal
import threading
from types import FrameType


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
