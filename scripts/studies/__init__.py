"""Studies of single questions: `python -m scripts.studies.NAME`."""
