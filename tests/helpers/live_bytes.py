"""How many bytes of tensors are alive at once, counted operation by operation."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


class LiveBytes(TorchDispatchMode):
    """Count the bytes of all tensors that are made inside and still alive; `peak` is the most there were at once.

    Matrix products are not computed, only their sizes matter: in 16 bit they take minutes on some processors.
    """

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inside = [leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        known = {storage._cdata for storage in inside} - self.alive.keys()
        if func in PRODUCTS:
            left, right = args[-2:]
            output = left.new_zeros(*left.shape[:-1], right.shape[-1])
        else:
            output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in known:
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: pair for key, pair in self.alive.items() if not pair[0].expired()}
        self.peak = max(self.peak, self.now)
        return output

    @property
    def now(self):
        return sum(size for _, size in self.alive.values())
