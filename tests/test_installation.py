"""After installation `celo` is the only top-level name, so that a project's own folders keep their names."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("meta", "evaluation", "ablations", "scripts")
SOURCES = ("celo", *LAYERS, "pyproject.toml", "README.md", "LICENSE")


def run(*command: str, folder: Path, **environment: str) -> str:
    """Run a command in a folder and return what it prints; PYTHONPATH is only what the test gives."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a wheel, an editable wheel or an sdist of a source tree with its own build backend."""
    program = f"import setuptools.build_meta as b; print('built', b.build_{kind}({str(out)!r}))"
    name = run(sys.executable, "-c", program, folder=source).rsplit("built ", 1)[1].strip()
    return out / name


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, links kept, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source tree."""
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, before everything else when it is on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", str(folder), str(wheel), folder=folder)
    return folder


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's project, with folders named like ours and no __init__.py."""
    for name in LAYERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "scripts" / "train.py").write_text(
        "import ablations.mine, evaluation.mine, meta.mine, scripts.mine\n"
        "import celo, celo.evaluation, celo.meta, celo.scripts\n"
        "print(ablations.mine.NAME, evaluation.mine.NAME, meta.mine.NAME, scripts.mine.NAME)\n"
        "print(celo.__file__, celo.load('celo')[0].stage)\n"
    )
    return tmp_path


def files_of_the_package() -> set[str]:
    """Paths below celo/, links followed, of everything that has to be installed: all but bytecode."""
    return {
        (Path(folder) / name).relative_to(ROOT).as_posix()
        for folder, _, names in os.walk(ROOT / "celo", followlinks=True)
        for name in names
        if not name.endswith(".pyc")
    }


def test_the_wheel_holds_every_file_of_the_package_and_one_top_level_name(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == files_of_the_package()


def test_the_source_distribution_gives_the_same_wheel(source: Path, wheel: Path, tmp_path: Path):
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    again = build(unpacked, "wheel", tmp_path)
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_a_foreign_project_keeps_its_own_folders(installed: Path, foreign: Path):
    own, where = run(
        sys.executable, "-m", "scripts.train", folder=foreign, PYTHONPATH=str(installed)
    ).splitlines()
    assert own == "ablations evaluation meta scripts"
    assert where == f"{installed / 'celo' / '__init__.py'} 2"


@pytest.mark.parametrize("command", [("bin/celo",), (sys.executable, "-m", "celo.scripts.cli")])
def test_the_command_works_from_a_foreign_project(command: tuple[str, ...], installed: Path, foreign: Path):
    program = [str(installed / command[0]) if command[0].startswith("bin") else command[0], *command[1:]]
    assert "meta-train" in run(*program, "--help", folder=foreign, PYTHONPATH=str(installed))


def test_an_editable_installation_adds_one_name(source: Path, foreign: Path, tmp_path: Path):
    site = tmp_path / "site"
    with zipfile.ZipFile(build(source, "editable", tmp_path)) as archive:
        archive.extractall(site)
    find = "; ".join(
        [
            f"import importlib.util, site; site.addsitedir({str(site)!r})",
            "spec = importlib.util.find_spec",
            "print(spec('celo').origin)",
            "print(*(list(spec(name).submodule_search_locations)[0] for name in ('scripts', 'meta')))",
        ]
    )
    celo, others = run(sys.executable, "-S", "-c", find, folder=foreign).splitlines()
    assert celo == str(source / "celo" / "__init__.py")
    assert others == f"{foreign / 'scripts'} {foreign / 'meta'}"


def test_a_checkout_runs_its_scripts_by_name():
    assert "usage:" in run(sys.executable, "-m", "scripts.convert", "--help", folder=ROOT)
