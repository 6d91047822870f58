"""Tasks: optimizees with their data, as pytrees that go through jit and stack for vmap."""

from meta.tasks.base import Task, stack_tasks
from meta.tasks.image_mlp import ImageMLP

__all__ = ["ImageMLP", "Task", "stack_tasks"]
