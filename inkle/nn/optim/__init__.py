"""Optimisers: they move parameters against their gradients; schedules of their learning rates."""

from inkle.nn.optim import lr_scheduler as lr_scheduler
from inkle.nn.optim.adaptive import LAMB, Adafactor, Adagrad, Adam, AdamW, NAdam, RMSprop
from inkle.nn.optim.base import Optimizer, OptimizerGroup
from inkle.nn.optim.gradient import LARS, SGD, Lion, Muon

__all__ = [
    "Optimizer",
    "OptimizerGroup",
    "SGD",
    "LARS",
    "Lion",
    "Muon",
    "Adam",
    "AdamW",
    "NAdam",
    "LAMB",
    "RMSprop",
    "Adagrad",
    "Adafactor",
]
