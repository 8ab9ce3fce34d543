"""One training step: examples → vectors → loss → moved rows.

Everything between a batch of item rows and the new values of the tables: which rows the step needs, which of them
compete, their vectors and lengths, the loss, and the updates. Where several ranks train, each gives a part of the
users: rows, negatives and dropped ids are then the same on all, and the gradients are added up, so that the step is
the one that a single process would have taken with all of the users. It knows no epochs, files or validation;
`loop.py` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.feature_encoder import Bag
from contracts.fitted import HOT_EVENTS, LOST_NORM, ContentArrays
from contracts.interactions import Interactions
from training_job.attention import Windows, attended_vectors
from training_job.batches import Examples, ragged
from training_job.dense_adam import DenseAdam
from training_job.loss import Targets, log_inclusion, shared_softmax
from training_job.ranks import ALONE, Ints, Ranks
from training_job.recipe import Recipe
from training_job.sharded_table import Table
from training_job.towers import Histories, TorchBag, Towers, bag_sums, item_vectors, pooled_vectors, unit

SHORTEST_NORM, LONGEST_NORM = 0.25, 4.0
"""Bounds of an item's length: beyond a factor of four popularity would outvote any direction."""
SHORT_HISTORY = 16
"""Events up to which a history is encoded among short ones."""
QUERY_BLOCK = 1_024
"""Users encoded at once: 26 MB of history vectors at 100 events and 64 dimensions."""
NEIGHBOUR_BLOCK = 16_384
"""Items turned towards their neighbours at once: 84 MB of vectors at 20 neighbours and 64 dimensions."""
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Counts:
    """Of all events that are trained on, whichever rank holds them. n items."""

    item_events: Ints
    """[n]"""
    users: int
    """With at least one event."""

    @staticmethod
    def of(events: Interactions) -> Counts:
        return Counts(events.item_counts(), int(np.count_nonzero(events.lengths)))

    @property
    def relative_popularity(self) -> NDArray[np.float64]:
        """Events of an item over the mean [n]; one is added to both, so that a cold item has a place, too."""
        relative: NDArray[np.float64] = (self.item_events + 1.0) / (self.item_events.mean() + 1.0)
        return relative

    def norms(self, power: float) -> NDArray[np.float32]:
        """Length of each item vector [n]: popularity ^ power, clipped."""
        return np.clip(self.relative_popularity**power, SHORTEST_NORM, LONGEST_NORM).astype(np.float32)


@dataclass(frozen=True)
class TrainingData:
    """What the towers are trained on. n items, m users: those of this rank, or all."""

    events: Interactions
    item_features: Bag
    user_features: Bag
    counts: Counts


@dataclass(frozen=True)
class Joint:
    """What a step touches, of the users of all ranks; values may repeat."""

    targets: Ints
    """Item rows, like `history`. Both are empty where the whole catalogue competes."""
    history: Ints
    user_slots: Ints
    weight: float
    """Of all targets together."""


