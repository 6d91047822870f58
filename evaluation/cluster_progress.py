"""How far the cells on a Ray cluster are: workers tell an actor, which the driver asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celo.evaluation.runner import Observer
from celo.evaluation.store import CellName

_PATIENCE = 1.0  # seconds


class _Fractions:
    """The actor: remembers how much of each cell is done."""

    def __init__(self) -> None:
        self._done: dict[CellName, float] = {}

    def put(self, name: CellName, fraction: float) -> None:
        self._done[name] = fraction

    def get(self) -> dict[CellName, float]:
        return self._done


class Watch:
    """The driver's view of the cells being worked on, each at a place of its own as if it were a device.

    Attributes:
        actor: for workers, see `tell`.

    Args:
        ray: the package.
        observer: hears how far they are.
    """

    def __init__(self, ray: Any, observer: Observer):
        self.actor = ray.remote(num_cpus=0)(_Fractions).remote()
        self._ray, self._observer = ray, observer
        self._places: dict[CellName, int] = {}

    def look(self, running: Iterable[CellName]) -> None:
        """Tells the observer about the cells that run.

        Args:
            running: those that are asked for and not finished, begun or not.
        """
        try:
            done = self._ray.get(self.actor.get.remote(), timeout=_PATIENCE)
        except self._ray.exceptions.RayError:  # too late, or its machine is lost: the cells matter, not this
            return
        begun = [name for name in running if name in done]
        self._places = {name: place for name, place in self._places.items() if name in begun}
        for name in begun:
            free = set(range(len(begun))) - {*self._places.values()}
            place = self._places.setdefault(name, min(free, default=0))
            self._observer.advanced(place, name, done[name])


def tell(actor: Any, name: CellName, fraction: float) -> None:
    """Has the driver know how much of a cell is done; waits for nothing.

    Args:
        actor: of a `Watch`.
        name: the cell, as the driver calls it.
        fraction: the part that is done, in [0, 1].
    """
    actor.put.remote(name, fraction)
