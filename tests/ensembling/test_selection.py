import numpy as np
import pytest

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.ensembling.selection import (
    CandidatePool,
    Selection,
    best_single,
    foreground_dice,
    greedy,
    most_probable,
    with_largest,
)
from acdc_seg.errors import ConfigError
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.summary import summarize

TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))


def heart(*rows):
    """Probabilities (2, H, W), float16, of an image whose heart has these."""
    values = np.array(rows, np.float32)
    return np.stack([1 - values, values]).astype(np.float16)


def pool_of(candidates, masks, classes=TWO):
    examples = [
        Example(Record(f"image{number}", None, None, f"patient{number}"), None, np.uint8(mask))
        for number, mask in enumerate(masks)
    ]
    return CandidatePool(candidates, examples, classes)


def everywhere(pool):
    return np.ones(len(pool.examples), bool)


def random_pool(rng, num_images=6, num_candidates=4, classes=None):
    classes = classes or ClassesConfig()
    shapes = [(int(rng.integers(5, 9)), 7) for _ in range(num_images)]
    masks = [rng.integers(0, 4, shape) * (rng.random(shape) < 0.5) for shape in shapes]
    right = [np.arange(4)[:, None, None] == mask for mask in masks]
    candidates = [
        [
            (
                0.8 * rng.dirichlet(np.ones(4), each.shape[1:]).transpose(2, 0, 1) + 0.2 * each
            ).astype(np.float16)
            for each in right
        ]
        for _ in range(num_candidates)
    ]
    return pool_of(candidates, masks, classes)


A = heart([0.9, 0.4, 0.1, 0.1])  # finds the left pixel of the heart: Dice 2 * 1 / (1 + 2)
B = heart([0.4, 0.9, 0.4, 0.4])  # finds the right one; with A both: Dice 1
C = heart([0.8, 0.1, 0.8, 0.1])  # finds one and invents one: Dice 2 * 1 / (2 + 2)
MASK = [[1, 1, 0, 0]]


def test_complementary_members_are_picked():
    pool = pool_of([[C], [A], [B]], [MASK])
    assert best_single(pool, images=everywhere(pool)) == Selection((0, 1, 0))
    np.testing.assert_allclose(
        [pool.quick_dice(values)[0] for values in pool.contested], [1 / 2, 2 / 3, 2 / 3]
    )
    chosen = greedy(pool, images=everywhere(pool))
    assert chosen == Selection((0, 1, 1))
    assert pool.dice(chosen).tolist() == [1.0]
    (row,) = pool.image_scores(chosen)
    assert (row.id, row.patient, row.dice) == ("image0", "patient0", {"heart": 1.0})


def test_weights_are_how_often_a_member_was_taken():
    """A alone has 3 of 5 heart pixels (Dice 6/8), A + B 4 (8/9), 2 A + B all."""
    a = heart([0.45, 0.65, 0.45, 0.65, 0.65, 0.1])
    b = heart([0.9, 0.3, 0.9, 0.4, 0.4, 0.1])
    pool = pool_of([[a], [b]], [[[1, 1, 1, 1, 1, 0]]])
    for rounds, counts, dice in (
        (1, (1, 0), 6 / 8),
        (2, (1, 1), 8 / 9),
        (3, (2, 1), 1.0),
        (25, (2, 1), 1.0),
    ):
        chosen = greedy(pool, images=everywhere(pool), rounds=rounds)
        assert chosen.counts == counts
        np.testing.assert_allclose(pool.dice(chosen), [dice])


def test_a_member_that_harms_as_an_equal_is_found_as_the_smaller_part():
    """A has 2 of 3 heart pixels (Dice 4/5); A + B has 1 (2/4), 2 A + B all."""
    a = heart([0.75, 0.75, 0.45, 0.1])
    b = heart([0.1, 0.1, 0.65, 0.2])
    pool = pool_of([[a], [b]], [[[1, 1, 1, 0]]])
    np.testing.assert_allclose(
        [pool.dice(Selection(counts))[0] for counts in ((1, 0), (1, 1), (2, 1))],
        [4 / 5, 2 / 4, 1],
    )
    assert greedy(pool, images=everywhere(pool), rounds=2) == Selection((1, 0))
    assert greedy(pool, images=everywhere(pool)) == Selection((2, 1))


def test_copies_of_one_model_add_nothing():
    pool = pool_of([[A], [A], [A]], [MASK])
    assert (
        greedy(pool, images=everywhere(pool))
        == best_single(pool, images=everywhere(pool))
        == Selection((1, 0, 0))
    )
    assert pool.contested.shape == (3, 2, 0)


