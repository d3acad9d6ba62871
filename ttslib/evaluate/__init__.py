"""Can it be understood, and is it like the recordings? Scores per sentence, each beside its floor.

`judges` are who measures, `distances` compares with the recording of the same sentence, `summary` makes intervals of a
voice's sentences, `choice` is the small set that chooses a run's best checkpoint. `ttslib.scorecard` puts a run before them.
"""
