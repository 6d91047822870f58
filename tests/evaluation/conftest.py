"""What several tests of evaluations begin with."""

import pytest

from tests.evaluation.bowl import evaluation, only_cell


@pytest.fixture(scope="session")
def adam_cell(tmp_path_factory):
    """The cell of `tests.evaluation.bowl`."""
    return only_cell(evaluation(tmp_path_factory.mktemp("adam")))
