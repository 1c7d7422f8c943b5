"""Quantizers: fewer bytes a vector, alone or in a chain such as ``PCA(256) | RaBitQ(4)``.

::

    quantizer = (PCA(256) | RaBitQ(4)).fit(vectors)
    codes = quantizer.encode(vectors)               # (n, 136) uint8
    nearest = quantizer.distances(query, codes)[0].argsort()[:10]

`ragopt.indexes.compare_quantizers` says what each would cost in recall on one's own vectors.
"""

from ragopt.indexes.quantize.base import Quantizer, Reducer
from ragopt.indexes.quantize.chain import Chain
from ragopt.indexes.quantize.product import ProductQuantizer
from ragopt.indexes.quantize.rabitq import RaBitQ
from ragopt.indexes.quantize.reduce import PCA, Truncate
from ragopt.indexes.quantize.scalar import Binary, Int4, Int8

__all__ = [
    "PCA",
    "Binary",
    "Chain",
    "Int4",
    "Int8",
    "ProductQuantizer",
    "Quantizer",
    "RaBitQ",
    "Reducer",
    "Truncate",
]
