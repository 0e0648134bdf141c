"""The jobs of a study for the queue of a cluster."""

from __future__ import annotations

import shlex


def slurm_script(arguments: list[str], count: int) -> str:
    """A job array of Slurm that runs every job; send it again to continue what was cut off."""
    command = shlex.join(["d3torch", "glass", "run", *arguments])
    return (
        "#!/bin/bash\n"
        "#SBATCH --job-name=glass\n"
        f"#SBATCH --array=0-{count - 1}\n"
        "#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=4\n#SBATCH --time=24:00:00\n"
        "#SBATCH --requeue\n#SBATCH --output=glass_%A_%a.out\n"
        "# For a GPU add: #SBATCH --gres=gpu:1, and --device cuda below.\n"
        "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK\n"
        f'{command} --job "$SLURM_ARRAY_TASK_ID"\n'
    )


def without_slurm(words: list[str]) -> list[str]:
    """The words behind ``glass run``, but for --slurm and its file."""
    joined = [word for word in words if not word.startswith("--slurm=")]
    if "--slurm" not in joined:
        return joined
    at = joined.index("--slurm")
    return joined[:at] + joined[at + 2 :]
