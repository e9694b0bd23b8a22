"""Models that judge answers. `client` asks one on a server; `refusal` and `alpaca_eval` are rubrics.

A rubric, which a task's YAML names, has `PACKAGES`, to be installed; `settings(config)`, what of eval.judge it reads;
`effort(settings)`, what a case takes; and `verdicts(judge, cases, settings, kept, progress)`, one for each case: see
`cases`.
"""
