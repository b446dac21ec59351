"""A ledger of live bytes: tensors without numbers, the graph that autograd keeps of them, and the way back through it.

A tensor here is a size. Its bytes are entered when it is made and struck out when nothing refers to it any more, as
torch does it: local names, what nodes saved for the backward pass, gradients on their way. So a forward pass written
with these sizes, line by line as a model's own, has the same peak. Knows nothing about models.

It counts on CPython, which frees what is no longer referred to at once.
"""

import heapq
from collections.abc import Callable, Sequence

PARTS = ("weights", "adapters", "optimizer", "gradients", "activations", "attention", "logits", "scratch", "buffers")


class Ledger:
    """Live bytes by part, and the highest they ever were.

    Example:
        >>> ledger = Ledger()
        >>> held = Storage(ledger, 2048, "weights")
        >>> passing = Storage(ledger, 1000, "scratch")
        >>> del passing
        >>> ledger.live, ledger.peak
        (2048, 3072)
    """

    GRANULE = 512  # CUDA's allocator hands out whole ones

    def __init__(self):
        self.live = self.peak = 0
        self.by_part = dict.fromkeys(PARTS, 0)
        self.at_peak = dict(self.by_part)
        self.where = self.peak_where = ("loading", None)  # which pass, and in which layer
        self.tops: dict[tuple, int] = {}
        self.part = "activations"
        self.forgets = False  # no graph: what a checkpointed layer does at first
        self.held: list[Storage] = []  # by nodes of a layer that is forgotten, whatever torch is told to forget
        self.order = 0
        self.kept_by_layer: list[int] = []  # what stayed of each layer's forward pass
        self.casts: list[Storage | View] = []  # of trained weights, kept through the forward pass
        self.back_at: Callable[[int | None], None] | None = None  # told where the backward pass is

    def enter(self, size_bytes: int, part: str) -> None:
        """Notes that so many bytes are there."""
        size_bytes = -(-size_bytes // self.GRANULE) * self.GRANULE
        self.live += size_bytes
        self.by_part[part] += size_bytes
        if self.live > self.tops.get(self.where, 0):
            self.tops[self.where] = self.live
            if self.live > self.peak:
                self.peak, self.peak_where, self.at_peak = self.live, self.where, dict(self.by_part)

    def strike(self, size_bytes: int, part: str) -> None:
        """Notes that they are gone."""
        size_bytes = -(-size_bytes // self.GRANULE) * self.GRANULE
        self.live -= size_bytes
        self.by_part[part] -= size_bytes


class Storage:
    """Bytes that live as long as something refers to them."""

    __slots__ = ("ledger", "size_bytes", "part")

    def __init__(self, ledger: Ledger, size_bytes: int, part: str):
        self.ledger, self.size_bytes, self.part = ledger, size_bytes, part
        ledger.enter(size_bytes, part)

    def move(self, part: str) -> None:
        """Enters the same bytes under another part."""
        self.ledger.strike(self.size_bytes, self.part)
        self.part = part
        self.ledger.enter(self.size_bytes, part)

    def __del__(self):
        self.ledger.strike(self.size_bytes, self.part)


class View:
    """A piece of another storage, which it keeps alive."""

    __slots__ = ("of", "size_bytes")

    def __init__(self, of: "Storage | View", size_bytes: int):
        self.of, self.size_bytes = of, size_bytes


class Leaf:
    """A trained parameter's place in the graph, or a layer's input's, where its gradient gathers.

    Args:
        size_bytes: of the gradient, as it comes.
        part: that it is entered under.
    """

    __slots__ = ("size_bytes", "part", "grad")

    def __init__(self, size_bytes: int, part: str = "gradients"):
        self.size_bytes, self.part, self.grad = size_bytes, part, None


class Node:
    """A step of the graph: whose gradients it makes, and what it saved for that.

    Args:
        order: nodes made later go back first.
        edges: for each input a node and which of its outputs it was, or a leaf, or None.
        back: from the gradients of its outputs to those of its inputs.
        saved: storages that it lets go of once its gradients are made.
        held: storages that it keeps as long as it lives.
        outputs: bytes of each.
        where: the layer it was made in.
    """

    __slots__ = ("order", "edges", "back", "saved", "held", "outputs", "where")

    def __init__(self, order: int, edges: list, back: Callable, saved: Sequence, held: Sequence, outputs: list[int],
                 where: int | None):
        self.order, self.edges, self.back, self.saved, self.held = order, edges, back, saved, held
        self.outputs, self.where = outputs, where


class Tensor:
    """A tensor of which the size alone is known.

    Args:
        store: its bytes.
        numel: how many numbers.
        kind: bytes of a number.
        edge: where its gradient goes, None if it needs none.
    """

    __slots__ = ("store", "numel", "kind", "edge")

    def __init__(self, store: "Storage | View", numel: int, kind: int, edge: "tuple[Node, int] | Leaf | None" = None):
        self.store, self.numel, self.kind, self.edge = store, numel, kind, edge

    def detached(self, edge: Leaf | None = None) -> "Tensor":
        """The same bytes at the beginning of a graph of their own."""
        return Tensor(self.store, self.numel, self.kind, edge)


def made(ledger: Ledger, numel: int, kind: int, inputs: Sequence[Tensor], back: Callable, saved: Sequence = (),
         held: Sequence = ()) -> Tensor:
    """A new tensor and, where an input needs a gradient, its node.

    Args:
        inputs: what it was made of.
        back: called with the list of its gradient and, for each input, whether that needs one; returns a storage for
            each that does.
        saved: storages needed for that.
        held: storages that live as long as the node.
    """
    store = Storage(ledger, numel * kind, ledger.part)
    return Tensor(store, numel, kind, _edge(ledger, inputs, back, saved, held, [numel * kind]))


def viewed(ledger: Ledger, x: Tensor, numels: Sequence[int], back: Callable) -> list[Tensor]:
    """Pieces of a tensor, all outputs of one node."""
    edge = _edge(ledger, [x], back, (), (), [numel * x.kind for numel in numels])
    return [Tensor(x.store, numel, x.kind, edge and (edge[0], place)) for place, numel in enumerate(numels)]


def backward(ledger: Ledger, edge: tuple[Node, int], grad: "Storage | View") -> None:
    """The way back from a tensor's edge to the leaves, whose gradients gather on the way.

    Args:
        grad: of that tensor.
    """
    waiting, heap = {}, []
    _deliver(ledger, waiting, heap, edge, grad)
    del grad
    while heap:
        node = heapq.heappop(heap)[1]
        if ledger.back_at is not None:
            ledger.back_at(node.where)
        ledger.where = ("backward", node.where)
        found = node.back(waiting.pop(node), [edge is not None for edge in node.edges])
        node.saved = ()
        for place, edge in enumerate(node.edges):
            one, found[place] = found[place], None
            if edge is not None:
                _deliver(ledger, waiting, heap, edge, one)
            del one


def checkpointed(ledger: Ledger, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a function makes of x, of which no more than x is kept; it runs again on the way back."""
    outer, ledger.forgets, ledger.held = ledger.forgets, True, []
    y = function(x)
    ledger.forgets, held, ledger.held = outer, tuple(ledger.held), []
    if y.edge is None:
        return y
    kept = [x.detached()]

    def back(grads: list, wants: list[bool]) -> list:
        again = kept.pop()
        leaf = Leaf(x_bytes, "scratch") if wants[0] else None
        edge = function(again.detached(leaf)).edge
        del again
        backward(ledger, edge, grads.pop())
        return [leaf and leaf.grad]

    x_bytes = x.numel * x.kind
    ledger.order += 1
    node = Node(ledger.order, [x.edge], back, (), held, [y.numel * y.kind], ledger.where[1])
    return Tensor(y.store, y.numel, y.kind, (node, 0))


def scratch(ledger: Ledger, size_bytes: int) -> Storage:
    """Bytes of a gradient on its way, or of anything else that is gone soon."""
    return Storage(ledger, size_bytes, "scratch")


def _edge(ledger: Ledger, inputs: Sequence[Tensor], back: Callable, saved: Sequence, held: Sequence,
          outputs: list[int]) -> tuple[Node, int] | None:
    edges = [one.edge for one in inputs]
    if not any(edge is not None for edge in edges):
        return None
    if ledger.forgets:
        ledger.held += held
        saved = held = ()
    ledger.order += 1
    return Node(ledger.order, edges, back, saved, held, outputs, ledger.where[1]), 0


def _deliver(ledger: Ledger, waiting: dict, heap: list, edge: "tuple[Node, int] | Leaf", grad) -> None:
    """Puts a gradient where it is waited for, in the type and size that are waited for."""
    if isinstance(edge, Leaf):
        _gather(ledger, edge, grad)
        return
    node, place = edge
    if grad.size_bytes != node.outputs[place]:
        grad = scratch(ledger, node.outputs[place])  # cast, or summed up where it was broadcast
    if node not in waiting:
        waiting[node] = [None] * len(node.outputs)
        heapq.heappush(heap, (-node.order, node))
    if waiting[node][place] is None:
        waiting[node][place] = grad  # a second one is added to the first, in place


def _gather(ledger: Ledger, leaf: Leaf, grad: "Storage | View") -> None:
    if leaf.grad is not None:
        return  # added in place
    if not isinstance(grad, Storage) or grad.size_bytes != leaf.size_bytes or grad.part != "scratch":
        leaf.grad = Storage(ledger, leaf.size_bytes, leaf.part)
        return
    grad.move(leaf.part)  # taken as it is, without a copy
    leaf.grad = grad
