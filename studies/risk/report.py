"""The study of risks: scores of its windows, and the page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from occflow.eval.sections import figure, spanned, table
from occflow.forecasting.shares import posterior_mean
from studies.risk.scores import (
    Events,
    bins,
    climatology,
    difference,
    errors,
    left_out_errors,
    recalibrated,
    row,
    said_of,
)

TRUE, COARSE = "true futures", "true futures in the forecast's voxels"
SMOOTHED, MAJORITY = "student-1, smoothed", "student-1, half or more"  # the latter says 0 or 1
STUDENT, CENTRE, TEACHER = "student-1", "student-central", "teacher-10"
RULES = ("persistence", "tracked_velocity", "constant_velocity")
KINDS = {"movable": "By what moves", "any": "By anything"}
HORIZONS = {"1 s": 1, "2 s": 3, "3 s": 5}  # places among the F instants


def study_scores(windows: Mapping[str, dict], values: Mapping, seed: int) -> dict:
    """All figures of the page."""
    names = [STUDENT, *(f"{STUDENT}, {count}" for count in values["fewer"]), CENTRE, "consensus", *RULES]
    counts = {**{name: 1 for name in names}, STUDENT: values["samples"],
              **{f"{STUDENT}, {count}": count for count in values["fewer"]}}
    found = {"windows": len(windows), "scenes": len({one.partition("/")[0] for one in windows}),
             "futures": max(one["futures"][TRUE] for one in windows.values()),
             "unseen": round(float(np.mean([one["unseen"] for one in windows.values()])), 4),
             "ms": round(float(np.median([one["ms"] for one in windows.values()])), 2), "kinds": {}}
    for kind in KINDS:
        events, hits = gathered(windows, kind, list(HORIZONS.values())[-1], [*names, COARSE])
        found["kinds"][kind] = {"manoeuvres": _manoeuvres(events),
                                **_kind(events, hits, counts, seed, coarse=kind == "movable")}
    found["horizons"] = {seconds: _briers(windows, place, counts) for seconds, place in HORIZONS.items()}
    found["teacher"] = _teacher(windows, values, seed)
    found["footprints"] = _footprints(windows, values["samples"])
    return found


def gathered(windows: Mapping[str, dict], kind: str, place: int, names: list[str]) -> tuple[Events, dict]:
    """The events of the windows that have all rows, and the hits [E] of each row."""
    kept = [(key.partition("/")[0], name, one["futures"][TRUE], rows) for key, one in windows.items()
            for name, rows in one["paths"].items() if all(wanted in rows for wanted in names)]
    scene, manoeuvre, futures = (np.array([one[part] for one in kept]) for part in range(3))
    hits = {name: np.array([rows[name][kind][place] for *_, rows in kept]) for name in (TRUE, *names)}
    return Events(scene, manoeuvre, hits[TRUE], futures), hits


def _kind(events: Events, hits: Mapping[str, np.ndarray], counts: Mapping[str, int], seed: int, coarse: bool) -> dict:
    """Scores of all rows; `coarse`: also of the true futures in the forecast's voxels, which hold what moves alone."""
    said = {name: said_of(hits[name], count) for name, count in counts.items()}
    said[SMOOTHED] = posterior_mean(hits[STUDENT], counts[STUDENT])
    said[MAJORITY] = (said[STUDENT] >= 0.5).astype(float)
    share, losses = events.share, {name: errors(one, events.share) for name, one in said.items()}
    rows = [row(TRUE, share, events, seed, left_out_errors(events)),
            *([row(COARSE, said_of(hits[COARSE], events.futures), events, seed)] if coarse else []),
            *(row(name, one, events, seed) for name, one in said.items()),
            row("climatology", climatology(events), events, seed)]
    again = {name: errors(recalibrated(said[name], events), share) for name in (STUDENT, CENTRE, *RULES)}
    undecided = (events.struck > 0) & (events.struck < events.futures)
    return {"rows": rows, "undecided": int(undecided.sum()),
            "against": {name: difference(losses[STUDENT], losses[name], events, seed) for name in (CENTRE, *RULES)},
            "against_smoothed": {name: difference(losses[SMOOTHED], losses[name], events, seed)
                                 for name in (CENTRE, *RULES)},
            "against_recalibrated": {name: difference(again[STUDENT], again[name], events, seed)
                                     for name in (CENTRE, *RULES)},
            "of_undecided": {name: round(float(one[undecided].mean()), 4) if undecided.any() else None
                             for name, one in {**losses, TRUE: left_out_errors(events)}.items()}}


