"""The programs that run in a worker process, each with one other tool: `inspect_task.py` and `agentdojo_suite.py`.

They are run by path, by an interpreter that need not have Assay: beside the standard library they import the other tool and `assaywire`.
"""
