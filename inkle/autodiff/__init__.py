"""Gradients as a graph transformation: one derivative rule per operation."""

from inkle.autodiff.adjoints import has_adjoint as has_adjoint
from inkle.autodiff.reverse import differentiable_below as differentiable_below
from inkle.autodiff.reverse import gradient as gradient
from inkle.autodiff.reverse import write_out as write_out
