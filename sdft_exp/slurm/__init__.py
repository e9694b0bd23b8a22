"""Sweeps on Slurm: the graph of unique stages becomes a graph of jobs.

`graph` says which stages make a job, and which job follows which; `submit` hands them to Slurm by submitit; `job` is
what runs inside one, and `sources` tells it whether the code is still what was submitted; `state` is what is known of a
submitted sweep, for the report and for `python -m sdft_exp.sweep`; `queue` asks Slurm; `settings` is
conf/hydra/launcher/slurm.yaml, typed. Nothing here imports torch.
"""