class Stepper:
    """Towers in training on some data, on this rank."""

    def __init__(
        self, towers: Towers, data: TrainingData, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self.towers, self.data, self.recipe, self.device, self.ranks = towers, data, recipe, device, ranks
        norms = data.counts.norms(recipe.norm_power)
        self.norms = self._tensor(norms)
        self.cold_norm = float(norms.min())
        """Length of the vector of an item without events: popularity only rises from there."""
        self.neighbours: ContentArrays | None = None
        """Set once the towers are trained; cold items then lean on them."""
        self.log_popularity = self._tensor(np.log(data.counts.relative_popularity).astype(np.float32))
        self.has_content = np.diff(data.item_features.offsets) > 0
        self.has_events = data.counts.item_events > 0
        self.lost = self._tensor(np.where(self.has_events | self.has_content, 1, LOST_NORM).astype(np.float32))
        """What is left of the length of an item [n] of which nothing is known."""
        self.competing = np.flatnonzero(self.has_events)
        self.log_q = self._log_q()
        self._place = np.zeros(len(self.has_events), np.int64)
        self._place[self.competing] = np.arange(len(self.competing))
        trained = towers.dense if recipe.ordered else {k: v for k, v in towers.dense.items() if k != "positions"}
        self.dense_optimiser = DenseAdam(trained.values())

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _log_q(self) -> NDArray[np.float32]:
        """Correction of each item [n]: zero where nothing is sampled."""
        counts, recipe = self.data.counts, self.recipe
        if not recipe.negatives:
            return np.zeros(len(counts.item_events), np.float32)
        # A set shows all its events, a window those within its horizons, which overlap, a newcomer what is asked.
        users = max(counts.users, 1)
        per_batch = recipe.users_per_batch / users
        if recipe.ordered:
            horizon = recipe.horizon
            found = float(min(horizon.asked * horizon.window, recipe.positions + horizon.window))
            found += recipe.newcomers.share * recipe.newcomers.targets
            per_batch *= found / max(float(counts.item_events.sum() / users), 1.0)
        return log_inclusion(counts.item_events, per_batch, recipe.negatives / max(len(self.competing), 1))

    def __call__(self, examples: Examples, rate: float, random: np.random.Generator) -> Tensor:
        """Move the towers by one batch, at `rate` times the recipe's learning rates; returns the mean loss.

        `examples` are this rank's part of the batch, which may be empty; `random` is in the same state on all ranks.
        """
        features = self.data.user_features.take(examples.users)
        joint = self._joint(examples, features)
        rows, n_candidates = self._rows(joint, random)
        leaves: list[tuple[Table, Tensor, Tensor]] = []
        vectors = self._item_vectors(rows, random, leaves)
        known = self._content(self.towers.user_slots, features, joint.user_slots, leaves)
        queries = self.encode(examples, vectors, known, self._tensor(rows), self._generator(random))
        targets = self._targets(examples, n_candidates, joint.weight)
        log_q = self._tensor(self.log_q[rows[:n_candidates]])
        loss = shared_softmax(queries, vectors[:n_candidates], log_q, targets, self.recipe.temperature)
        return self._move(loss, leaves, rate)

    def _joint(self, examples: Examples, features: Bag) -> Joint:
        """What all ranks' parts of the batch touch together."""
        sampled = (examples.targets, examples.history) if self.recipe.negatives else (_NO_ROWS, _NO_ROWS)
        arrays = (*sampled, np.unique(features.slots))
        (targets, history, user_slots), (weight,) = self.ranks.gather(arrays, examples.target_weights.sum())
        return Joint(targets, history, user_slots if self.ranks.alone else np.unique(user_slots), weight)

    def damping(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """How much items count in a history [c] by their popularity; of all items [n] by default."""
        return torch.exp(-self.towers.dense["pool_power"] * self.log_popularity[rows])

    def pool_weights(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """The same for item vectors, whose length is undone."""
        return self.damping(rows) / self.norms[rows]

    def _rows(self, joint: Joint, random: np.random.Generator) -> tuple[Ints, int]:
        """Distinct item rows that the step needs, and how many of them, from the first, compete.

        Items without events do not compete: all that could be learned of them is that nobody took them yet, and
        their content would pay for it.
        """
        if not self.recipe.negatives:
            return self.competing, len(self.competing)
        drawn = self.competing[random.integers(0, len(self.competing), self.recipe.negatives)]
        candidates = np.unique(np.concatenate([joint.targets, drawn]))
        rows = candidates
        if self.recipe.ordered:  # a set's history is part of its targets, a moment's is not
            rows = np.concatenate([candidates, np.setdiff1d(joint.history, candidates)])
        self._place[rows] = np.arange(len(rows))
        return rows, len(candidates)

    def _places(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where item rows of the catalogue stand among the rows of this step."""
        return self._place[items]

    def _item_vectors(
        self, rows: NDArray[np.int64], random: np.random.Generator, leaves: list[tuple[Table, Tensor, Tensor]]
    ) -> Tensor:
        index = self._tensor(rows)
        ids = self.towers.items.leaf(index)
        leaves.append((self.towers.items, index, ids))
        features = self.data.item_features.take(rows)
        content = self._content(self.towers.item_slots, features, np.unique(features.slots), leaves)
        if content is None:
            return item_vectors(ids, None, self.norms[index])
        kept = (random.random(len(rows)) >= self.recipe.id_dropout) | ~self.has_content[rows]
        return item_vectors(ids * self._tensor(kept.astype(np.float32)).unsqueeze(1), content, self.norms[index])

    def _content(
        self, table: Table, bag: Bag, slots: NDArray[np.integer], leaves: list[tuple[Table, Tensor, Tensor]]
    ) -> Tensor | None:
        """Summed slots [entities, d] of a bag, None where the side has no features at all.

        `slots`: the distinct ones that move, ascending; those of the bag, and of the other ranks' bags.
        """
        if len(table) == 0:
            return None
        index = self._tensor(slots.astype(np.int64))
        leaf = table.leaf(index)
        leaves.append((table, index, leaf))
        return bag_sums(leaf, TorchBag.of(bag, np.searchsorted(slots, bag.slots), self.device))

    def _generator(self, random: np.random.Generator) -> torch.Generator | None:
        """What draws on the device; seeded by `random`, whose state is all that a checkpoint keeps."""
        if not self.recipe.dropped:
            return None
        return torch.Generator(self.device).manual_seed(int(random.integers(2**63)))

    def encode(
        self,
        examples: Examples,
        vectors: Tensor,
        features: Tensor | None,
        rows: Tensor | slice = slice(None),
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Query vectors [q, d] of the moments of examples.

        `vectors` [c, d] are those of the rows of a step, or of the whole catalogue, `features` [b, d] the users' sums.
        """
        places = self._places(examples.history) if isinstance(rows, Tensor) else examples.history
        if self.recipe.ordered:
            items = (unit(vectors), self.damping(rows) * self.lost[rows])
            return self._attended(replace(examples, history=places), items, features, generator)
        lengths = examples.history_lengths
        histories = Histories(
            self._tensor(places),
            self._tensor(examples.history_weights),
            self._tensor(np.repeat(np.arange(len(lengths)), lengths)),
            self._tensor(np.concatenate([[0], np.cumsum(lengths)])),
        )
        items = (vectors, self.pool_weights(rows))
        return pooled_vectors(self.towers.dense, histories, items, features, self.recipe.temperature)

    def _attended(
        self,
        examples: Examples,
        items: tuple[Tensor, Tensor],
        features: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Short histories and long ones are rectangles of their own: a newcomer's would be empty but for one corner."""
        short = examples.history_lengths <= SHORT_HISTORY
        parts = [part for part in (np.flatnonzero(short), np.flatnonzero(~short)) if len(part)]
        found, order = [], []
        for part in parts or [_NO_ROWS]:  # who has no user in a step still has gradients, of zeros
            windows = Windows.of(examples.only(part), self.device)
            known = None if features is None else features[self._tensor(part)]
            found.append(attended_vectors(self.towers.dense, windows, items, known, self.recipe.dropped, generator))
            order.append(np.flatnonzero(np.isin(examples.owners, part)))
        return torch.cat(found)[self._tensor(np.argsort(np.concatenate(order)))]

    def queries(self, events: Interactions, users: NDArray[np.integer], vectors: Tensor) -> Tensor:
        """Query vectors [b, d] of users from their `events`, item `vectors` [n, d] given."""
        blocks = np.split(np.asarray(users), range(QUERY_BLOCK, len(users), QUERY_BLOCK))
        return torch.cat([self._last_queries(events, block, vectors) for block in blocks])

    def _last_queries(self, events: Interactions, users: NDArray[np.integer], vectors: Tensor) -> Tensor:
        lengths = np.minimum(events.lengths[users], self.recipe.positions)
        past = ragged(events.offsets[users + 1] - lengths, lengths)
        features = None
        if len(self.towers.user_slots):
            bag = self.data.user_features.take(users)
            features = bag_sums(self.towers.user_slots.values, TorchBag.of(bag, bag.slots, self.device))
        return self.encode(Examples.now(users, events.items[past], events.weights[past], lengths), vectors, features)

    def _targets(self, examples: Examples, n_candidates: int, weight: float) -> Targets:
        """Targets with weights that sum to 1 over all ranks; `weight` was their sum.

        What came before a moment is known; a set's is its target, too.
        """
        owners = places = _NO_ROWS
        if self.recipe.ordered:
            owners, events = examples.known()
            places = self._places(examples.history)[events]
        competing = places < n_candidates
        return Targets(
            self._tensor(examples.target_moments),
            self._tensor(self._places(examples.targets)),
            self._tensor(examples.target_weights / weight),
            self._tensor(owners[competing]),
            self._tensor(places[competing]),
        )

    def _move(self, loss: Tensor, leaves: list[tuple[Table, Tensor, Tensor]], rate: float) -> Tensor:
        """Move what the loss depends on; returns the loss, of all ranks."""
        self.dense_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        total = loss.detach()
        trained = [*self.dense_optimiser.tensors, *(leaf for _, _, leaf in leaves)]
        self.ranks.add_up([total, *(tensor.grad for tensor in trained if tensor.grad is not None)])
        self.dense_optimiser.step(self.recipe.dense_rate * rate)
        with torch.no_grad():
            for table, index, leaf in leaves:
                if leaf.grad is not None:
                    table.step(index, leaf.grad, self.recipe.table_rate * rate)
        return total

    @torch.no_grad()
    def catalogue(self) -> Tensor:
        """Vectors of all items [n, d] as they are now; of a table that ranks share, where rank 0 has it whole.

        An item without events has only its content and its neighbours'. One without those keeps its untrained
        direction at a length at which it is found last but is no zero.
        """
        bag = self.data.item_features
        norms = self.norms * self.lost
        if not len(self.towers.item_slots):
            return item_vectors(self.towers.items.whole, None, norms)
        content = bag_sums(self.towers.item_slots.values, TorchBag.of(bag, bag.slots, self.device))
        kept = self._tensor(self.has_events | ~self.has_content).unsqueeze(1)
        vectors = item_vectors(self.towers.items.whole * kept, content, norms)
        return vectors if self.neighbours is None else self._among_neighbours(vectors, norms, self.neighbours)

    def _among_neighbours(self, vectors: Tensor, norms: Tensor, content: ContentArrays) -> Tensor:
        """Turn cold items towards their TF-IDF neighbours among hot items, the more the fewer events they have.

        An item's own direction counts as its events and one, the mean direction of the neighbours as the part of being
        hot that it lacks. A block of items at a time: the neighbours' vectors of a million are 5 GB.
        """
        counts = self.data.counts.item_events
        cold = np.flatnonzero((counts < HOT_EVENTS) & (content.similarities > 0).any(axis=1))
        turned = vectors.clone()
        for block in np.split(cold, range(NEIGHBOUR_BLOCK, len(cold), NEIGHBOUR_BLOCK)):
            own = self._tensor((counts[block] + 1).astype(np.float32)).unsqueeze(1)
            rows = self._tensor(block)
            around = self._around(block, vectors, content) * (1 - (own - 1) / HOT_EVENTS)
            turned[rows] = unit(unit(vectors[rows]) * own + around) * norms[rows].unsqueeze(1)
        return turned

    def _around(self, rows: NDArray[np.integer], vectors: Tensor, content: ContentArrays) -> Tensor:
        """Mean direction of the neighbours of some items [c, d]; zeros where there are none."""
        places = self._tensor(np.maximum(content.neighbours[rows], 0).astype(np.int64))
        weights = self._tensor(np.maximum(content.similarities[rows], 0))
        return unit(torch.einsum("ckd,ck->cd", unit(vectors[places]), weights))

    @torch.no_grad()
    def unheard_of(self, rows: NDArray[np.integer], vectors: Tensor) -> Tensor:
        """Directions [c, d] that some items would have if training had never seen them; `vectors` [n, d] of all."""
        bag = self.data.item_features.take(rows)
        directions = unit(bag_sums(self.towers.item_slots.values, TorchBag.of(bag, bag.slots, self.device)))
        if self.neighbours is None:
            return directions
        return unit(directions + self._around(rows, vectors, self.neighbours))
