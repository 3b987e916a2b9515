"""Our own commands: where each is found, and its line in ``ppclas --help``."""

from __future__ import annotations

from ppclas_cli.lazy import LazyCommand

_ROWS = {
    "Train and use": (
        ("train:command", "Train or fine-tune a classifier on your photos."),
        ("search:command", "Find the best model and settings for a budget."),
        ("eval:command", "Measure a model on labelled photos."),
        ("predict:command", "Classify photos: names and probabilities."),
        ("export:command", "Write a model for another engine, with proof."),
        ("quantize:command", "Write an INT8 version that keeps its accuracy."),
        ("distill:distill", "Train a small model from a large one."),
        ("serve:command", "Answer over HTTP, with a page for people."),
        ("client:command", "Ask a server about photos, from scripts."),
        ("benchmark:command", "Compare models and engines: speed, memory, accuracy."),
    ),
    "Look things up": (
        ("models:models", "List models; fetch, convert and measure them."),
        ("runs:runs", "List and compare what was trained."),
        ("recipes:recipes", "List ready-made training settings."),
        ("data:data", "Check photos and labels before training."),
        ("hub:hub", "Share models on Hugging Face."),
        ("config:config", "Show, check and describe settings."),
        ("plugins:command", "List what is installed; start a plugin."),
    ),
    "Take care of the installation": (
        ("bundle:bundle", "Change labels or thresholds of a model."),
        ("doctor:command", "Find what is wrong with this installation."),
        ("completion:command", "Complete names in the shell with TAB."),
        ("setup:command", "Install the PaddlePaddle that fits this machine."),
    ),
}
_ELSEWHERE = {
    "serve": ("ppclas_serve.command:command", "serve"),
    "completion": ("ppclas_cli.completion:command", ""),
}
"""Those that are no modules of ``commands``, and the extra of ``ppclas-cli`` that brings them."""

COMMANDS = {
    name: LazyCommand(*_ELSEWHERE.get(name, (f"ppclas_cli.commands.{place}", "")), summary, section)
    for section, rows in _ROWS.items()
    for place, summary in rows
    for name in (place.partition(":")[0],)
}
"""Name → command."""
