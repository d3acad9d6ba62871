"""Speech that comes code by code: where it loops, which attempt is kept, when it is a runaway."""

import torch

from ttslib.attempts import Spoken, attempt, best, limit


def test_speech_that_repeats_itself_is_cut_off_and_said():
    loop = attempt(iter([9, 8, *[1, 2, 3] * 100]), 0, frame_rate=25)
    assert loop.ended == "loop" and len(loop.codes) < 10
    silence = attempt(iter([5, 6, *[7] * 100, 0]), 0, frame_rate=25)
    assert silence.ended == "loop"
    pause = attempt(iter([5, 6, *[7] * 60, 8, 0]), 0, frame_rate=25)
    assert (pause.ended, len(pause.codes)) == ("stop", 63), "a pause of two seconds is speech"
    assert attempt(iter(range(1, 50)), 0, frame_rate=25).ended == "limit"


def test_the_attempt_that_ended_by_itself_is_kept():
    tries = [Spoken(torch.zeros(n), how) for n, how in ((50, "limit"), (10, "stop"), (44, "stop"), (40, "loop"))]
    assert best(tries, expected=45) is tries[2]
    assert best([tries[0], tries[3]], expected=45) is tries[0]


def test_the_limit_is_twice_the_slowest_clip_and_never_more_than_there_is_room_for():
    pace = {"median": 2.0, "most": 4.0}
    assert limit(1000, pace, 20) == 2 * 4 * 20 + 50
    assert limit(100, pace, 20) == 100
    assert limit(1000, {}, 20) == 1000, "a base that was never measured has no pace"
