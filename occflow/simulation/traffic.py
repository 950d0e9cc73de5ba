"""What moves: vehicles that follow lanes and each other and wait at junctions, and pedestrians.

The whole state is in Traffic, and decisions are drawn when they are made: a deep copy can be stepped on with another
random generator, which is how branching futures are made from one present.
"""

from __future__ import annotations

import numpy as np

from occflow.simulation.agents import COMFORT_BRAKING, Agent, nearest_along, places_along
from occflow.simulation.boxes import Bodies, Boxes
from occflow.simulation.junctions import choose_turn, decides_now, grant_crossings
from occflow.simulation.locality import Locality
from occflow.simulation.overtaking import change_lanes
from occflow.simulation.town import Town
from occflow.simulation.walking import street_is_free, walk_on, walking_speeds

TICK_S = 0.1  # decisions are made ten times a second; between them everybody keeps its speed
MAX_BRAKING = 7.0  # m/s^2
BEND_ACCELERATION = 2.0  # sideways, m/s^2
STANDSTILL_GAP_M = 2.0
AHEAD_M = np.arange(0.0, 37.0, 2.0)  # places ahead on the own path that a driver looks at
FAR_AHEAD_M = np.arange(40.0, 221.0, 5.0)  # and these where one drives fast
SLOWEST_FAST_M_PER_S, STOPPING_DECELERATION = 13.0, 1.6  # as far ahead as it takes to stop so gently
LOOKS_M, LOOKS_S = 10.0, 3.5  # it looks this far, and as far as it comes in this time
OUTLINE_SHARES = np.array([-0.5, -0.17, 0.17, 0.5])  # of the length, from the middle: where one may be in the way
SIDE_ROOM_M, CROSSER_ROOM_M = 0.2, 3.5  # beside the own body: of anybody, and of those who cross the street
BRAKING_S = 3.0  # a driver brakes now and then, for no visible reason
MOOD_RATE_HZ, MOODS = 0.25, (0.65, 1.1)  # now and then everybody likes another share of its cruise speed
FAR_M = 1e3


