"""Tables of costs, from figures made by hand."""

from celo.evaluation import update_table

TREES = {
    "A": {"tree": "1", "tensors": 2, "parameters": 1200},
    "B": {"tree": "1", "tensors": 2, "parameters": 1200},
    "C": {"tree": "2", "tensors": 1, "parameters": 10},
}


def cost(tree, optimizer, ratio, adam=0.5, size=8.0):
    return {
        "tree": tree,
        "optimizer": optimizer,
        "state_bytes_per_parameter": size,
        "ratio": ratio,
        "adam_milliseconds": adam,
    }


FIGURES = {
    "tasks": TREES,
    "costs": [
        cost("1", "celo", 16.0, 0.25),
        cost("1", "sgd", 0.5, 0.75, size=0.0),
        cost("2", "celo", 4.0),
        {"tree": "2", "optimizer": "sgd", "state_bytes_per_parameter": 0.0, "failed": "no result within 1 s"},
    ],
}


def test_ratios():
    """Equal trees share their figures and count once in the mean; what failed has no mean."""
    table = update_table.ratio_table(FIGURES, ["celo", "sgd", "lion"])
    assert table.header == ("update time / Adam's", "parameters", "Adam, ms", "celo", "sgd", "lion")
    assert table.rows == (
        ("A", "1,200", "0.500", "16.0", "0.500", ""),
        ("B", "1,200", "0.500", "16.0", "0.500", ""),
        ("C", "10", "0.500", "4.00", "failed", ""),
        ("geometric mean, 2 trees", "", "", "8.00", "", ""),
    )


def test_bytes_are_known_even_of_what_failed():
    table = update_table.bytes_table(FIGURES, ["sgd", "celo"])
    assert table.rows[-1] == ("C", "10", "0.00", "8.00")


def test_failures_are_said():
    assert update_table.failures(FIGURES) == ["sgd on C: no result within 1 s"]
