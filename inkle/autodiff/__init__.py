"""Gradients as a graph transformation: one derivative rule per operation."""

from inkle.autodiff.reverse import gradient as gradient