def _manoeuvres(events: Events) -> dict[str, list[float]]:
    """Of each: number of events, and how often they are struck."""
    return {str(name): [int((events.manoeuvre == name).sum()),
                        round(float(events.share[events.manoeuvre == name].mean()), 4)]
            for name in dict.fromkeys(events.manoeuvre.tolist())}


def _briers(windows: Mapping[str, dict], place: int, counts: Mapping[str, int]) -> dict[str, float]:
    events, hits = gathered(windows, "movable", place, list(counts))
    found = {name: errors(said_of(hits[name], count), events.share).mean() for name, count in counts.items()}
    found |= {TRUE: left_out_errors(events).mean(), "climatology": errors(climatology(events), events.share).mean()}
    return {name: round(float(value), 5) for name, value in found.items()}


def _teacher(windows: Mapping[str, dict], values: Mapping, seed: int) -> dict | None:
    count = values["teacher_samples"]
    few = f"{STUDENT}, {count}"
    if count not in values["fewer"] or not any(TEACHER in one["futures"] for one in windows.values()):
        return None
    events, hits = gathered(windows, "movable", HORIZONS["3 s"], [TEACHER, few, CENTRE])
    said = {TEACHER: said_of(hits[TEACHER], count), few: said_of(hits[few], count), CENTRE: said_of(hits[CENTRE], 1)}
    return {"rows": [row(name, one, events, seed) for name, one in said.items()],
            "less": difference(errors(said[few], events.share), errors(said[TEACHER], events.share), events, seed)}


def _footprints(windows: Mapping[str, dict], samples: int) -> list[dict]:
    some = next((rows for one in windows.values() for rows in one["paths"].values()
                 if any(": " in name for name in rows)), {})
    found = []
    for name in [one.partition(": ")[2] for one in some if one.startswith(f"{COARSE}: ")]:
        events, hits = gathered(windows, "movable", HORIZONS["3 s"], [f"{COARSE}: {name}", f"student: {name}"])
        for what, count in ((COARSE, events.futures), ("student", samples)):
            said = said_of(hits[f"{what}: {name}"], count)
            found.append({"footprint": name, "of": what, "said": round(float(said.mean()), 4),
                          "happened": round(float(events.share.mean()), 4),
                          "brier": round(float(errors(said, events.share).mean()), 4)})
    return found


