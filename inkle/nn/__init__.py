"""Layers, optimisers, saved weights and data sets; each an application of the public Tensor API."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from inkle.nn import optim as optim
from inkle.nn import state as state
from inkle.nn import utils as utils
from inkle.nn.batches import batches as batches
from inkle.nn.checkpoint import load_checkpoint as load_checkpoint
from inkle.nn.checkpoint import save_checkpoint as save_checkpoint
from inkle.nn.layers import Dropout as Dropout
from inkle.nn.layers import Embedding as Embedding
from inkle.nn.layers import Flatten as Flatten
from inkle.nn.layers import Identity as Identity
from inkle.nn.layers import Linear as Linear
from inkle.nn.layers import ModuleDict as ModuleDict
from inkle.nn.layers import ModuleList as ModuleList
from inkle.nn.layers import Sequential as Sequential
from inkle.nn.layers_attention import MultiheadAttention as MultiheadAttention
from inkle.nn.layers_attention import TransformerDecoder as TransformerDecoder
from inkle.nn.layers_attention import TransformerDecoderLayer as TransformerDecoderLayer
from inkle.nn.layers_attention import TransformerEncoder as TransformerEncoder
from inkle.nn.layers_attention import TransformerEncoderLayer as TransformerEncoderLayer
from inkle.nn.layers_conv import Conv1d as Conv1d
from inkle.nn.layers_conv import Conv2d as Conv2d
from inkle.nn.layers_conv import Conv3d as Conv3d
from inkle.nn.layers_conv import ConvTranspose1d as ConvTranspose1d
from inkle.nn.layers_conv import ConvTranspose2d as ConvTranspose2d
from inkle.nn.layers_conv import ConvTranspose3d as ConvTranspose3d
from inkle.nn.layers_norm import BatchNorm as BatchNorm
from inkle.nn.layers_norm import BatchNorm1d as BatchNorm1d
from inkle.nn.layers_norm import BatchNorm2d as BatchNorm2d
from inkle.nn.layers_norm import BatchNorm3d as BatchNorm3d
from inkle.nn.layers_norm import GroupNorm as GroupNorm
from inkle.nn.layers_norm import InstanceNorm as InstanceNorm
from inkle.nn.layers_norm import InstanceNorm1d as InstanceNorm1d
from inkle.nn.layers_norm import InstanceNorm2d as InstanceNorm2d
from inkle.nn.layers_norm import InstanceNorm3d as InstanceNorm3d
from inkle.nn.layers_norm import LayerNorm as LayerNorm
from inkle.nn.layers_norm import RMSNorm as RMSNorm
from inkle.nn.layers_recurrent import GRU as GRU
from inkle.nn.layers_recurrent import LSTM as LSTM
from inkle.nn.layers_recurrent import RNN as RNN
from inkle.nn.layers_recurrent import GRUCell as GRUCell
from inkle.nn.layers_recurrent import LSTMCell as LSTMCell
from inkle.nn.layers_recurrent import RNNCell as RNNCell
from inkle.nn.loader import DataLoader as DataLoader
from inkle.nn.loader import default_collate as default_collate
from inkle.nn.loader import prefetch as prefetch
from inkle.nn.progress import Progress as Progress

if TYPE_CHECKING:
    from inkle.nn import datasets as datasets


def __getattr__(name: str) -> ModuleType:
    """Load `inkle.nn.datasets` when it is first used: HTTP takes longer than all the rest."""
    if name == "datasets":
        return importlib.import_module("inkle.nn.datasets")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