class Traffic:
    """All agents in a town; agent 0 is the ego. `tick` counts the steps made."""

    def __init__(self, town: Town, agents: list[Agent]) -> None:
        self.streets, self.ground, self.agents, self.tick = town.streets, town.ground, agents, 0
        locality = town.locality
        self.drivers = [index for index, agent in enumerate(agents) if agent.route is not None]
        self.towing = [index for index, agent in enumerate(agents) if agent.tows is not None]
        self.walkers = [index for index, agent in enumerate(agents) if agent.walk is not None]
        self.restless_hz, self.changes_hz = locality.restless_hz, locality.changes_hz
        self.ahead_m = _looked_at(locality)
        self.accelerations, self.brakings, self.headways_s, self.keenness = np.array(
            [(agents[index].manner.acceleration, agents[index].manner.braking, agents[index].manner.headway_s,
              agents[index].manner.keenness) for index in self.drivers]).reshape(-1, 4).T
        self.sizes_m = np.array([agent.size_m for agent in agents]).reshape(-1, 3)
        self.parked = np.array([agent.parked for agent in agents], dtype=np.float64).reshape(-1, 3)
        self.upright = np.array([agent.category.startswith("human") for agent in agents])
        self.movers, self.standers = ([index for index, agent in enumerate(agents) if index and agent.moves == moves]
                                      for moves in (True, False))
        self.moving, self.standing = (Bodies([agents[index].kind for index in group], self.sizes_m[group], group)
                                      for group in (self.movers, self.standers))

    @property
    def ego(self) -> Agent:
        return self.agents[0]

    def places(self, seconds: float = 0.0, chosen: list[int] | None = None) -> np.ndarray:
        """[N, 3] x, y, heading of all or chosen agents, `seconds` after (at most a tick before) the last step."""
        chosen = range(len(self.agents)) if chosen is None else chosen
        places = self.parked[chosen]
        mobile = [(number, self.agents[index]) for number, index in enumerate(chosen) if self.agents[index].moves]
        places[[number for number, _ in mobile]] = places_along(
            [agent.path for _, agent in mobile], np.array([agent.distance_after_m(seconds) for _, agent in mobile]))
        return places

    def poses(self, seconds: float = 0.0, chosen: list[int] | None = None) -> np.ndarray:
        """[N, 4, 4] world <- agent; origins on the ground, below the middle of the agent."""
        upright = self.upright if chosen is None else self.upright[chosen]
        return self.ground.poses(*self.places(seconds, chosen).T, upright)

    def ego_pose(self, seconds: float = 0.0) -> np.ndarray:
        """Pose [4, 4] of the ego alone."""
        return self.poses(seconds, [0])[0]

    def moving_boxes(self, instants_s: np.ndarray) -> list[Boxes]:
        """The shapes of all agents that may move, but of the ego, at instants [K] as in `places`; owners are agent
        indices."""
        places = np.concatenate([self.places(seconds, self.movers) for seconds in instants_s.tolist()])
        poses = self.ground.poses(*places.T, np.tile(self.upright[self.movers], len(instants_s)))
        return [self.moving.at(part) for part in poses.reshape(len(instants_s), -1, 4, 4)]

    def standing_boxes(self) -> Boxes:
        """The shapes of all agents that never move."""
        return self.standing.at(self.poses(0.0, self.standers))

    def boxes(self, seconds: float = 0.0) -> Boxes:
        """The shapes of all agents but the ego."""
        return Boxes.joined([self.standing_boxes(), *self.moving_boxes(np.array([seconds]))])

    def step(self, rng: np.random.Generator) -> None:
        """Advance all movers by a tick."""
        for agent in self.agents:
            if agent.moves:
                agent.distance_m += TICK_S * agent.speed_m_per_s
                agent.arrived_m_per_s = agent.speed_m_per_s
        for index in self.towing:
            self.agents[index].tow()
        self.tick += 1
        self.decide(rng)

    def decide(self, rng: np.random.Generator) -> None:
        """Draw what is to be decided now, and set everybody's speed for the next tick."""
        drivers = [self.agents[index] for index in self.drivers]
        for agent in (agent for agent in self.agents if agent.moves):
            if rng.random() < MOOD_RATE_HZ * TICK_S:
                agent.mood = float(rng.uniform(*MOODS))
        for agent in drivers:
            if decides_now(agent):
                choose_turn(self.streets, agent, rng)
        if self.changes_hz:
            change_lanes(self.streets, drivers, self.changes_hz * TICK_S, rng)
        places = self.places()
        speeds = np.array([agent.speed_m_per_s for agent in self.agents])
        grant_crossings(drivers, places[:, :2], np.where(speeds < 1.5, self.sizes_m[:, 0] / 2, -np.inf), TICK_S)
        distances_m = np.array([agent.distance_m for agent in drivers])
        ways, headings = nearest_along([agent.path for agent in drivers], distances_m[:, None] + self.ahead_m)
        gaps, ahead_speeds = self._obstacles(places, speeds, ways, headings)
        self._drive(drivers, gaps, ahead_speeds, headings, rng)
        for index in self.towing:
            self.agents[index].tow()
        self._walk(places, ways, rng)

    def _obstacles(self, places: np.ndarray, speeds: np.ndarray, ways: np.ndarray, headings: np.ndarray
                   ) -> tuple[np.ndarray, np.ndarray]:
        """Gap [D] from each driver's front to what is in its way, and the speed [D] of that along the way."""
        points, driver, point = self._within_sight(places, speeds, ways[:, 0])
        owner, own, first = point // len(OUTLINE_SHARES), np.array(self.drivers)[driver], headings[driver, 0]
        east, north = (points[point] - ways[driver, 0]).T
        ahead = (np.cos(first) * east + np.sin(first) * north > 0) & (owner != own)
        driver, point, owner, own = driver[ahead], point[ahead], owner[ahead], own[ahead]
        offset = [points[point, k, None] - ways[driver, :, k] for k in (0, 1)]  # [P, K]
        nearest = np.arange(len(point)), (offset[0]**2 + offset[1]**2).argmin(axis=1)
        offset, heading = np.stack([one[nearest] for one in offset], axis=1), headings[driver, nearest[1]]
        cos, sin = np.cos(heading), np.sin(heading)
        ahead = self.ahead_m[nearest[1]] + cos * offset[:, 0] + sin * offset[:, 1]
        aside = np.abs(cos * offset[:, 1] - sin * offset[:, 0])
        room = SIDE_ROOM_M + self.sizes_m[owner, 1] / 2
        room[np.isin(owner, [k for k in self.walkers if self.agents[k].walk.clear])] = CROSSER_ROOM_M
        blocking = (aside < room + self.sizes_m[own, 1] / 2) & (ahead > 0) & (np.abs(offset).max(axis=1) < 6)
        blocking &= (ahead > self.sizes_m[own, 0] / 2) | (aside < self.sizes_m[own, 1] / 2)
        gap = np.where(blocking, ahead - self.sizes_m[own, 0] / 2 - 0.4 * self.upright[owner], FAR_M)
        gaps, ahead_speeds = np.full(len(ways), FAR_M), np.zeros(len(ways))
        order = np.argsort(-gap, kind="stable")  # the smallest gap of each driver is written last
        gaps[driver[order]] = gap[order]
        ahead_speeds[driver[order]] = np.maximum(0, speeds[owner] * np.cos(places[owner, 2] - heading))[order]
        return gaps, ahead_speeds

    def _within_sight(self, places: np.ndarray, speeds: np.ndarray, fronts: np.ndarray
                      ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What drivers who are at fronts [D, 2] look as far as.

        Returns:
            points [Q, 2] along the middle of everybody, OUTLINE_SHARES of each; pairs of a driver [P] and a point [P],
            in the order of drivers, then points.
        """
        length = np.where(self.sizes_m[:, 0] > 1, self.sizes_m[:, 0], 0.0)
        along = length[:, None] * OUTLINE_SHARES
        points = places[:, None, :2] + along[..., None] * np.stack([np.cos(places[:, 2]), np.sin(places[:, 2])],
                                                                  axis=1)[:, None]
        points = points.reshape(-1, 2)
        reach = np.minimum(self.ahead_m[-1], LOOKS_M + LOOKS_S * speeds[self.drivers])
        east, north = (places[:, k] - fronts[:, k, None] for k in (0, 1))  # [D, N]: somebody's middle is tried first
        driver, other = np.nonzero(east**2 + north**2 < (reach[:, None] + length)**2)
        driver = np.repeat(driver, len(OUTLINE_SHARES))
        point = (other[:, None] * len(OUTLINE_SHARES) + np.arange(len(OUTLINE_SHARES))).reshape(-1)
        east, north = (points[point] - fronts[driver]).T
        near = east**2 + north**2 < reach[driver]**2
        return points, driver[near], point[near]

    def _drive(self, drivers: list[Agent], gaps: np.ndarray, ahead_speeds: np.ndarray, headings: np.ndarray,
               rng: np.random.Generator) -> None:
        """The intelligent driver model (Treiber et al., 2000, eqs. 2 and 3), towards obstacles and stop lines."""
        speeds = np.array([agent.speed_m_per_s for agent in drivers])
        brakes = rng.random(len(drivers)) < self.restless_hz * TICK_S
        stops = np.full(len(drivers), FAR_M)
        for k, agent in enumerate(drivers):
            agent.braking_s = BRAKING_S if brakes[k] and agent.braking_s <= 0 else agent.braking_s - TICK_S
            if agent.route.crossing is not None and not agent.route.granted:
                stops[k] = agent.route.crossing.entry_m - agent.front_m
        cruise = np.array([agent.cruise_m_per_s * agent.mood * (0.3 if agent.braking_s > 0 else 1.0)
                           for agent in drivers])
        cruise = np.minimum(cruise, self.keenness * self._limits(drivers))
        bends = np.abs(np.diff(headings, axis=1)) / np.diff(self.ahead_m)  # radians a metre
        safe = np.sqrt(BEND_ACCELERATION / np.maximum(bends, 1e-3) + 2 * COMFORT_BRAKING * 0.7 * self.ahead_m[:-1])
        wanted = np.minimum(cruise, safe.min(axis=1))
        free = np.maximum(1 - (speeds / wanted) ** 4, -self.brakings / self.accelerations)
        pressure = np.maximum(self._pressure(speeds, speeds - ahead_speeds, gaps),
                              self._pressure(speeds, speeds, stops))
        drive = np.clip(self.accelerations * (free - pressure), -MAX_BRAKING, self.accelerations)
        reached = np.maximum(0.0, speeds + TICK_S * drive)
        for agent, speed in zip(drivers, reached):
            script, tick = agent.script, self.tick - (agent.script.first_tick if agent.script else 0)
            scripted = script is not None and tick < len(script.speeds_m_per_s)
            agent.speed_m_per_s = script.speeds_m_per_s[tick] if scripted else float(speed)

    def _limits(self, drivers: list[Agent]) -> np.ndarray:
        """Speeds [D] that drivers take for allowed: before a junction those of both streets, m/s."""
        lanes = [agent.route.lane for agent in drivers]
        limits = [self.streets.street(lane.i, lane.j, lane.direction).limit_m_per_s for lane in lanes]
        for k, agent in enumerate(drivers):
            if agent.route.crossing is not None:
                lane = agent.route.crossing.lane
                limits[k] = min(limits[k], self.streets.street(lane.i, lane.j, lane.direction).limit_m_per_s)
        return np.array(limits)

    def _pressure(self, speeds: np.ndarray, closing: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        """The interaction term of the model: (wanted gap / gap) squared."""
        wanted = STANDSTILL_GAP_M + np.maximum(
            0.0, speeds * self.headways_s + speeds * closing / (2 * (self.accelerations * self.brakings) ** 0.5))
        return (wanted / np.maximum(gaps, 0.1)) ** 2

    def _walk(self, places: np.ndarray, ways: np.ndarray, rng: np.random.Generator) -> None:
        if not self.walkers:
            return
        walkers = [self.agents[index] for index in self.walkers]
        driving = np.array([self.agents[index].speed_m_per_s for index in self.drivers])
        for walker in walkers:
            walk = walker.walk
            walk.stands_s = max(0.0, walk.stands_s - TICK_S)
            if walker.distance_m >= walker.path.end_m:
                walk_on(self.streets, walker, rng)
            elif walk.crosses and not walk.clear:
                walk.clear = street_is_free(walker, ways, self.ahead_m, driving)
        for walker, speed in zip(walkers, walking_speeds(walkers, places[self.walkers])):
            walker.speed_m_per_s = float(speed)


def _looked_at(locality: Locality) -> np.ndarray:
    """Places [K] ahead on the own path that drivers look at, metres: as far as they need to stop gently."""
    fastest = locality.fastest_m_per_s
    if not SLOWEST_FAST_M_PER_S < fastest < np.inf:
        return AHEAD_M
    return np.concatenate([AHEAD_M, FAR_AHEAD_M[FAR_AHEAD_M < fastest**2 / (2 * STOPPING_DECELERATION)]])


def touching(traffic: Traffic) -> set[tuple[int, int]]:
    """Pairs (lower, higher index) of agents whose outlines, seen from above, overlap; one of them at least moves."""
    places, half = traffic.places(), traffic.sizes_m[:, :2] / 2
    moves = np.array([agent.moves for agent in traffic.agents])
    offset = places[None, :, :2] - places[:, None, :2]
    reach = np.hypot(*half.T)
    near = (offset**2).sum(axis=-1) < (reach[:, None] + reach[None, :])**2
    first, second = np.nonzero(np.triu(near, 1) & (moves[:, None] | moves[None, :]))
    overlap = np.ones(len(first), dtype=bool)
    for one, other in ((first, second), (second, first)):  # the sides of both are the only separating lines there are
        cos, sin = np.cos(places[one, 2]), np.sin(places[one, 2])
        east, north = (places[other, :2] - places[one, :2]).T
        turn = places[other, 2] - places[one, 2]
        along, across = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        overlap &= np.abs(cos * east + sin * north) < half[one, 0] + half[other, 0] * along + half[other, 1] * across
        overlap &= np.abs(cos * north - sin * east) < half[one, 1] + half[other, 0] * across + half[other, 1] * along
    return {(int(a), int(b)) for a, b in zip(first[overlap], second[overlap])}
