"""The state of an experiment, on a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lxmert_tickets.environment import LEAST_WIDTH
from lxmert_tickets.monitoring.grid import State, Status
from lxmert_tickets.progress import duration_text

MOST_ROWS = 40  # of the grid of networks; a larger one is summed up by state
MOST_TOLD = 10  # lines about networks in one state
COLORS: dict[State, str] = {
    "done": "green",
    "running": "cyan",
    "trained": "blue",
    "stopped": "yellow",
    "failed": "bold red",
    "waiting": "bright_black",
}


def print_statuses(title: str, found: Sequence[Status], now: float, console: Console, everything: bool) -> None:
    """Print how many networks are in each state, the grid, and details of what is neither done nor waiting.

    A grid too large to be shown is summed up by subnetwork. Networks with the same details share a line, and only the
    first lines are printed; with `everything`, each network has its own.
    """
    networks = [status for status in found if status.name not in NOT_NETWORKS]
    counts = Counter(status.state for status in networks)
    told = ", ".join(f"{counts[state]} {state}" for state in COLORS if counts[state])
    console.print(f"{title}: {len(networks)} networks, {told}", highlight=False, markup=False)
    seeds = list(dict.fromkeys(status.seed for status in networks))
    names = list(dict.fromkeys(status.name for status in networks))
    fits = len(names) <= MOST_ROWS and max(map(len, names)) + 16 * len(seeds) + 4 <= console.width
    console.width = max(console.width, LEAST_WIDTH)
    console.print(_grid(found, seeds, names, now) if fits else _sums(found))
    for state in COLORS:
        rows = [status for status in found if status.state == state]
        if everything or state not in ("done", "waiting"):
            _print_each([[status] for status in rows] if everything else _alike(rows), now, console, everything)


NOT_NETWORKS = {"data": "data", "pretrained": "pretrained weights", "initial": "initial weights",
                "tables, figures": "tables, figures"}  # fmt: skip


def _grid(found: Sequence[Status], seeds: Sequence[int | None], names: Sequence[str], now: float) -> Table:
    """Return a table of networks (rows) by seed (columns); what belongs to no seed is in the first column."""
    cells = {(status.name, status.seed): _cell(status, now) for status in found}
    table = Table("", *(f"seed {seed}" for seed in seeds))
    rows = [*(name for name in NOT_NETWORKS if name != "tables, figures"), *names, "tables, figures"]
    for name in rows:
        row = [cells.get((name, seed), Text()) for seed in seeds]
        if (name, None) in cells:
            row[0] = cells[name, None]
        table.add_row(Text(NOT_NETWORKS.get(name, name)), *row)
    return table


def _cell(status: Status, now: float) -> Text:
    text: str = status.state
    if status.pulse is not None:
        text = f"{_percent(status)} %"
        if (left := status.pulse.seconds_left(now)) is not None:
            text += f", {duration_text(left)}"
    return Text(text, COLORS[status.state])


def _sums(found: Iterable[Status]) -> Table:
    """Return a table of subnetworks (rows) by state (columns), without states that do not occur."""
    counts: dict[str, Counter[State]] = {}
    for status in found:
        counts.setdefault(status.name.partition("/")[0], Counter())[status.state] += 1
    shown = [state for state in COLORS if any(states[state] for states in counts.values())]
    table = Table(Column("", overflow="fold"))
    for state in shown:
        table.add_column(Text(state, COLORS[state]), justify="right", no_wrap=True)
    for name, states in counts.items():
        cells = (Text(str(states[state] or ""), COLORS[state]) for state in shown)
        table.add_row(Text(NOT_NETWORKS.get(name, name)), *cells)
    return table


def _alike(rows: Sequence[Status]) -> list[list[Status]]:
    """Return `rows` grouped by details: one mistake often affects many networks."""
    groups: dict[str, list[Status]] = {}
    for status in rows:
        groups.setdefault(status.note or _name(status), []).append(status)
    return list(groups.values())


def _print_each(groups: Sequence[Sequence[Status]], now: float, console: Console, everything: bool) -> None:
    told = groups if everything else groups[:MOST_TOLD]
    for first, *others in told:
        line = Text.assemble((f"{first.state:8s}", COLORS[first.state]), f" {_name(first)}")
        line.append(f" and {len(others)} more" if others else "")
        if note := _note(first, now):
            line.append(f": {note}")
        console.print(line, soft_wrap=not console.is_terminal)
    if left := groups[len(told) :]:
        console.print(f"{'':8s} and {sum(map(len, left))} more {left[0][0].state} (--all)", highlight=False)


def _name(status: Status) -> str:
    name = NOT_NETWORKS.get(status.name, status.name)
    return name if status.seed is None else f"seed {status.seed} {name}"


def _note(status: Status, now: float) -> str:
    pulse = status.pulse
    if pulse is None:
        return f"{status.note} ({status.log})" if status.log else status.note
    losses = {key: value for key, value in pulse.values.items() if key != "learning_rate"}
    values = [f"{key.replace('train_', '').replace('_', ' ')} {value:.4g}" for key, value in losses.items()]
    left = pulse.seconds_left(now)
    parts = [f"step {pulse.step} of {pulse.n_steps} ({_percent(status)} %)", *values]
    parts += [] if left is None else [f"{pulse.steps_per_second:.1f} steps a second", f"{duration_text(left)} left"]
    return ", ".join([*parts, f"process {pulse.process} on {pulse.host}"])


def _percent(status: Status) -> int:
    assert status.pulse is not None
    return 100 * status.pulse.step // max(status.pulse.n_steps, 1)
