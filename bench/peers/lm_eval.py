"""lm-eval: a task file over the prompts, on its model type for chat endpoints; keeps results and one JSON line a sample."""

from __future__ import annotations

import json
from pathlib import Path

from bench.peers.tools import KEY, make_venv, python, quiet, venv_version

NAME = "lm-eval"


def install(folder: Path) -> None:
    """The base package with what its API models need."""
    make_venv(folder, "lm-eval[api]")


def version(folder: Path) -> str | None:
    """Installed version, if any."""
    return venv_version(folder, "lm-eval")


def command(folder: Path, url: str, prompts: Path, concurrency: int, work: Path) -> tuple[list[str], dict[str, str]]:
    """`lm_eval run` of the task, with the chat template left to the endpoint."""
    tasks = work.resolve() / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    task = {
        "task": "bench",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(prompts.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "description": "{{system}}",
        "doc_to_text": "{{user}}",
        "doc_to_target": "help",
        "generation_kwargs": {"until": [], "temperature": 0, "max_gen_toks": 64, "do_sample": False},
        "filter_list": [
            {"name": "contains", "filter": [{"function": "regex", "regex_pattern": "(help)"}, {"function": "take_first"}]},
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (tasks / "bench.yaml").write_text(json.dumps(task, indent=1))
    argv = [
        *(python(folder), "-P", "-m", "lm_eval", "run", "--model", "local-chat-completions"),
        *("--model_args", f"model=bench,base_url={url}/chat/completions,num_concurrent={concurrency}"),
        *("--tasks", "bench", "--include_path", str(tasks), "--apply_chat_template"),
        *("--output_path", str(work.resolve() / "results"), "--log_samples"),
    ]
    return argv, quiet(folder) | {"OPENAI_API_KEY": KEY, "TQDM_DISABLE": "1"}


def count(work: Path) -> int:
    """Logged samples."""
    return sum(len(path.read_bytes().splitlines()) for path in work.glob("results/**/samples_*.jsonl"))
