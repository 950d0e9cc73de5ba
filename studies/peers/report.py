"""The comparison as a table."""

from __future__ import annotations


def report_markdown(report: dict) -> str:
    """The figures that matter, as Markdown."""
    rows = report["rows"]
    own = [row for row in rows if row["ours"]]
    lines = ["# Beside networks of published shapes", "",
             f"{report['machine']['gpu'] if report['device'] == 'cuda' else report['machine']['cpu']}, "
             f"{report['threads']} threads, occflow {report['versions']['commit']}; scene: {report['scene']}; seconds "
             f"of {report['clock']}, medians of {report['repetitions']}.", ""]
    lines += [f"{name}: {sites['support_sites']} sites of {sites['horizon_cells']}, {sites['true_sites']} of them true."
              for name, sites in report["sites"].items()]
    lines += ["", "| forecast | weights, M | multiply-adds, G | encode | forecast | decode | all "
              + "".join(f"| / {row['form']} " for row in own) + "| all, one new frame "
              + "".join(f"| / {row['form']} " for row in own) + "| peak MiB |", "|---" * (9 + 2 * len(own)) + "|"]
    return "\n".join(lines + [_row(row, own) for row in rows]) + "\n"


def _row(row: dict, own: list[dict]) -> str:
    seconds, memory = row["seconds"], row.get("memory_mib", float("nan"))
    published = f" (published: {row['published_parameters']})" if row["published_parameters"] else ""
    cells = [row["form"], f"{row['parameters'] / 1e6:.2f}{published}", f"{row['multiply_adds']['all'] / 1e9:.1f}",
             f"{seconds['encode']:.2f} ({row['history']})", f"{seconds['forecast']:.2f}", f"{seconds['decode']:.2f}"]
    for kind in ("seconds", "seconds_of_a_stream"):
        cells.append(f"{row[kind]['all']:.2f}")
        cells += [f"{row[kind]['all'] / one[kind]['all']:.1f}" for one in own]
    return "| " + " | ".join([*cells, f"{memory:.0f}"]) + " |"
