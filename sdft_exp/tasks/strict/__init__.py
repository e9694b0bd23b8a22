"""Protocol `strict`: the paper's benchmarks, greedy, by the rules one would defend today (`tasks.rules`) or a judge.

Questions and prompts are the paper's but for HumanEval's prompt, and XSTest is added.
"""
