"""What a kind of operators is held to, ours and anyone's: a class of tests that pytest collects in one's file:

from hwnas.testing import OperatorContract
from ghost import Ghost

class TestGhost(OperatorContract):
    operators = (Ghost(8, 8, 16, 16, ratio=2), Ghost(8, 8, 16, 16, ratio=4))
"""

from __future__ import annotations

from hwnas.testing.operators import OperatorContract

__all__ = ["OperatorContract"]
