"""What users touch: lazy tensors, their operations, gradients and random numbers."""

from inkle.tensor import dtypes as dtypes
from inkle.tensor.gradients import grad as grad
from inkle.tensor.gradients import value_and_grad as value_and_grad
from inkle.tensor.modes import is_training as is_training
from inkle.tensor.modes import no_grad as no_grad
from inkle.tensor.modes import training as training
from inkle.tensor.random import manual_seed as manual_seed
from inkle.tensor.tensor import Tensor as Tensor