def study_markdown(found: Mapping) -> str:
    """The page."""
    lines = ["# Risk of planned paths, against many true futures", "",
             "*Of the weights that come with the project, on the 0.8 m grid.*", "",
             f"{found['windows']} windows of {found['scenes']} simulated drives that no training saw (seed "
             f"{found['simulation_seed']}), each with {found['futures']} true futures of one present; input "
             f"`{found['input']}`, ego setting G. At every window the paths of a fan of manoeuvres; an event is a "
             "window and a manoeuvre, its truth the share of the true futures in which the path is struck within 3 s, "
             "at the instants 0.5 s apart. Truth is told by exact voxels of 0.4 m, forecasts by voxels of 0.8 m. In "
             "brackets: 95 % intervals, scenes drawn anew 1000 times. Made by `python -m studies.risk`; what every "
             "figure means: [../risk.md](../risk.md#measured).", ""]
    for kind, title in KINDS.items():
        lines += [f"## {title}", "", *_kind_lines(found["kinds"][kind])]
    lines += ["## By 1, 2 and 3 s", "", "Brier score of having been struck by what moves until then.", ""]
    lines += table(("forecast", *found["horizons"]), [
        [name, *(f"{found['horizons'][one][name]:.4f}" for one in found["horizons"])]
        for name in next(iter(found["horizons"].values()))])
    if found["teacher"]:
        lines += ["## Teacher and student", "",
                  f"{found['teacher']['rows'][0]['events']} events of every {found['settings']['teacher_every']}th "
                  f"window, what moves. The teacher's Brier score less the student's: "
                  f"{_signed(found['teacher']['less'])}.", "",
                  *_rows(found["teacher"]["rows"])]
    if found["footprints"]:
        lines += ["## What voxels cost, and other footprints", "", "How often a strike by what moves is said and "
                  "happens (the truth with the footprint as it is).", ""]
        lines += table(("footprint", "of", "said %", "happened %", "Brier"), [
            [one["footprint"], one["of"], f"{100 * one['said']:.1f}", f"{100 * one['happened']:.1f}",
             f"{one['brier']:.4f}"] for one in found["footprints"]])
    machine = found["machine"]
    lines += [f"A path takes {found['ms']:g} ms of a core (median; {found['settings']['samples']} samples, 6 "
              f"instants); {100 * found['unseen']:.1f} % of the footprints lie where the history has observed nothing.",
              f"Machine: {machine['cpu']}, {machine['cores']} cores, GPU: {machine['gpu']}; commit "
              f"{found['versions'].get('commit')}."]
    return "\n".join(lines) + "\n"


def _kind_lines(one: Mapping) -> list[str]:
    events = one["rows"][0]["events"]
    lines = [f"{events} events, {one['undecided']} of them undecided (struck in some of the true futures). Base rate "
             f"{100 * one['rows'][0]['happened']:.1f} %.", "", *_rows(one["rows"])]
    lines += [f"By how much the Brier score of {STUDENT} is lower (above 0: the samples are better): raw, smoothed, "
              "and with both recalibrated on the other scenes.", ""]
    lines += table(("than", "raw", "smoothed", "both recalibrated"), [
        [name, *(_signed(one[way][name]) for way in ("against", "against_smoothed", "against_recalibrated"))]
        for name in one["against"]])
    lines += ["Of undecided events alone: " + ", ".join(f"{name} {figure(value)}" for name, value
                                                         in one["of_undecided"].items()) + ".", "",
              "How often the manoeuvres are struck: " + ", ".join(f"{name} {100 * share:.0f} % of {count}" for name,
                                                                   (count, share) in one["manoeuvres"].items()) + ".",
              "", "Reliability: events, mean said % -> happened %.", ""]
    lines += table(("forecast", "0", "to 10 %", "to 30 %", "to 50 %", "to 70 %", "to 90 %", "to 100 %"), [
        [row["name"], *_cells(row["table"])] for row in one["rows"] if row["name"] != TRUE])
    return lines


def _cells(bins_said: list[dict]) -> list[str]:
    cells = ["-"] * 7
    for one in bins_said:
        cells[int(bins(np.array([one["said"]]))[0])] = (f"{one['events']}: {100 * one['said']:.0f} -> "
                                                        f"{100 * one['happened']:.0f}")
    return cells


def _rows(rows: list[dict]) -> list[str]:
    return table(("forecast", "Brier", "skill", "reliability", "resolution", "recalibrated Brier", "said %",
                  "strikes in what it calls free %", "false alarms %"), [
        [one["name"], spanned(one["brier"], one["brier_interval"], 4, 1), figure(one["skill"], 2),
         figure(one["reliability"], 4), figure(one["resolution"], 4), figure(one["recalibrated"], 4),
         f"{100 * one['said']:.1f}", *("-" if one[name] is None else f"{100 * one[name]:.1f}"
                                       for name in ("missed", "false_alarms"))] for one in rows])


def _signed(one: Mapping) -> str:
    low, high = one["interval"]
    shown = f"{one['less']:+.4f}"
    return shown if low is None else f"{shown} ({low:+.4f} to {high:+.4f})"
