"""How far fine-tuning moved a model from its seed LM: in its responses, its weights and its token distributions."""
