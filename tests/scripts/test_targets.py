"""The command ``celo targets``: a folder of results becomes tables, data and a figure."""

import csv
import json
import math
import re

import numpy as np
import pytest

from celo.evaluation import results
from celo.scripts.targets import main
from tests.evaluation.rows import row
from tests.scripts.made import store

STEPS = np.array([0, 10, 20, 30, 40])


def trainings(optimizer, losses, seeds=3, task="task", **changes):
    evaluations = {"train_loss": np.array(losses, np.float32)}
    return [
        row(
            float(losses[-1]),
            task,
            optimizer,
            seed=seed,
            evaluation_steps=STEPS,
            evaluations=evaluations,
            step_seconds=0.1,
            **changes,
        )
        for seed in range(seeds)
    ]


@pytest.fixture
def folder(tmp_path):
    rows = [*trainings("adam", [9, 8, 8, 4, 2]), *trainings("a|b", [9, 4, 3, 2, 1])]
    return store(tmp_path / "results", rows)


def test_a_folder_becomes_tables_data_and_a_figure(folder, capsys):
    assert main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\| adam +\| +0\.833 \| .* untuned \|", shown)
    assert r"a\|b" in shown
    assert r"the rows of adam, a\|b hold no validation losses along the way" in shown
    made = folder / "targets"
    assert (made / "targets.md").read_text().startswith("# Time to target")
    assert (made / "figures" / "profiles.png").read_bytes()[:4] == b"\x89PNG"
    assert not re.search(r'href="(?!#)|url\((?!#)', _svg(made))  # it loads nothing
    with open(made / "targets.csv") as file:
        rows = {(one["optimizer"], one["unit"]): one for one in csv.DictReader(file)}
    assert float(rows["a|b", "steps"]["target"]) == 2.0
    assert [float(rows[name, "steps"]["time"]) for name in ("adam", "a|b")] == [40.0, 30.0]
    assert float(rows["adam", "seconds"]["ratio"]) == pytest.approx(4 / 3)
    found = json.loads((made / "targets.json").read_text())
    assert found["scores"][0]["B"] == {"adam": pytest.approx((3 - 4 / 3) / 2), "a|b": 1.0}
    assert found["scores"][2]["B"] == {"adam": "NaN", "a|b": "NaN"}
    assert len(results.read(folder)) == 6  # the tables lie among the results and disturb nothing


def _svg(made):
    return (made / "figures" / "profiles.svg").read_text()


def test_options_move_the_target_and_the_score(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folder), "--out", str(out), "--fraction", "1", "--r-max", "2"]) == 0
    found = json.loads((out / "targets.json").read_text())
    assert found["scores"][0]["B"] == {"adam": 0.0, "a|b": 1.0}  # adam never reaches 1
    assert math.isinf(float(found["times"][0]["time"]))
    assert "∞" in capsys.readouterr().out


def test_too_few_trials_and_unknown_labels_are_refused(folder, tmp_path, refused):
    two = store(tmp_path / "two", trainings("adam", [9, 8, 8, 4, 2], seeds=2))
    assert "targets need 3 or more trials of every optimizer; these results have 2" in refused(main, [two])
    assert "Unknown optimizer 'cleo'" in refused(main, [folder, "--optimizers", "cleo"])
    assert "fraction is 1.5; expected" in refused(main, [folder, "--fraction", "1.5"])
    assert "r_max is 1.0; expected" in refused(main, [folder, "--r-max", "1"])
    assert not (folder / "targets").exists()
