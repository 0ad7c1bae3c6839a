"""A space of GhostNet's modules, a block of one's own: hwnas run experiment=smoke space=examples/ghost_space.py:make"""

from torch import cat, nn

from hwnas.operators import Conv, GlobalPool, Linear, Operator, operator_kind
from hwnas.spaces import Place, PlacedSpace


class GhostModule(nn.Module):  # Han et al., 2020
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        half = outputs // 2
        cheap = nn.Conv2d(half, half, kernel, padding=kernel // 2, groups=half, bias=False)
        self.primary = nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.cheap = nn.Sequential(cheap, nn.BatchNorm2d(half), nn.ReLU())

    def forward(self, x):
        half = self.primary(x)
        return cat([half, self.cheap(half)], dim=1)


@operator_kind("ghost")
class Ghost(Operator):
    kernel: int = 3

    def layer(self):
        return GhostModule(self.in_channels, self.out_channels, self.kernel)


def make(in_channels, classes):
    def places(size):
        half = size // 2
        yield Place("stem", Conv(size, size, in_channels, 16, kernel=3, stride=2, activation="relu"))
        for n in range(3):
            ghost = lambda ks, d, n=n: Ghost(half, half, 16, 16, kernel=ks) if d > n else None  # noqa: E731
            yield Place(f"block{n}", ghost, {f"ks{n}": (3, 5), "d": (1, 2, 3)})
        yield Place("pool", GlobalPool(half, half, 16, 16))
        yield Place("classifier", Linear(1, 1, 16, classes))

    return PlacedSpace("ghost", (16, 24), in_channels, classes, places)
