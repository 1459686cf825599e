"""How long one weekly fit takes, how much memory, and what a larger budget buys in log-loss out of sample.

One weekly fit as ``tasks/training.py`` makes it: a walk-forward fold, weights and calibration from it, all members on
what is known now, one ONNX graph, its certificate. Rows are generated, so that the best possible log-loss is known, and
every forecast is judged by its expected loss under the true probabilities: no luck of the labels is in it. A profile
counts trees, depth, bins, steps and seeds, never seconds; the same profile gives the same model on any machine. Beside
the seconds stand those of the processors: on a busy machine only they can be compared.

    python benchmarks/weekly_fit.py            # 100,000 x 60 in every profile, 1,000,000 x 60 in the standing one
    python benchmarks/weekly_fit.py --quick    # 20,000 x 60, under a minute
    python benchmarks/weekly_fit.py --rows 100000 --profiles full strong --seeds 11 12

Goals on two cores: 100,000 x 60 under 5 minutes, 1,000,000 x 60 under 30 minutes and 12 GB.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine

N_INPUTS, N_THREADS = 60, 2
MAX_SECONDS = {100_000: 300.0, 1_000_000: 1_800.0}
MAX_BYTES = 12e9
PROFILES = ("fast", "full", "strong")
SEED = 11


class Job(NamedTuple):
    """One weekly fit, made in a process of its own, so that its memory is its own."""

    n_rows: int
    profile: str
    seed: int
    n_threads: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, profiles fast and full")
    parser.add_argument("--rows", type=int, nargs="+", help="training rows of each fit")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, help="profiles of each size")
    parser.add_argument("--threads", type=int, default=N_THREADS, help="threads of one trainer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[SEED], help="histories to draw")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    jobs = chosen_jobs(arguments)
    rows, results = [], []
    for job in jobs:
        # Spawned, not forked: OpenMP does not survive a fork, and the peak of memory would be the parent's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (job,))
        results.append(result)
        rows.append(table_row(job, result))
        print(f"  {job}: {result['total']:.0f} s, {result['peak_bytes'] / 1e9:.2f} GB", file=sys.stderr)
    title = f"One weekly fit on {arguments.threads} threads ({machine()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def chosen_jobs(arguments: argparse.Namespace) -> list[Job]:
    """Sizes and profiles asked for; otherwise those of the goals."""
    if arguments.rows or arguments.profiles:
        sizes, profiles = arguments.rows or [100_000], arguments.profiles or ["full"]
        asked = [(n, profile) for n in sizes for profile in profiles]
    elif arguments.quick:
        asked = [(20_000, "fast"), (20_000, "full")]
    else:
        asked = [(100_000, profile) for profile in PROFILES] + [(1_000_000, "full")]
    return [Job(n, profile, seed, arguments.threads) for seed in arguments.seeds for n, profile in asked]


def measure(job: Job) -> dict[str, Any]:
    """Draw the rows, fit once, and return the figures as plain values."""
    from benchmarks.support.generated_rows import generate_rows
    from benchmarks.support.weekly_fit import weekly_fit
    from catalyst_ml.models.procedure import default_procedure

    generated = generate_rows(job.n_rows, N_INPUTS, seed=job.seed)
    procedure = default_procedure(
        generated.inputs,
        feature_set_version="generated-1",
        label_version="generated-1",
        profile=job.profile,  # type: ignore[arg-type]
    )
    rows_bytes = int(generated.rows.memory_usage(deep=True).sum())
    forget_peak()
    done = weekly_fit(generated, procedure, n_threads=job.n_threads)
    return {
        **job._asdict(),
        **dataclasses.asdict(done),
        "total": done.total,
        "share_of_truth": done.share_of_truth,
        "peak_bytes": peak_bytes(),
        "rows_bytes": rows_bytes,
        "procedure": procedure.to_dict(),
    }


def forget_peak() -> None:
    """Let the kernel count the peak anew: drawing the rows is no part of a weekly fit. The rows themselves are."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Largest resident memory of this process since `forget_peak`."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1_024


def table_row(job: Job, result: dict[str, Any]) -> Row:
    """One line: size, budget, seconds by step, memory, log-losses, and whether its goal was met."""
    seconds, loss = result["seconds"], result["log_loss"]
    members = ", ".join(f"{name} {loss[name]:.5f}" for name in ("logistic", "xgboost", "forest", "net") if name in loss)
    limit = MAX_SECONDS.get(job.n_rows)
    cells = {
        "rows x inputs": f"{result['n_train']:,} x {N_INPUTS}" + (f", seed {job.seed}" if job.seed != SEED else ""),
        "profile": job.profile,
        "fold / fit / graph, s": " / ".join(f"{took:.1f}" for took in seconds.values()),
        "total, s": f"{result['total']:.1f}",
        "processors, s": f"{result['processor_seconds']:.1f}",
        "peak GB": f"{result['peak_bytes'] / 1e9:.2f}",
        "log-loss": f"{loss['ensemble']:.5f} (truth {loss['truth']:.5f}, base rate {loss['base_rate']:.5f})",
        "of the possible gain": f"{result['share_of_truth']:.1%}",
        "members": members,
        "nodes": f"{result['n_tree_nodes']:,}, {result['n_bytes'] / 1e6:.1f} MB",
        "goal": f"{limit:.0f} s, {MAX_BYTES / 1e9:.0f} GB" if limit else "",
    }
    too_slow = limit is not None and result["total"] > limit
    return Row(cells, missed=too_slow or result["peak_bytes"] > MAX_BYTES or result["certified"] is not True)


if __name__ == "__main__":
    sys.exit(main())
