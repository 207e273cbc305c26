"""Which module's call each node belongs to, and what enters and leaves each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import fx

from pytorch_to_mlx.capture.clean import is_size
from pytorch_to_mlx.capture.state import Program, result_leaves

Frame = tuple[str, str, str]
"""Of one module's call: a key that no other call has, the module's path, and the name of its class."""


@dataclass(eq=False)
class Call:
    """One call of one module.

    Attributes:
        path: of the module; "" for the whole model.
        kind: qualified name of its PyTorch class.
        items: what it does, in order: nodes, and calls of other modules.
        inputs, outputs: the tensors that it takes from outside, and those that are used there.
        repeated: whether its module, or one that is called within, is called elsewhere too: such calls keep their
            order, by which their outputs are told apart.
    """

    key: str
    path: str
    kind: str
    parent: Call | None = None
    items: list[fx.Node | Call] = field(default_factory=list)
    inputs: list[fx.Node] = field(default_factory=list)
    outputs: list[fx.Node] = field(default_factory=list)
    repeated: bool = False

    def nodes(self) -> Iterator[fx.Node]:
        """Every node in it and in the calls within, in order."""
        for item in self.items:
            if isinstance(item, Call):
                yield from item.nodes()
            else:
                yield item

    def calls(self) -> Iterator[Call]:
        """Every call within, the outer ones first."""
        for item in self.items:
            if isinstance(item, Call):
                yield item
                yield from item.calls()

    @property
    def height(self) -> int:
        """0 where no module is called within."""
        return 1 + max((item.height for item in self.items if isinstance(item, Call)), default=-1)


def build_tree(program: Program, frames_of: Callable[[fx.Node], list[Frame]]) -> Call:
    """The calls of a program, as a tree.

    A call whose nodes do not stand together keeps the largest group of them; its caller does the rest.
    """
    nodes = [node for node in program.graph.nodes if node.op in ("call_function", "get_attr") and not is_size(node)]
    frames = [frames_of(node) for node in nodes]
    for place in range(1, len(frames)):
        moved = bool(nodes[place].meta.get("moved"))
        if not frames[place] or moved:
            later = (f for k, f in enumerate(frames[place + 1 :], place + 1) if f and not nodes[k].meta.get("moved"))
            common = _common(frames[place - 1], next(later, []))
            if len(common) > len(frames[place]):
                frames[place] = common
    runs: dict[str, list[int]] = {}
    counts: dict[tuple[str, int], int] = {}
    open_keys: list[str] = []
    for place, chain in enumerate(frames):
        keys = [key for key, _, _ in chain[1:]]
        shared = len(_common(list(open_keys), keys))
        for key in keys[shared:]:
            runs.setdefault(key, []).append(place)
        open_keys = keys
        for key in keys:
            start = runs[key][-1]
            counts[key, start] = counts.get((key, start), 0) + 1
    kept = {key: max(starts, key=lambda s: counts[key, s]) for key, starts in runs.items()}
    first = next((chain[0] for chain in frames if chain), ("", "", "Model"))
    root = Call(first[0], "", first[2])
    made: dict[str, Call] = {}
    for place, (node, chain) in enumerate(zip(nodes, frames, strict=True)):
        where = root
        for key, path, kind in chain[1:]:
            start = max(s for s in runs[key] if s <= place)
            if start != kept[key]:
                continue
            if key not in made:
                made[key] = Call(key, path, kind, where)
                where.items.append(made[key])
            where = made[key]
        where.items.append(node)
    return root


def dissolve(call: Call, unwanted: Callable[[Call], bool]) -> None:
    """Let a caller do itself what an unwanted call within it does, or one of a module that is not below its own."""
    waiting, kept = list(call.items), []
    while waiting:
        item = waiting.pop(0)
        outside = isinstance(item, Call) and call.path != "" and not item.path.startswith(f"{call.path}.")
        if isinstance(item, Call) and (outside or unwanted(item)):
            waiting = [*item.items, *waiting]
            continue
        if isinstance(item, Call):
            item.parent = call
            dissolve(item, unwanted)
        kept.append(item)
    call.items = kept


def find_ends(root: Call, program: Program) -> None:
    """Fill in what enters and leaves each call."""
    returned = {leaf for leaf in result_leaves(program.results) if isinstance(leaf, fx.Node)}
    returned |= set(program.mutated.values())
    counts = Counter(call.path for call in root.calls())
    for call in root.calls():
        call.repeated = any(counts[each.path] > 1 for each in (call, *call.calls()))
        inside = set(call.nodes())
        call.inputs = list(
            dict.fromkeys(
                source
                for node in call.nodes()
                for source in node.all_input_nodes
                if source not in inside and not is_size(source) and not _own(program, call, source)
            )
        )
        call.outputs = [
            node for node in call.nodes() if node in returned or any(user not in inside for user in real_users(node))
        ]
    root.outputs = [leaf for leaf in result_leaves(program.results) if isinstance(leaf, fx.Node)]
    root.inputs = list(program.inputs)


def real_users(node: fx.Node) -> list[fx.Node]:
    """Users, but those that only ask for a size."""
    return [user for user in node.users if not is_size(user) and user.op != "output"]


def _own(program: Program, call: Call, node: fx.Node) -> bool:
    name = program.states.get(node)
    return name is not None and (call.path == "" or name.startswith(f"{call.path}."))


def _common(a: list, b: list) -> list:
    shared = []
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared.append(x)
    return shared