def test_only_the_given_images_choose():
    """On the first image C is perfect, on the second A."""
    pool = pool_of([[A, A], [C, C]], [[[1, 0, 1, 0]], [[1, 0, 0, 0]]])
    assert best_single(pool, images=np.array([False, True])).counts == (1, 0)
    assert best_single(pool, images=np.array([True, False])).counts == (0, 1)
    assert greedy(pool, images=np.array([True, False])).counts == (0, 1)


def test_largest_regions_are_kept_only_where_that_helps():
    speck = heart([0.9, 0.9, 0.1, 0.1, 0.9])  # mask has no speck: Dice 4 / 5 with it, 1 without
    pool = pool_of([[speck]], [[[1, 1, 0, 0, 0]]])
    assert greedy(pool, images=everywhere(pool)) == Selection((1,), ("heart",))
    assert greedy(pool, images=everywhere(pool), largest=False) == Selection((1,))
    np.testing.assert_allclose(
        [pool.dice(Selection((1,), keep))[0] for keep in ((), ("heart",))], [4 / 5, 1]
    )
    two_parts = pool_of([[speck]], [[[1, 1, 0, 0, 1]]])
    assert with_largest(two_parts, Selection((1,)), images=everywhere(two_parts)) == Selection((1,))


def test_each_class_is_decided_on_its_own():
    """Class a has a speck that is wrong, class b one that is right."""
    three = ClassesConfig(
        names=("background", "a", "b"), values=(0, 1, 2), colors=((0, 0, 0), (1, 1, 1), (2, 2, 2))
    )
    labels = np.array([[1, 1, 0, 1, 0, 2, 2, 0, 2]])
    predicted = np.where(np.arange(3)[:, None, None] == labels, 0.8, 0.1).astype(np.float16)
    pool = pool_of([[predicted]], [[[1, 1, 0, 0, 0, 2, 2, 0, 2]]], three)
    assert greedy(pool, images=everywhere(pool)) == Selection((1,), ("a",))


def test_quick_dice_equals_the_metric():
    rng = np.random.default_rng(0)
    for classes in (
        ClassesConfig(),
        ClassesConfig(void=9),
        ClassesConfig(has_background=False),
    ):
        pool = random_pool(rng, classes=classes)
        if classes.void is not None:
            pool.examples[0].mask[2:4] = IGNORE_INDEX
            pool = CandidatePool(pool.probabilities, pool.examples, classes)
        assert 0 < pool.contested.shape[2] < sum(example.mask.size for example in pool.examples)
        for counts in ((1, 0, 0, 0), (2, 1, 0, 3), (1, 1, 1, 1)):
            total = np.tensordot(np.array(counts, np.float32), pool.contested.astype(np.float32), 1)
            chosen = Selection(counts)
            np.testing.assert_allclose(pool.quick_dice(total), pool.dice(chosen), atol=1e-12)
            np.testing.assert_allclose(
                pool.dice(chosen).mean(), summarize(pool.image_scores(chosen)).dice
            )


def test_dice_of_counts_follows_the_policy_for_empty_masks():
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, top, 20), rng.integers(0, other, 20))
        for top in (1, 2, 3, 4)
        for other in (1, 2, 3, 4)
    ]
    names = ClassesConfig().names
    confusion = np.zeros((len(pairs), 4, 4), int)
    for number, (predicted, mask) in enumerate(pairs):
        np.add.at(confusion[number], (mask, predicted), 1)
    expected = [
        np.mean(list(score_labels(predicted, mask, id="", classes=names).dice.values()))
        for predicted, mask in pairs
    ]
    np.testing.assert_allclose(foreground_dice(confusion), expected)
    assert {0.0, 1.0} < set(expected)


def test_each_round_takes_the_best_of_all_next_steps():
    pool = random_pool(np.random.default_rng(4))
    images = everywhere(pool)
    one, two = (
        greedy(pool, images=images, rounds=rounds, largest=False).counts for rounds in (1, 2)
    )
    assert (sum(one), sum(two)) == (1, 2)
    pairs = [Selection(tuple(np.array(one) + row)) for row in np.eye(4, dtype=int)]
    assert pool.dice(Selection(two)).mean() == max(pool.dice(pair).mean() for pair in pairs)


def test_ties_go_to_the_first_class_as_in_argmax():
    values = np.random.default_rng(0).integers(0, 3, (4, 200)).astype(np.float32)
    np.testing.assert_array_equal(most_probable(values), values.argmax(0))


def test_no_rounds_are_refused():
    with pytest.raises(ConfigError, match="0 rounds choose nothing; give 1 or more"):
        greedy(pool_of([[A]], [MASK]), images=np.array([True]), rounds=0)
