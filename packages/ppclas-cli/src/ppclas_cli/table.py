"""Our own commands: where each is found, and its line in ``ppclas --help``."""

from __future__ import annotations

from ppclas_cli.lazy import LazyCommand

_WORK, _LOOK, _CARE = "Train and use", "Look things up", "Take care of the installation"

COMMANDS = {
    "train": LazyCommand(
        "ppclas_cli.commands.train:command",
        "Train or fine-tune a classifier on your photos.",
        _WORK,
    ),
    "search": LazyCommand(
        "ppclas_cli.commands.search:command",
        "Find the best model and settings for a budget.",
        _WORK,
    ),
    "eval": LazyCommand(
        "ppclas_cli.commands.eval:command", "Measure a model on labelled photos.", _WORK
    ),
    "predict": LazyCommand(
        "ppclas_cli.commands.predict:command", "Classify photos: names and probabilities.", _WORK
    ),
    "export": LazyCommand(
        "ppclas_cli.commands.export:command", "Write a model for another engine, with proof.", _WORK
    ),
    "quantize": LazyCommand(
        "ppclas_cli.commands.quantize:command",
        "Write an INT8 version that keeps its accuracy.",
        _WORK,
    ),
    "distill": LazyCommand(
        "ppclas_cli.commands.distill:distill", "Train a small model from a large one.", _WORK
    ),
    "serve": LazyCommand(
        "ppclas_serve.command:command",
        "Answer over HTTP, with a page for people.",
        _WORK,
        extra="serve",
    ),
    "client": LazyCommand(
        "ppclas_cli.commands.client:command", "Ask a server about photos, from scripts.", _WORK
    ),
    "benchmark": LazyCommand(
        "ppclas_cli.commands.benchmark:command",
        "Compare models and engines: speed, memory, accuracy.",
        _WORK,
    ),
    "models": LazyCommand(
        "ppclas_cli.commands.models:models", "List models; fetch, convert and measure them.", _LOOK
    ),
    "runs": LazyCommand(
        "ppclas_cli.commands.runs:runs", "List and compare what was trained.", _LOOK
    ),
    "recipes": LazyCommand(
        "ppclas_cli.commands.recipes:recipes", "List ready-made training settings.", _LOOK
    ),
    "data": LazyCommand(
        "ppclas_cli.commands.data:data", "Check photos and labels before training.", _LOOK
    ),
    "bundle": LazyCommand(
        "ppclas_cli.commands.bundle:bundle", "Change labels or thresholds of a model.", _CARE
    ),
    "hub": LazyCommand("ppclas_cli.commands.hub:hub", "Share models on Hugging Face.", _LOOK),
    "config": LazyCommand(
        "ppclas_cli.commands.config:config", "Show, check and describe settings.", _LOOK
    ),
    "plugins": LazyCommand(
        "ppclas_cli.commands.plugins:command", "List what is installed; start a plugin.", _LOOK
    ),
    "doctor": LazyCommand(
        "ppclas_cli.commands.doctor:command", "Find what is wrong with this installation.", _CARE
    ),
    "completion": LazyCommand(
        "ppclas_cli.completion:command", "Complete names in the shell with TAB.", _CARE
    ),
    "setup": LazyCommand(
        "ppclas_cli.commands.setup:command",
        "Install the PaddlePaddle that fits this machine.",
        _CARE,
    ),
}
