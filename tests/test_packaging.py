"""Locks and metadata: what a fresh clone depends on."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
RUNTIME_EXTRAS = ("train", "eval")

# Where a lock has to hold: every tested Python on every system that JAX's CPU wheels are built for.
ENVIRONMENTS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": system,
        "platform_system": name,
        "platform_machine": machine,
        "os_name": "nt" if system == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for python in ("3.11", "3.12", "3.13")
    for system, name, machine in (
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"),
        ("win32", "Windows", "AMD64"),
    )
]


def _describe(environment: dict[str, str]) -> str:
    return "-".join(environment[name] for name in ("python_version", "sys_platform", "platform_machine"))


def lines(name: str) -> list[str]:
    """The requirements of a file, without comments and blank lines."""
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in stripped if line]


def pins(name: str, environment: dict[str, str]) -> dict[str, str]:
    """Version by canonical name, of the pins that apply in the environment."""
    found: dict[str, str] = {}
    for line in lines(name):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert canonicalize_name(requirement.name) not in found, f"{name} pins {requirement.name} twice"
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def declared(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml asks for: the core, the extras and what they include, and the build tool."""
    waiting = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"]]
    for extra in extras:
        waiting += PROJECT["optional-dependencies"][extra]
    requirements = [Requirement(text) for text in waiting]
    nested = {name for item in requirements if item.name == PROJECT["name"] for name in item.extras}
    more = declared(tuple(nested - set(extras))) if nested - set(extras) else []
    return [item for item in requirements if item.name != PROJECT["name"]] + more


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_exact_versions_and_nothing_else(name):
    exact = re.compile(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[0-9][\w.!+-]*( ; [^/@]+)?")
    wrong = [line for line in lines(name) if not exact.fullmatch(line)]
    assert not wrong
    comments = [line for line in (ROOT / name).read_text().splitlines() if "#" in line]
    assert not [line for line in comments if re.search(r"://|/\w+/|--[a-z]", line)]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=_describe)
def test_the_locks_agree_and_satisfy_pyproject(environment):
    runtime, everything = (pins(name, environment) for name in LOCKS)
    assert runtime.items() <= everything.items()
    every = tuple(PROJECT["optional-dependencies"])
    for versions, extras in ((runtime, RUNTIME_EXTRAS), (everything, every)):
        for requirement in declared(extras):
            version = versions.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not locked"
            assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_the_runtime_lock_leaves_out_what_only_developers_need():
    assert not {"pytest", "ruff", "pyright", "ray", "mkdocs"} & set(pins(LOCKS[0], ENVIRONMENTS[0]))


def test_the_floor_is_the_lower_bound_that_is_promised():
    floor = pins("requirements-floor.txt", ENVIRONMENTS[0])
    bounds: dict[str, Version] = {
        canonicalize_name(item.name): Version(spec.version)
        for item in declared(RUNTIME_EXTRAS)
        for spec in item.specifier
        if spec.operator == ">="
    }
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert core <= floor.keys()
    assert not {name for name in floor.keys() & bounds.keys() if Version(floor[name]) != bounds[name]}


def tracked_texts() -> list[tuple[str, str]]:
    """Name and text of every file that git tracks, binary ones left out."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git repository: this is not a clone")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            texts.append((name, data.decode()))
    return texts


FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.~-])/(?:work|root|home|Users)/"),
    "the address of a package registry": re.compile(r"pypi[.]org|python[h]osted|pkg[.]dev|registry[.]npmjs"),
    "work left undone": re.compile(r"\b(?:TO[D]O|FIX[M]E)\b"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what):
    pattern = FORBIDDEN[what]
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)
