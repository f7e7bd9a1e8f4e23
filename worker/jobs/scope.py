"""Scopes: what an API key, or a person who signed in, may do.

In: nothing. Out: four words. Which route needs which is decided where the routes are.
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What whoever asks may do."""

    SUBMIT = "submit"  #: send images and questions, take jobs back, have them read again
    READ = "read"  #: see jobs, readings and the pictures that were shown to the model
    REVIEW = "review"  #: say whether a reading is right
    OPERATE = "operate"  #: endpoints, deliveries, the state of the house
