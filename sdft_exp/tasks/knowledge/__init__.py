"""Protocol `knowledge`: lm-eval's own tasks, named in YAMLs; how they are found is said in `tasks.lm_eval_files`."""
