"""Figures of a bench: a table for people, JSON for machines, an exit code for the gate.

    figures = Figures("rpc")
    figures.add("get_ratio", 0.95, "of echo", bar=">= 0.90")
    figures.add("get_calls", 61234, "calls/s")              # no bar: told, not judged
    sys.exit(figures.finish(json_file))

JSON: {"bench": NAME, "figures": [{"name", "value", "unit", "bar", "ok"}]}; without a bar, bar is "" and ok is true.
"""

import json
import operator
import os

EXIT_OK = 0
EXIT_BROKEN = 1  # the bench could not measure
EXIT_USAGE = 2
EXIT_MISSED = 3  # measured, and a figure misses its bar

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def meets(value, bar):
    """True when `value` satisfies `bar`, such as ">= 0.90"; an empty bar is always met."""
    if not bar:
        return True
    sign, limit = bar.split()
    return _OPERATORS[sign](value, float(limit))


def _shown(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class Figures:
    def __init__(self, bench):
        self.bench = bench
        self.figures = []

    def add(self, name, value, unit, bar=""):
        # Judged before it is rounded: 0.89996 is not 0.90.
        self.figures.append(
            {"name": name, "value": round(value, 4), "unit": unit, "bar": bar, "ok": meets(value, bar)})

    def missed(self):
        return [figure for figure in self.figures if not figure["ok"]]

    def table(self):
        rows = [("figure", "value", "unit", "bar", "")]
        for figure in self.figures:
            verdict = ("ok" if figure["ok"] else "MISSED") if figure["bar"] else ""
            rows.append((figure["name"], _shown(figure["value"]), figure["unit"], figure["bar"], verdict))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [cell.rjust(w) if i == 1 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def finish(self, json_file=None):
        """Prints the table, writes the JSON if a file is given and returns the exit code."""
        print(self.table())
        if json_file:
            # Written aside and renamed: a reader never sees half a file.
            with open(json_file + ".new", "w", encoding="utf-8") as out:
                json.dump({"bench": self.bench, "figures": self.figures}, out, indent=2)
                out.write("\n")
            os.replace(json_file + ".new", json_file)
        for figure in self.missed():
            print(f"missed: {figure['name']} is {_shown(figure['value'])} {figure['unit']}, "
                  f"the bar is {figure['bar']}")
        return EXIT_MISSED if self.missed() else EXIT_OK
