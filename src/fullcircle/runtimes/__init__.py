"""Model frameworks, and what stands between a row and a model: the contract's judgement and the scorer."""
