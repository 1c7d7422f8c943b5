"""The kernel of late interaction; importing this module imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["max_similarities"]

_SIGNATURE = (
    "void(int8[:, ::1], float32[::1], int8[:, ::1], float32[::1], int64[::1], float32[::1])"
)


@njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def max_similarities(  # noqa: PLR0917 - compiled functions take arrays and scalars
    question: NDArray[np.int8],
    question_scales: NDArray[np.float32],
    tokens: NDArray[np.int8],
    token_scales: NDArray[np.float32],
    starts: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """Mean over the question's tokens of the largest cosine with a token of each chunk.

    Khattab and Zaharia (2020), "ColBERT", section 3.3, there the sum. Inner products of codes are
    whole numbers, and exact; a vector is its codes times its scale.

    Args:
        question: (m, dim) codes, m >= 1.
        question_scales: (m,).
        tokens: (t, dim) codes of all chunks, one after the other; dim below 2^17.
        token_scales: (t,).
        starts: (n + 1,) first token of each chunk, and t.
        scores: (n,), written; -1 for a chunk without tokens.

    Cost: reads every code of the chunks m times, n * m * tokens * dim multiplications.
    """
    dim = question.shape[1]
    for chunk in range(len(scores)):
        if starts[chunk] == starts[chunk + 1]:
            scores[chunk] = np.float32(-1)
            continue
        total = np.float64(0)
        for row in range(len(question)):
            best = np.float32(-np.inf)
            for token in range(starts[chunk], starts[chunk + 1]):
                dot = np.int32(0)
                for column in range(dim):
                    dot += np.int32(question[row, column]) * np.int32(tokens[token, column])
                best = max(best, np.float32(dot) * token_scales[token])
            total += best * question_scales[row]
        scores[chunk] = total / len(question)
