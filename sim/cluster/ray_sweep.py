#!/usr/bin/env python3
"""Runs the parts of experiments as tasks of Ray, and merges them.

    ray_sweep.py FILE... --parts N --out FOLDER [--address auto] [-- ARGUMENTS OF andon-sim run]

FILE is as for `andon-sim run`: a file, which travels with the task, or the name of an experiment that comes with the program.
Every node needs the program under the same path, in the same version.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# Before Ray is imported: it reports its use to its makers unless it is told not to.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # noqa: E402


@ray.remote(max_retries=3)
def run_part(program, experiments, arguments, shard):
    """Runs a part of all experiments. Returns its files, each by its path below the folder of results."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        names = []
        for number, (name, text) in enumerate(experiments):
            if text is not None:
                # One folder each: two may be called the same in different places.
                (folder / str(number)).mkdir()
                name = str(folder / str(number) / name)
                pathlib.Path(name).write_bytes(text)
            names.append(name)
        out = folder / "out"
        command = [program, "run", *names, *arguments, "--threads", "1", "--quiet", "--shard", shard, "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"part {shard} ended with {done.returncode}: {done.stderr.strip()}")
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.json")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", metavar="FILE")
    parser.add_argument("--parts", type=int, default=os.cpu_count(), help="how many tasks; as many as the cluster has processors is a good number")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder of results")
    parser.add_argument("--program", default="andon-sim", help="the program, under this path on every node")
    parser.add_argument("--address", help="of a Ray cluster; without it Ray is started on this machine alone")
    own, further = sys.argv[1:], []
    if "--" in own:
        own, further = own[: own.index("--")], own[own.index("--") + 1 :]
    arguments = parser.parse_args(own)

    program = shutil.which(arguments.program)
    if program is None:
        parser.error(f"there is no program {arguments.program}")
    program = os.path.abspath(program)
    files = [pathlib.Path(name) for name in arguments.experiments]
    experiments = [(path.name, path.read_bytes()) if path.exists() else (str(path), None) for path in files]

    if arguments.address:
        ray.init(address=arguments.address)
    else:
        ray.init(num_cpus=os.cpu_count(), include_dashboard=False, _node_ip_address="127.0.0.1")

    shared = ray.put(experiments)
    count = arguments.parts
    tasks = [run_part.remote(program, shared, further, f"{index}/{count}") for index in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        while tasks:
            # Taken as they come, so that no more than what is not yet written is held.
            done, tasks = ray.wait(tasks)
            for path, content in ray.get(done[0]).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            print(f"{count - len(tasks)} of {count} parts", file=sys.stderr)
        merged = subprocess.run([program, "merge", str(folder), "--out", str(arguments.out)])
    # 0 where everything came as expected, 1 where something deviates, 2 for an error.
    sys.exit(merged.returncode)


if __name__ == "__main__":
    main()
