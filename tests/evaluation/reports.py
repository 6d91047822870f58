"""What of a report does not depend on when and how often the work was begun."""

from celo.evaluation.scoreboard import scoreboard
from celo.evaluation.summary import summarise

from celo.evaluation.report import style
from celo.evaluation.report.benchmark import write_benchmark
from celo.evaluation.report.sections import Sources


def reported(store, folder, monkeypatch):
    """Writes the report of a folder of results; returns its texts by name of the file, without run times."""
    # Figures are compared elsewhere, and to render them takes longer than everything else.
    monkeypatch.setattr(style, "save", _empty)
    board = scoreboard(store.results(), [(name.task, name.optimizer) for name in store.expected])
    write_benchmark(folder, board, summarise(board, 20), Sources(20, 0, "", store.provenance))
    tables = [folder / "tables" / name for name in ("scores.csv", "profiles.csv", "runs.csv")]
    found = {path.name: path.read_text() for path in tables}
    for name, heading in (("report.md", "\n## Run time\n"), ("report.html", '<h2 id="run-time">')):
        found[name], _, last = (folder / name).read_text().partition(heading)
        assert "Provenance" in last
        assert "Diverged runs" not in last  # nothing else is left out of the comparison
    return found


def _empty(figure, path):
    path.with_name(f"{path.name}.svg").write_text("<svg/>")
