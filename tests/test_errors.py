import pytest

from acdc_seg.errors import (
    AcdcError,
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
    did_you_mean,
)


@pytest.mark.parametrize("kind", [ConfigError, DataError, CheckpointError, TrainingError])
def test_every_error_is_caught_as_one(kind):
    with pytest.raises(AcdcError, match="what is wrong"):
        raise kind("what is wrong")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("learning_rat", "did you mean 'learning_rate'?"),
        ("epochz", "did you mean 'epochs'?"),
        ("xyz", "choose from: learning_rate, epochs"),
        ("", "choose from: learning_rate, epochs"),
    ],
)
def test_the_closest_word_or_all_of_them(given, sentence):
    assert did_you_mean(given, iter(["learning_rate", "epochs"])) == sentence
