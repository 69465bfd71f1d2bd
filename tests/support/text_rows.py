"""A few labelled texts."""

ROWS = [
    {"text": "the printer is on fire", "label": "bad"},
    {"text": "all is well", "label": "good"},
    {"text": "it broke again", "label": "bad"},
]
