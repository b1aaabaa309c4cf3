import pytest

from acdc_seg.errors import (
    AcdcError,
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
    did_you_mean,
    path_hint,
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


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("trian", "did you mean {root}/train?"),
        ("trian/image", "did you mean {root}/train?"),
        ("train/imgae", "did you mean {root}/train/image?"),
        ("train/image", "check the path"),
        ("else", "check the path"),
    ],
)
def test_the_closest_name_beside_a_missing_path(tmp_path, path, hint):
    (tmp_path / "train" / "image").mkdir(parents=True)
    assert path_hint(tmp_path / path) == hint.format(root=tmp_path)
