"""What a place is like: its streets and how fast one drives there, what lines them, who is about and how they drive.

The plain place is the embedded world's. With `varied` most drives have a place of their own, drawn wider than any one
recording shows: old towns, cities, suburbs, arterial roads, country roads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.simulation.boxes import DRIVEN, PARKED, VARIED_DRIVEN, VARIED_PARKED
from occflow.simulation.draws import log_uniform

PLAIN_SHARE = 0.12  # of the varied drives are in a plain place


@dataclass(frozen=True)
class Profile:
    """A kind of street: lanes a direction, whether cars park beside it, the strip between the directions and the speed
    that drivers take for allowed; `share` of the streets."""

    lanes: int
    parking: bool
    share: float
    median_m: float = 0.0
    limit_m_per_s: float = np.inf


@dataclass(frozen=True)
class Locality:
    """Ranges and shares that a town and its traffic are drawn from; the defaults are the plain place.

    Args:
        profiles: kinds of streets; gaps_m: between neighbouring streets; lost_links: share of links not built.
        straight: how much more often than in the plain place drivers go straight on.
        verge_m: green strip between kerb and sidewalk; storeys_m, depths_m, widths_m: of houses.
        built, parks: shares of house plots with a house, and of blocks without any; setbacks_m: houses from sidewalks.
        paved: share of the blocks whose ground is paved; lots: share that are parking lots; lots_filled: of the places
            there and before houses.
        green: trees and bushes, 1 is plain; clutter: what else stands at the kerb, 1 is plain.
        vehicles, pedestrians: their number, 1 is that of the settings; parked_share: None is that of the settings.
        driven, parked: shares of the kinds of vehicles; spread: of their sizes.
        fine: vegetation of many small parts, houses with roofs and bays, more kinds of things at the kerb, boxes and
            surfaces of many sizes.
        keenness: share of the allowed speed that drivers like, None where nothing is said to be allowed; accelerations,
            brakings: m/s^2; headways_s: time kept to who is ahead.
        restless_hz: how often a driver brakes for no visible reason; changes_hz: how often one changes lane.
        grass_m: how high grass stands; foliage_m: how deep a beam goes into leaves, on average; through: share of the
            beams that go on where they meet a surface of leaves.
        rough_m, tufts_m: how uneven open ground is, one standard deviation, and how long its waves are;
            paving_m: how uneven paved ground is from return to return.
        kerb_m: height of kerbs; pathless: share of the blocks whose sidewalks are bare ground.
        wild: share of the blocks without houses that undergrowth and woods fill; undergrowth_m: how high it stands.
        lined: share of the sides of blocks with undergrowth along the sidewalk or on the verge, and of the neighbours
            with something between them.
        overgrown: thickets on 100 m^2 of yards; stuff: sheds, stacked goods, bins, walls between yards, as many.
        rails: share of the sides of streets with guard rails or parapets; screens: share of the fences that are noise
            barriers.
        banks: share of the blocks that lie higher than the street, bank_m the most; slopes: of the banks.
    """

    profiles: tuple[Profile, ...] = (Profile(2, True, 0.4), Profile(1, True, 0.35), Profile(1, False, 0.25))
    gaps_m: tuple[float, float] = (58.0, 112.0)
    lost_links: float = 0.18
    straight: float = 1.0
    verge_m: float = 0.0
    storeys_m: tuple[float, ...] = (4.0, 7.0, 13.0)
    storey_shares: tuple[float, ...] = (0.45, 0.35, 0.2)
    widths_m: tuple[float, float] = (7.0, 22.0)
    depths_m: tuple[float, float] = (7.0, 13.0)
    built: float = 0.8
    parks: float = 0.12
    setbacks_m: tuple[float, float] = (0.5, 7.0)
    paved: float = 0.25
    lots: float = 0.0
    lots_filled: float = 0.0
    green: float = 1.0
    clutter: float = 1.0
    vehicles: float = 1.0
    pedestrians: float = 1.0
    parked_share: float | None = None
    driven: dict[str, float] = field(default_factory=lambda: DRIVEN)
    parked: dict[str, float] = field(default_factory=lambda: PARKED)
    spread: float = 0.06
    fine: bool = False
    keenness: tuple[float, float] | None = None
    accelerations: tuple[float, float] | None = None
    brakings: tuple[float, float] | None = None
    headways_s: tuple[float, float] | None = None
    restless_hz: float = 0.02
    changes_hz: float = 0.0
    grass_m: float = 0.0
    foliage_m: float = 0.0
    through: float = 0.0
    rough_m: float = 0.0
    tufts_m: float = 1.0
    paving_m: float = 0.0
    kerb_m: float = 0.15
    pathless: float = 0.0
    wild: float = 0.0
    undergrowth_m: tuple[float, float] = (0.5, 3.0)
    lined: float = 0.0
    overgrown: float = 0.0
    stuff: float = 0.0
    rails: float = 0.0
    screens: float = 0.0
    banks: float = 0.0
    bank_m: float = 0.0
    slopes: tuple[float, float] = (0.2, 0.8)

    @property
    def fastest_m_per_s(self) -> float:
        """The highest speed that is allowed anywhere."""
        return max(profile.limit_m_per_s for profile in self.profiles)


PLAIN = Locality()


@dataclass(frozen=True)
class _Character:
    """What places of a character share: ranges from and to of a Locality's values, and of the streets' measures."""

    share: float
    limits_m_per_s: tuple[float, float]  # of the main streets
    lanes: tuple[int, int]
    gaps_m: tuple[float, float]
    verges_m: tuple[int, int]
    setbacks_m: tuple[float, float]
    storeys_m: tuple[float, float]
    built: tuple[float, float]
    green: tuple[float, float]
    parked: tuple[float, float]
    pedestrians: tuple[float, float]
    straight: tuple[float, float]
    wild: tuple[float, float]
    lined: tuple[float, float]
    overgrown: tuple[float, float]
    rails: tuple[float, float]
    banks: tuple[float, float]
    pathless: tuple[float, float]


CHARACTERS = {
    "old town": _Character(0.12, (6, 11), (1, 1), (58, 90), (0, 0), (0, 3), (6, 18), (0.8, 1.0), (0.1, 0.8),
                           (0.4, 0.75), (0.8, 2.5), (0.7, 1.5),
                           (0.0, 0.1), (0.0, 0.6), (0.1, 1.5), (0.0, 0.05), (0.0, 0.1), (0.0, 0.1)),
    "city": _Character(0.26, (9, 17), (2, 3), (85, 150), (0, 2), (0, 8), (6, 30), (0.6, 1.0), (0.3, 1.6), (0.4, 0.75),
                       (0.8, 3.0), (1.0, 4.0),
                       (0.0, 0.25), (0.0, 0.7), (0.1, 2.0), (0.0, 0.15), (0.0, 0.1), (0.0, 0.1)),
    "suburb": _Character(0.29, (8, 15), (1, 2), (75, 140), (0, 4), (3, 15), (3, 9), (0.4, 0.9), (1.5, 4.5), (0.3, 0.7),
                         (0.2, 1.5), (1.0, 3.0),
                         (0.0, 0.4), (0.3, 1.0), (0.5, 4.0), (0.0, 0.1), (0.0, 0.3), (0.0, 0.3)),
    "arterial": _Character(0.19, (14, 25), (2, 3), (150, 280), (0, 6), (4, 30), (4, 16), (0.3, 0.8), (0.6, 2.5),
                           (0.05, 0.35), (0.05, 0.5), (3.0, 12.0),
                           (0.1, 0.7), (0.2, 1.0), (0.2, 3.0), (0.0, 0.7), (0.0, 0.5), (0.0, 0.7)),
    "country": _Character(0.14, (15, 28), (1, 2), (170, 300), (2, 6), (6, 35), (3, 8), (0.02, 0.35), (2.0, 6.0),
                          (0.0, 0.15), (0.0, 0.2), (4.0, 12.0),
                          (0.3, 0.95), (0.3, 1.0), (0.3, 3.0), (0.0, 0.6), (0.0, 0.6), (0.3, 1.0)),
}
MINOR_LIMITS = (0.5, 0.9)  # of the main streets' speed: what side streets allow
PARKED_BESIDE_M_PER_S = 16.0  # beside faster streets few park
MEDIANS_M = (0, 1, 2, 3, 4, 6)


def drawn(rng: np.random.Generator) -> Locality:
    """A place of its own for every generator state; a share of them is the plain one."""
    if rng.random() < PLAIN_SHARE:
        return PLAIN
    names = list(CHARACTERS)
    kind = CHARACTERS[names[int(rng.choice(len(names), p=[CHARACTERS[name].share for name in names]))]]
    gap = rng.uniform(kind.gaps_m[0], 0.7 * kind.gaps_m[1])
    return Locality(
        profiles=_profiles(kind, rng), gaps_m=(gap, rng.uniform(1.1, 1.4) * gap), lost_links=rng.uniform(0.05, 0.35),
        straight=rng.uniform(*kind.straight), verge_m=0.5 * int(rng.integers(2 * kind.verges_m[0],
                                                                             2 * kind.verges_m[1] + 1)),
        storeys_m=tuple(sorted(rng.uniform(*kind.storeys_m, 3))), storey_shares=tuple(rng.dirichlet(2 * np.ones(3))),
        widths_m=(7.0, rng.uniform(14, 45)), depths_m=(7.0, rng.uniform(10, 25)), built=rng.uniform(*kind.built),
        parks=rng.uniform(0.02, 0.25), setbacks_m=(kind.setbacks_m[0], rng.uniform(*kind.setbacks_m) + 1),
        paved=rng.uniform(0.0, 0.2), lots=0.3 * rng.random()**2,
        lots_filled=rng.uniform(0.05, 0.95), green=rng.uniform(*kind.green), clutter=np.exp(rng.uniform(-0.2, 1.2)),
        vehicles=log_uniform(rng, 0.25, 1.7), pedestrians=rng.uniform(*kind.pedestrians),
        parked_share=rng.uniform(*kind.parked), driven=_mixed(VARIED_DRIVEN, rng), parked=_mixed(VARIED_PARKED, rng),
        spread=rng.uniform(0.05, 0.16), fine=True, keenness=(0.8, rng.uniform(1.0, 1.2)),
        accelerations=(1.0, rng.uniform(1.6, 3.2)), brakings=(1.4, rng.uniform(2.0, 3.5)),
        headways_s=(0.8, rng.uniform(1.2, 2.0)), restless_hz=rng.uniform(0.0, 0.05), changes_hz=rng.uniform(0.0, 0.1),
        grass_m=log_uniform(rng, 0.005, 0.4), foliage_m=log_uniform(rng, 0.02, 0.4),
        through=0.7 * rng.random()**2, paving_m=log_uniform(rng, 0.003, 0.04),
        rough_m=log_uniform(rng, 0.005, 0.15), tufts_m=log_uniform(rng, 0.7, 2.5),
        kerb_m=rng.uniform(0.03, 0.2), pathless=rng.uniform(*kind.pathless), wild=rng.uniform(*kind.wild),
        undergrowth_m=(rng.uniform(0.3, 1.0), rng.uniform(1.5, 5.0)), lined=rng.uniform(*kind.lined),
        overgrown=rng.uniform(*kind.overgrown), stuff=log_uniform(rng, 0.05, 0.8),
        rails=rng.uniform(*kind.rails), screens=rng.uniform(0.0, 0.3), banks=rng.uniform(*kind.banks),
        bank_m=rng.uniform(1.0, 6.0), slopes=(rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.85)))


def _profiles(kind: _Character, rng: np.random.Generator) -> tuple[Profile, ...]:
    """Main streets and side streets, some with parking, some with a strip in the middle."""
    limit, main = rng.uniform(*kind.limits_m_per_s), rng.uniform(0.35, 0.7)
    slow = limit * rng.uniform(*MINOR_LIMITS)
    broad = int(rng.integers(kind.lanes[0], kind.lanes[1] + 1))
    median = float(rng.choice(MEDIANS_M)) if broad > 1 and rng.random() < 0.6 else 0.0
    return (Profile(broad, bool(rng.random() < (0.75 if limit < PARKED_BESIDE_M_PER_S else 0.25)), main, median, limit),
            Profile(1, True, (1 - main) * 0.6, 0.0, slow), Profile(1, False, (1 - main) * 0.4, 0.0, slow))


def _mixed(shares: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    """Shares of a place's own about the usual ones."""
    return {name: share * float(np.exp(rng.normal(0, 0.5))) for name, share in shares.items()}
