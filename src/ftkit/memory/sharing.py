"""What a process holds beside its share of weights and gradients, where layers are put together as they are needed.

As torch's `fully_shard` does it, called on each layer and on the model: one group a layer, and one of all that is
outside the layers. Knows nothing about what a layer computes.

Source: torch 2.13, torch/distributed/fsdp/_fully_shard (`_fsdp_param_group.py`, `_fsdp_collectives.py`).
"""

from collections.abc import Mapping

from ftkit.memory.ledger import Ledger, Storage, Tensor

OUTSIDE = -1  # the group of embeddings, last norm and head


class Sharing:
    """Groups of weights that are gathered, and whose gradients are shared out.

    Args:
        wholes: bytes of each group's weights, put together.
        trained: the trained tensors of each group.
        ranks: processes.
        stays: whether layers stay together from the forward pass to the backward pass.
    """

    def __init__(self, ledger: Ledger, wholes: Mapping[int, int], trained: Mapping[int, list[Tensor]], ranks: int,
                 stays: bool):
        self._ledger, self._wholes, self._trained, self._ranks, self._stays = ledger, wholes, trained, ranks, stays
        self._together: dict[int, Storage] = {}  # weights as layers compute with them
        self._gathered: Storage | None = None  # in one piece, before they were taken apart; kept until the next one is
        self._ahead: dict[int, Storage] = {}  # gathered before they are needed
        self._handed_out: Storage | None = None  # a group's gradients in one piece, kept until the next group's
        self._shares: dict[int, Storage] = {}  # of gradients
        self._at = OUTSIDE

    def into(self, group: int) -> None:
        """A group's weights are put together for the forward pass."""
        piece = self._piece(group)
        self._together[group] = Storage(self._ledger, self._wholes[group], "weights")
        self._gathered = piece  # only now is the one before let go

    def out_of(self, group: int) -> None:
        """A layer's forward pass is over."""
        if not self._stays:
            del self._together[group]

    def turn(self) -> None:
        """The forward pass is over, and the backward pass begins."""
        self._gathered, self._at = None, OUTSIDE
        self._gather_ahead(len(self._wholes) - 2)

    def back_at(self, place: int | None) -> None:
        """The backward pass is at a layer, or outside of all (None)."""
        group = OUTSIDE if place is None else place
        if group == self._at:
            return
        if self._at != OUTSIDE:
            self._hand_out(self._at)
        self._at = group
        if group != OUTSIDE:
            if group not in self._together:
                whole = self._ahead.pop(group, None) or self._piece(group)
                self._together[group] = Storage(self._ledger, self._wholes[group], "weights")
                del whole
            self._gather_ahead(group - 1)

    def end(self) -> None:
        """The backward pass is over: what it has not come to is let go, and the last gradients are handed out."""
        self.back_at(None)
        self._ahead.clear()
        for group in sorted(self._together, reverse=True):
            self._hand_out(group)
        self._handed_out = None

    def _piece(self, group: int) -> Storage:
        return Storage(self._ledger, self._wholes[group], "scratch")

    def _gather_ahead(self, group: int) -> None:
        if group >= 0 and group not in self._together:
            self._ahead[group] = self._piece(group)

    def _hand_out(self, group: int) -> None:
        self._together.pop(group, None)
        self._handed_out = None
        leaves = [one.edge for one in self._trained[group] if one.edge.grad is not None]
        if not leaves:
            return
        whole = sum(leaf.size_bytes for leaf in leaves)
        self._handed_out = Storage(self._ledger, whole, "scratch")
        for leaf in leaves:
            leaf.grad = None
        share = Storage(self._ledger, -(-whole // self._ranks), "gradients")
        self._shares.setdefault(group, share)  # a later micro-batch's is added to it
