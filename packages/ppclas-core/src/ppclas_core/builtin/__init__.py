"""What ppclas ships in the core, registered like any plugin's."""

from ppclas_core.builtin.base import Loss, Metric, Optimizer, Scheduler, Targets, Tracker

__all__ = ["Loss", "Metric", "Optimizer", "Scheduler", "Targets", "Tracker"]
